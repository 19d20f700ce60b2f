using System;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>An operating system that nobody may ask for anything but what a derived class gives.</summary>
internal abstract class NoOperatingSystem : IOperatingSystem
{
    public int PageSize => 4096;

    public ulong PhysicalMemoryBytes => throw No();

    public ulong? CgroupMemoryLimitBytes => throw No();

    public HugePageMode HugePageMode => throw No();

    public ReadOnlySpan<int> MemoryNodes => throw No();

    public int CurrentNode => throw No();

    public MemoryReading ReadMemory() => throw No();

    public Errno MapAnonymous(nuint bytes, MemoryProtection protection, out nint address) => throw No();

    public abstract Errno MapShared(int fd, ulong offset, nuint bytes, MemoryProtection protection, nint at, out nint address);

    public abstract Errno Unmap(nint address, nuint bytes);

    public Errno Protect(nint address, nuint bytes, MemoryProtection protection) => throw No();

    public Errno Advise(nint address, nuint bytes, MemoryAdvice advice) => throw No();

    public Errno AdviseMany(ReadOnlySpan<AddressRange> ranges, MemoryAdvice advice, out nuint done) => throw No();

    public Errno NameMapping(nint address, nuint bytes, string name) => throw No();

    public Errno CreateMemfd(string name, nuint bytes, out int fd) => throw No();

    public abstract Errno PunchHole(int fd, ulong offset, nuint bytes);

    public abstract Errno Close(int fd);

    private static FuzzFinding No() => new("a call to the system that nobody should make here");
}
