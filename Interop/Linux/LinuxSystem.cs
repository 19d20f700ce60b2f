using System;
using System.Diagnostics.CodeAnalysis;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

// For every import of this assembly: libc is found by the system's loader, never beside the application.
[assembly: DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]

namespace LowLevel.Interop.Linux;

/// <summary>The operating system itself. Stateless but for what it has read once and a descriptor of this process; every method may be called by any thread.</summary>
[SuppressMessage("Design", "CA1001", Justification = "The one instance keeps its files for as long as the process lives.")]
internal sealed class LinuxSystem : IOperatingSystem
{
    private const int SysconfPageSize = 30;
    private const int SysconfPhysicalPages = 85;
    private const int MapSharedFlag = 0x01;
    private const int MapPrivateFlag = 0x02;
    private const int MapFixedFlag = 0x10;
    private const int MapAnonymousFlag = 0x20;
    private const int MapNoReserveFlag = 0x4000;
    private const uint MemfdFlags = 1 | 2; // MFD_CLOEXEC | MFD_ALLOW_SEALING
    private const int FallocateKeepSize = 1;
    private const int FallocatePunchHole = 2;
    private const int PrctlSetVma = 0x53564d41;
    private const nuint PrctlSetVmaAnonName = 0;
    private const nint SyscallPidfdOpen = 434;
    private const nint SyscallProcessMadvise = 440;
    private const int NoDescriptor = -1;

    private readonly int[] _nodes;
    private readonly MemoryFiles _memory; // of the group that the process started in
    private int _self = NoDescriptor;

    private LinuxSystem()
    {
        PageSize = checked((int)Native.sysconf(SysconfPageSize));
        PhysicalMemoryBytes = (ulong)Native.sysconf(SysconfPhysicalPages) * (ulong)PageSize;
        _memory = new MemoryFiles(MemoryCgroup.OfThisProcess(), "/proc/pressure/memory");
        _nodes = ParseNodes(ReadOrEmpty("/sys/devices/system/node/has_memory"));
    }

    /// <summary>The one instance.</summary>
    public static LinuxSystem Instance { get; } = new();

    public int PageSize { get; }

    public ulong PhysicalMemoryBytes { get; }

    public ulong? CgroupMemoryLimitBytes => _memory.Read().LimitBytes;

    public HugePageMode HugePageMode
    {
        get
        {
            string text = ReadOrEmpty("/sys/kernel/mm/transparent_hugepage/enabled");
            return text.Contains("[always]", StringComparison.Ordinal) ? HugePageMode.Always
                : text.Contains("[madvise]", StringComparison.Ordinal) ? HugePageMode.Madvise
                : HugePageMode.Never;
        }
    }

    public ReadOnlySpan<int> MemoryNodes => _nodes;

    public int CurrentNode => _nodes.Length > 1 && TryCurrentNode(out int node) && Array.BinarySearch(_nodes, node) >= 0 ? node : _nodes[0];

    public MemoryReading ReadMemory() => _memory.Read();

    public Errno MapAnonymous(nuint bytes, MemoryProtection protection, out nint address) =>
        Map(0, bytes, protection, MapPrivateFlag | MapAnonymousFlag | MapNoReserveFlag, -1, 0, out address);

    public Errno MapShared(int fd, ulong offset, nuint bytes, MemoryProtection protection, nint at, out nint address) =>
        Map(at, bytes, protection, MapSharedFlag | MapNoReserveFlag | (at == 0 ? 0 : MapFixedFlag), fd, offset, out address);

    public Errno Unmap(nint address, nuint bytes)
    {
        Marshal.SetLastSystemError(0);
        return Result(Native.munmap(address, bytes));
    }

    public Errno Protect(nint address, nuint bytes, MemoryProtection protection)
    {
        Marshal.SetLastSystemError(0);
        return Result(Native.mprotect(address, bytes, (int)protection));
    }

    public Errno Advise(nint address, nuint bytes, MemoryAdvice advice)
    {
        Marshal.SetLastSystemError(0);
        return Result(Native.madvise(address, bytes, (int)advice));
    }

    public unsafe Errno AdviseMany(ReadOnlySpan<AddressRange> ranges, MemoryAdvice advice, out nuint done)
    {
        done = 0;
        Errno opened = OpenSelf(out int self);
        if (opened != Errno.None)
        {
            return opened;
        }

        // Sound: the kernel reads so many elements and no more; they are pinned for the call.
        fixed (AddressRange* vector = ranges)
        {
            Marshal.SetLastSystemError(0);
            nint result = Native.syscall(SyscallProcessMadvise, self, (nint)vector, ranges.Length, (nint)advice, 0);
            if (result < 0)
            {
                return (Errno)Marshal.GetLastSystemError();
            }

            done = (nuint)result;
            return Errno.None;
        }
    }

    public unsafe Errno NameMapping(nint address, nuint bytes, string name)
    {
        // Sound: the name is NUL-terminated, pinned for the call, and copied by the kernel.
        fixed (byte* text = NulTerminated(name))
        {
            Marshal.SetLastSystemError(0);
            return Result(Native.prctl(PrctlSetVma, PrctlSetVmaAnonName, (nuint)address, bytes, (nuint)text));
        }
    }

    public unsafe Errno CreateMemfd(string name, nuint bytes, out int fd)
    {
        // Sound: as in NameMapping.
        fixed (byte* text = NulTerminated(name))
        {
            Marshal.SetLastSystemError(0);
            fd = Native.memfd_create(text, MemfdFlags);
            if (fd < 0)
            {
                return (Errno)Marshal.GetLastSystemError();
            }
        }

        if (bytes > long.MaxValue)
        {
            Abandon(ref fd);
            return Errno.EFBIG;
        }

        Errno sized;
        do
        {
            Marshal.SetLastSystemError(0);
            sized = Result(Native.ftruncate(fd, (long)bytes));
        }
        while (sized == Errno.EINTR);

        if (sized != Errno.None)
        {
            Abandon(ref fd);
        }

        return sized;
    }

    public Errno PunchHole(int fd, ulong offset, nuint bytes)
    {
        if (offset > long.MaxValue || bytes > long.MaxValue)
        {
            return Errno.EINVAL;
        }

        Errno result;
        do
        {
            Marshal.SetLastSystemError(0);
            result = Result(Native.fallocate(fd, FallocatePunchHole | FallocateKeepSize, (long)offset, (long)bytes));
        }
        while (result == Errno.EINTR);

        return result;
    }

    /// <summary>Not repeated after EINTR: Linux has closed the descriptor by then, and its number may be somebody else's.</summary>
    public Errno Close(int fd)
    {
        Marshal.SetLastSystemError(0);
        return Result(Native.close(fd));
    }

    /// <summary>Reads a list such as "0-1,3"; { 0 } where it is none.</summary>
    internal static int[] ParseNodes(string text)
    {
        var found = new SortedSet<int>();
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            string[] ends = part.Split('-');
            if (ends.Length > 2 || !TryNode(ends[0], out int first) || !TryNode(ends[^1], out int last))
            {
                return [0];
            }

            for (int node = first; node <= last; node++)
            {
                found.Add(node);
            }
        }

        return found.Count == 0 ? [0] : [.. found];
    }

    /// <summary>getcpu; false where libc has none (glibc before 2.29).</summary>
    internal static unsafe bool TryCurrentNode(out int node)
    {
        uint processor = 0;
        uint found = 0;
        try
        {
            // Sound: getcpu writes two words on this stack frame.
            bool known = Native.getcpu(&processor, &found) == 0;
            node = (int)found;
            return known;
        }
        catch (EntryPointNotFoundException)
        {
            node = 0;
            return false;
        }
    }

    // The kernel's MAX_NUMNODES is 1024 at most: anything above is not a node list.
    private static bool TryNode(string text, out int node) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out node) && node < 1024;

    private static Errno Map(nint at, nuint bytes, MemoryProtection protection, int flags, int fd, ulong offset, out nint address)
    {
        Marshal.SetLastSystemError(0);
        address = Native.mmap(at, bytes, (int)protection, flags, fd, unchecked((long)offset));
        if (address != -1)
        {
            return Errno.None;
        }

        address = 0;
        return (Errno)Marshal.GetLastSystemError();
    }

    /// <summary>A descriptor of this process (pidfd), opened once and kept for its life: the kernel closes it.</summary>
    private Errno OpenSelf(out int self)
    {
        self = Volatile.Read(ref _self);
        if (self != NoDescriptor)
        {
            return Errno.None;
        }

        Marshal.SetLastSystemError(0);
        int opened = (int)Native.syscall(SyscallPidfdOpen, Environment.ProcessId, 0, 0, 0, 0);
        if (opened < 0)
        {
            return (Errno)Marshal.GetLastSystemError();
        }

        self = Interlocked.CompareExchange(ref _self, opened, NoDescriptor);
        if (self == NoDescriptor)
        {
            self = opened;
        }
        else
        {
            _ = Native.close(opened); // another thread was first
        }

        return Errno.None;
    }

    private static Errno Result(int result) => result == 0 ? Errno.None : (Errno)Marshal.GetLastSystemError();

    private static void Abandon(ref int fd)
    {
        _ = Native.close(fd);
        fd = -1;
    }

    private static byte[] NulTerminated(string text) => Encoding.UTF8.GetBytes(text + '\0');

    private static string ReadOrEmpty(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return "";
        }
        catch (UnauthorizedAccessException)
        {
            return "";
        }
    }

    /// <summary>libc, under its own names. prctl and syscall are variadic in C; on x86_64 and arm64 Linux their register arguments are
    /// passed as here. syscall is for what libc has no name for (process_madvise before glibc 2.36).</summary>
    private static class Native
    {
        [DllImport("libc", ExactSpelling = true)]
        public static extern nint sysconf(int name);

        [DllImport("libc", ExactSpelling = true)]
        public static extern nint mmap(nint address, nuint length, int protection, int flags, int fd, long offset);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int munmap(nint address, nuint length);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int mprotect(nint address, nuint length, int protection);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int madvise(nint address, nuint length, int advice);

        [DllImport("libc", ExactSpelling = true)]
        public static extern nint syscall(nint number, nint argument1, nint argument2, nint argument3, nint argument4, nint argument5);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int prctl(int operation, nuint argument2, nuint argument3, nuint argument4, nuint argument5);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int memfd_create(byte* name, uint flags);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int ftruncate(int fd, long length);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int fallocate(int fd, int mode, long offset, long length);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int close(int fd);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int getcpu(uint* processor, uint* node);
    }
}
