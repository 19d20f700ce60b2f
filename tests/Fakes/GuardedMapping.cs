using System;
using LowLevel.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Fakes;

/// <summary>Anonymous memory between two pages that nobody may touch. The kernel joins neighbouring mappings with the same flags
/// into one, so that smaps would answer for the memory of whatever test runs beside this one; across a guard it cannot.</summary>
internal sealed class GuardedMapping : IDisposable
{
    private const nint Guard = 4096;

    private readonly nint _whole;

    public GuardedMapping(nuint bytes, MemoryAdvice? advice = null, MemoryProtection protection = MemoryProtection.ReadWrite)
    {
        Bytes = bytes;
        Assert.Equal(Errno.None, Os.MapAnonymous(bytes + (2 * (nuint)Guard), MemoryProtection.None, out _whole));
        Address = _whole + Guard;
        Assert.Equal(Errno.None, Os.Protect(Address, bytes, protection));
        if (advice is MemoryAdvice wanted)
        {
            Assert.Equal(Errno.None, Os.Advise(Address, bytes, wanted));
        }
    }

    public nint Address { get; }

    public nuint Bytes { get; }

    private static LinuxSystem Os => LinuxSystem.Instance;

    public void Dispose() => Assert.Equal(Errno.None, Os.Unmap(_whole, Bytes + (2 * (nuint)Guard)));
}
