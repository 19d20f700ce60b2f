using System;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;

namespace LowLevel.Tests.Interop.Linux;

/// <summary>What the library never does with a descriptor, and others may.</summary>
internal static class Libc
{
    public const int SealSeal = 1;
    public const int SealShrink = 2;
    public const int SealGrow = 4;
    public const int SealWrite = 8;
    public const int PathOnly = 0x200000; // O_PATH
    public const int ReadOnly = 0;
    public const int ReadWrite = 2;
    private const uint AllowSealing = 2;
    private const uint HugePages = 4;
    private const int GetDescriptorFlags = 1;
    private const int SetDescriptorFlags = 2;
    private const int GetFlags = 3;
    private const int SetFlags = 4;
    private const int NonBlocking = 0x800;
    private const int AddSealsCommand = 1033;

    public static int AddSeals(int fd, int seals) => Native.fcntl(fd, AddSealsCommand, seals);

    public static int Truncate(int fd, long bytes) => Native.ftruncate(fd, bytes);

    public static int MakeBlocking(int fd) => Native.fcntl(fd, SetFlags, Native.fcntl(fd, GetFlags, 0) & ~NonBlocking);

    public static int BlockingEvent(ulong count)
    {
        int fd = Native.eventfd(0, 0);
        return Native.write(fd, ref count, sizeof(ulong)) == sizeof(ulong) ? fd : -1;
    }

    /// <summary>A memfd of huge pages, whether or not there are any.</summary>
    public static int HugePageFile() => Native.memfd_create("huge", HugePages | AllowSealing);

    public static int Epoll() => Native.epoll_create1(0);

    public static bool ClosesOnExec(int fd) => (Native.fcntl(fd, GetDescriptorFlags, 0) & 1) != 0;

    /// <summary>A child that is started meanwhile gets it too.</summary>
    public static bool KeepOnExec(int fd) => Native.fcntl(fd, SetDescriptorFlags, 0) == 0;

    public static int Duplicate(int fd) => Native.dup(fd);

    public static int OpenAgain(int fd, int flags) => Native.open($"/proc/self/fd/{fd}", flags);

    /// <summary>One byte with more files than the library sends.</summary>
    public static unsafe void SendFiles(int socket, int[] files)
    {
        // Sound: one byte, a control message of the length that it says, and a struct msghdr, all on this frame.
        int length = 16 + (files.Length * sizeof(int));
        byte* control = stackalloc byte[(length + 7) & ~7];
        *(nuint*)control = (nuint)length;
        ((int*)control)[2] = 1; // SOL_SOCKET
        ((int*)control)[3] = 1; // SCM_RIGHTS
        files.CopyTo(new Span<int>(control + 16, files.Length));
        byte one = 1;
        nint* vector = stackalloc nint[2] { (nint)(&one), 1 };
        nint* header = stackalloc nint[7] { 0, 0, (nint)vector, 1, (nint)control, (length + 7) & ~7, 0 };
        if (Native.sendmsg(socket, header, 0) != 1)
        {
            throw new InvalidOperationException($"sendmsg: {(Errno)Marshal.GetLastPInvokeError()}");
        }
    }

    private static class Native
    {
        [DllImport("libc", ExactSpelling = true)]
        public static extern int fcntl(int fd, int command, int argument);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int ftruncate(int fd, long bytes);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int eventfd(uint initial, int flags);

        [DllImport("libc", ExactSpelling = true)]
        public static extern nint write(int fd, ref ulong value, nuint bytes);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int epoll_create1(int flags);

        [DllImport("libc", ExactSpelling = true, CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
        public static extern int memfd_create(string name, uint flags);

        [DllImport("libc", ExactSpelling = true)]
        public static extern int dup(int fd);

        [DllImport("libc", ExactSpelling = true, CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
        public static extern int open(string path, int flags);

        [DllImport("libc", ExactSpelling = true, SetLastError = true)]
        public static extern unsafe nint sendmsg(int socket, nint* header, int flags);
    }
}
