using System;
using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace LowLevel.Interop.Linux;

/// <summary>The operating system's descriptors themselves. Stateless.</summary>
internal sealed class LinuxDescriptors : IDescriptors
{
    private const int EventFlags = 0x80000 | 0x800; // EFD_CLOEXEC | EFD_NONBLOCK
    private const int SendFlags = 0x40 | 0x4000; // MSG_DONTWAIT | MSG_NOSIGNAL
    private const int ReceiveFlags = 0x40 | 0x40000000; // MSG_DONTWAIT | MSG_CMSG_CLOEXEC
    private const int OpenFlags = 2 | 0x80000; // O_RDWR | O_CLOEXEC
    private const int LevelSocket = 1;
    private const int ControlRights = 1;
    private const int GetFlags = 3;
    private const int SetFlags = 4;
    private const int SetSignal = 10;
    private const int SetLease = 1024;
    private const int AddSeals = 1033;
    private const int GetSeals = 1034;
    private const int LeaseWrite = 1;
    private const int LeaseNone = 2;
    private const int NonBlocking = 0x800; // O_NONBLOCK
    private const int SignalUrgent = 23; // SIGURG
    private const int NoWait = 8; // RWF_NOWAIT
    private const string EventName = "anon_inode:[eventfd]";
    private const int SealSeal = 1;
    private const int SizeSeals = 2 | 4; // F_SEAL_SHRINK | F_SEAL_GROW
    private const long HugePageFiles = 0x958458f6; // HUGETLBFS_MAGIC
    private const int FileSystemBytes = 256; // struct statfs has 120, the file system's kind first
    private const int EmptyPath = 0x1000;
    private const uint BasicStatus = 0x7ff;
    private const int StatusBytes = 256;
    private const int InodeOffset = 32;
    private const int SizeOffset = 40;
    private const int BlocksOffset = 48;
    private const int BlockBytes = 512;

    private static readonly nint s_preadv2 = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 327 : 286; // the others' number

    private LinuxDescriptors()
    {
    }

    /// <summary>The one instance.</summary>
    public static LinuxDescriptors Instance { get; } = new();

    public Errno CreateEvent(out int fd)
    {
        Marshal.SetLastSystemError(0);
        fd = Native.eventfd(0, EventFlags);
        return fd >= 0 ? Errno.None : LastError;
    }

    public unsafe Errno CreateSocketPair(out int first, out int second)
    {
        const int Unix = 1;
        const int StreamCloseOnExec = 1 | 0x80000;

        // Sound: the kernel writes two descriptors on this frame.
        int* pair = stackalloc int[2];
        Marshal.SetLastSystemError(0);
        bool made = Native.socketpair(Unix, StreamCloseOnExec, 0, pair) == 0;
        (first, second) = made ? (pair[0], pair[1]) : (-1, -1);
        return made ? Errno.None : LastError;
    }

    public unsafe Errno Signal(int fd)
    {
        // Sound, here and in Drain: the kernel reads or writes the eight bytes of a word on this frame.
        ulong one = 1;
        Marshal.SetLastSystemError(0);
        return Native.write(fd, &one, sizeof(ulong)) == sizeof(ulong) ? Errno.None : LastError;
    }

    public unsafe Errno Drain(int fd)
    {
        ulong count;
        Vector vector = new() { Base = (byte*)&count, Length = sizeof(ulong) };
        Marshal.SetLastSystemError(0);
        nint result = Native.syscall(s_preadv2, fd, (nint)(&vector), 1, -1, -1, NoWait);
        if (result < 0 && LastError is Errno.EOPNOTSUPP or Errno.EINVAL or Errno.ENOSYS)
        {
            // A kernel before 5.8: O_NONBLOCK has to do, which whoever shares the event can take away.
            Marshal.SetLastSystemError(0);
            result = Native.read(fd, &count, sizeof(ulong));
        }

        return result == sizeof(ulong) ? Errno.None : LastError;
    }

    public unsafe Errno AdoptEvent(int fd)
    {
        byte[] path = DescriptorPath(fd);
        byte* name = stackalloc byte[EventName.Length + 1];

        // Sound: NUL-terminated, pinned for the call; the kernel writes at most so many bytes on this frame. One more than the name has, so
        // that a longer one is told from it.
        fixed (byte* text = path)
        {
            Marshal.SetLastSystemError(0);
            nint length = Native.readlink(text, name, (nuint)EventName.Length + 1);
            if (length < 0)
            {
                return LastError;
            }

            if (Encoding.ASCII.GetString(name, (int)length) != EventName)
            {
                return Errno.EINVAL;
            }
        }

        Marshal.SetLastSystemError(0);
        int flags = Native.fcntl(fd, GetFlags, 0);
        return flags >= 0 && Native.fcntl(fd, SetFlags, flags | NonBlocking) == 0 ? Errno.None : LastError;
    }

    public unsafe Errno Poll(Span<PollEntry> entries, int milliseconds, out int ready)
    {
        // Sound: the kernel writes into so many entries, which are pinned for the call.
        fixed (PollEntry* first = entries)
        {
            Marshal.SetLastSystemError(0);
            ready = Native.poll(first, (nuint)entries.Length, milliseconds);
        }

        if (ready >= 0)
        {
            return Errno.None;
        }

        ready = 0;
        return LastError;
    }

    public unsafe Errno Send(int socket, ReadOnlySpan<byte> bytes, ReadOnlySpan<int> files, out int sent)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(files.Length, IDescriptors.FilesMax, nameof(files));
        ControlMessage control = default;
        files.CopyTo(new Span<int>(control.Files, IDescriptors.FilesMax));
        control.Length = (nuint)(ControlMessage.HeaderBytes + (files.Length * sizeof(int)));
        control.Level = LevelSocket;
        control.Type = ControlRights;

        // Sound: the vector and the control message lie on this frame, the bytes are pinned, and the lengths are theirs.
        fixed (byte* first = bytes)
        {
            Vector vector = new() { Base = first, Length = (nuint)bytes.Length };
            MessageHeader header = new() { Vectors = &vector, VectorCount = 1 };
            if (!files.IsEmpty)
            {
                header.Control = &control;
                header.ControlLength = (nuint)sizeof(ControlMessage);
                header.ControlLength -= (nuint)((IDescriptors.FilesMax - ((files.Length + 1) & ~1)) * sizeof(int));
            }

            Marshal.SetLastSystemError(0);
            nint result = Native.sendmsg(socket, &header, SendFlags);
            sent = (int)Math.Max(result, 0);
            return result >= 0 ? Errno.None : LastError;
        }
    }

    public unsafe Errno Receive(int socket, Span<byte> bytes, Span<int> files, out int received, out int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(files.Length, IDescriptors.FilesMax, nameof(files));
        count = 0;
        ControlMessage control = default;

        // Sound: as in Send; the kernel writes at most so many bytes and says how many.
        fixed (byte* first = bytes)
        {
            Vector vector = new() { Base = first, Length = (nuint)bytes.Length };
            MessageHeader header = new()
            {
                Vectors = &vector,
                VectorCount = 1,
                Control = &control,
                ControlLength = (nuint)sizeof(ControlMessage),
            };
            Marshal.SetLastSystemError(0);
            nint result = Native.recvmsg(socket, &header, ReceiveFlags);
            received = (int)Math.Max(result, 0);
            if (result < 0)
            {
                return LastError;
            }

            if (header.ControlLength >= ControlMessage.HeaderBytes && control.Level == LevelSocket && control.Type == ControlRights)
            {
                count = Math.Min((int)(control.Length - ControlMessage.HeaderBytes) / sizeof(int), IDescriptors.FilesMax);
                new ReadOnlySpan<int>(control.Files, count).CopyTo(files);
            }

            return Errno.None;
        }
    }

    public unsafe Errno Reopen(int fd, out int another)
    {
        byte[] path = DescriptorPath(fd);

        // Sound: NUL-terminated, pinned for the call, copied by the kernel. open is variadic; a mode is read only with O_CREAT.
        fixed (byte* text = path)
        {
            Marshal.SetLastSystemError(0);
            another = Native.open(text, OpenFlags);
            return another >= 0 ? Errno.None : LastError;
        }
    }

    public Errno IsAlone(int fd)
    {
        // Whoever opens the file while the lease lasts has the kernel send a signal to this process. The one that it would send ends the
        // process (SIGIO); this one is passed over unless somebody has asked for it. It is forgotten with each lease.
        Marshal.SetLastSystemError(0);
        if (Native.fcntl(fd, SetSignal, SignalUrgent) < 0 || Native.fcntl(fd, SetLease, LeaseWrite) < 0)
        {
            return LastError;
        }

        // Given back at once: nobody is to be held up by it.
        _ = Native.fcntl(fd, SetLease, LeaseNone);
        return Errno.None;
    }

    public unsafe Errno SealSize(int fd, bool final)
    {
        int wanted = SizeSeals | (final ? SealSeal : 0);
        Marshal.SetLastSystemError(0);
        int seals = Native.fcntl(fd, GetSeals, 0);
        if (seals < 0)
        {
            return LastError;
        }

        // Only now: what can be sealed is the kernel's own, and answers at once.
        byte* fileSystem = stackalloc byte[FileSystemBytes];
        if (Native.fstatfs(fd, fileSystem) != 0 || *(long*)fileSystem == HugePageFiles)
        {
            return Errno.EOPNOTSUPP;
        }

        if ((seals & wanted) == wanted)
        {
            return Errno.None;
        }

        Marshal.SetLastSystemError(0);
        return Native.fcntl(fd, AddSeals, wanted & ~seals) == 0 ? Errno.None : LastError;
    }

    public unsafe Errno Examine(int fd, out FileFacts facts)
    {
        // Sound: struct statx has 256 bytes on every architecture, and the empty name is one NUL.
        byte* status = stackalloc byte[StatusBytes];
        byte empty = 0;
        Marshal.SetLastSystemError(0);
        if (Native.statx(fd, &empty, EmptyPath, BasicStatus, status) != 0)
        {
            facts = default;
            return LastError;
        }

        ReadOnlySpan<byte> words = new(status, StatusBytes);
        facts = new FileFacts(
            BinaryPrimitives.ReadUInt64LittleEndian(words[SizeOffset..]),
            BinaryPrimitives.ReadUInt64LittleEndian(words[BlocksOffset..]) * BlockBytes,
            BinaryPrimitives.ReadUInt64LittleEndian(words[InodeOffset..]));
        return Errno.None;
    }

    public Errno Close(int fd)
    {
        Marshal.SetLastSystemError(0);
        return Native.close(fd) == 0 ? Errno.None : LastError;
    }

    private static byte[] DescriptorPath(int fd) =>
        Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{fd}\0"));

    private static Errno LastError => (Errno)Marshal.GetLastSystemError();

    /// <summary>struct iovec.</summary>
    private struct Vector
    {
        public unsafe byte* Base;
        public nuint Length;
    }

    /// <summary>struct msghdr; musl's counts are 32 bits with padding behind, which is the same on a little-endian machine.</summary>
    private struct MessageHeader
    {
        public unsafe void* Name;
        public nuint NameLength;
        public unsafe Vector* Vectors;
        public nuint VectorCount;
        public unsafe ControlMessage* Control;
        public nuint ControlLength;
        public nint Flags;
    }

    /// <summary>struct cmsghdr and the files behind it.</summary>
    private struct ControlMessage
    {
        public const int HeaderBytes = 16;

        public nuint Length;
        public int Level;
        public int Type;
        public unsafe fixed int Files[IDescriptors.FilesMax];
    }

    /// <summary>libc, under its own names. fcntl, open and syscall are variadic in C; on x86_64 and arm64 Linux their arguments are passed as
    /// here. syscall is for what not every libc has a name for (preadv2).</summary>
    private static class Native
    {
        [DllImport("libc", ExactSpelling = true)]
        public static extern int eventfd(uint initial, int flags);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int socketpair(int domain, int type, int protocol, int* pair);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe nint read(int fd, void* buffer, nuint count);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe nint write(int fd, void* buffer, nuint count);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int poll(PollEntry* entries, nuint count, int milliseconds);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe nint sendmsg(int socket, MessageHeader* message, int flags);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe nint recvmsg(int socket, MessageHeader* message, int flags);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int open(byte* path, int flags);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe nint readlink(byte* path, byte* buffer, nuint bytes);

        [DllImport("libc", ExactSpelling = true)]
        public static extern nint syscall(
            nint number, nint argument1, nint argument2, nint argument3, nint argument4, nint argument5, nint argument6);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int fcntl(int fd, int command, int argument);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int statx(int directory, byte* path, int flags, uint mask, byte* status);

        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int fstatfs(int fd, byte* status);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int close(int fd);
    }
}
