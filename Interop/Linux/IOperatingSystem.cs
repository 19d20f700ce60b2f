using System;

namespace LowLevel.Interop.Linux;

/// <summary>Everything that this library asks of the operating system about memory, in one place, so that a test can
/// count the calls and make any of them fail. No method throws: each returns the errno, <see cref="Errno.None"/> (0) for
/// success. Addresses and lengths are in bytes and multiples of <see cref="PageSize"/>. All methods are thread-safe.</summary>
internal interface IOperatingSystem
{
    /// <summary>Bytes per page (sysconf _SC_PAGESIZE).</summary>
    int PageSize { get; }

    /// <summary>Physical memory of the machine, bytes.</summary>
    ulong PhysicalMemoryBytes { get; }

    /// <summary>The memory limit of the cgroup this process is in (v2 memory.max, v1 memory.limit_in_bytes), the least over
    /// its ancestors, as it is now; null where there is none.</summary>
    ulong? CgroupMemoryLimitBytes { get; }

    /// <summary>How memory stands now: limit, charge, stalls. Reads a handful of files.</summary>
    MemoryReading ReadMemory();

    /// <summary>When the system backs anonymous memory by huge pages (/sys/kernel/mm/transparent_hugepage/enabled), as it is now;
    /// <see cref="HugePageMode.Never"/> where it does not say.</summary>
    HugePageMode HugePageMode { get; }

    /// <summary>NUMA nodes with memory, ascending; { 0 } where the machine does not say.</summary>
    ReadOnlySpan<int> MemoryNodes { get; }

    /// <summary>The NUMA node of the processor that the caller runs on (getcpu), 0 where unknown. Any thread; a hint.</summary>
    int CurrentNode { get; }

    /// <summary>mmap, private and anonymous, never populated, MAP_NORESERVE; the kernel chooses the address.</summary>
    Errno MapAnonymous(nuint bytes, MemoryProtection protection, out nint address);

    /// <summary>mmap of a memfd, shared, MAP_NORESERVE, at an address inside an earlier reservation (MAP_FIXED), or anywhere
    /// where <paramref name="at"/> is 0.</summary>
    Errno MapShared(int fd, ulong offset, nuint bytes, MemoryProtection protection, nint at, out nint address);

    /// <summary>munmap.</summary>
    Errno Unmap(nint address, nuint bytes);

    /// <summary>mprotect.</summary>
    Errno Protect(nint address, nuint bytes, MemoryProtection protection);

    /// <summary>madvise.</summary>
    Errno Advise(nint address, nuint bytes, MemoryAdvice advice);

    /// <summary>process_madvise on this process: one call for many ranges, at most <see cref="AddressRange.CallMax"/>, in their order. It
    /// may stop early.</summary>
    /// <param name="ranges">The ranges.</param>
    /// <param name="advice">What to do with each.</param>
    /// <param name="done">Bytes done, from the first range on. With <see cref="Errno.None"/> fewer than asked for is a partial result:
    /// the range at which it stopped was not done, and a call that begins there says why. 0 with every other errno.</param>
    Errno AdviseMany(ReadOnlySpan<AddressRange> ranges, MemoryAdvice advice, out nuint done);

    /// <summary>prctl PR_SET_VMA_ANON_NAME: the name that smaps shows; needs Linux 5.17 with CONFIG_ANON_VMA_NAME.</summary>
    Errno NameMapping(nint address, nuint bytes, string name);

    /// <summary>memfd_create with MFD_CLOEXEC and MFD_ALLOW_SEALING, then ftruncate to <paramref name="bytes"/>.</summary>
    Errno CreateMemfd(string name, nuint bytes, out int fd);

    /// <summary>fallocate FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE.</summary>
    Errno PunchHole(int fd, ulong offset, nuint bytes);

    /// <summary>close.</summary>
    Errno Close(int fd);
}

/// <summary>A range of this process's memory, bytes; laid out as the kernel's struct iovec.</summary>
internal readonly record struct AddressRange(nint Address, nuint Bytes)
{
    /// <summary>The most ranges that the kernel takes in one call (UIO_MAXIOV).</summary>
    public const int CallMax = 1024;
}

/// <summary>The system's transparent huge pages.</summary>
internal enum HugePageMode
{
    Never,
    Madvise,
    Always,
}

/// <summary>PROT_ values of mmap and mprotect.</summary>
[Flags]
internal enum MemoryProtection
{
    None = 0,
    Read = 1,
    Write = 2,
    ReadWrite = Read | Write,
}

/// <summary>MADV_ values that this library uses (include/uapi/asm-generic/mman-common.h, x86_64).</summary>
internal enum MemoryAdvice
{
    DontNeed = 4,
    Free = 8,
    DontFork = 10,
    HugePage = 14,
    NoHugePage = 15,
    DontDump = 16,
    Cold = 20,
    PopulateRead = 22,
    PopulateWrite = 23,
    Collapse = 25,
}
