using System;

namespace LowLevel.Interop.Linux;

/// <summary>What this library asks of the operating system about file descriptors that other processes share: events, sockets that carry
/// files, and what the kernel knows of a memory file. As with <see cref="IOperatingSystem"/> no method throws, each returns the errno,
/// and all are thread-safe. Descriptors that come back are close-on-exec and belong to the caller.</summary>
internal interface IDescriptors
{
    /// <summary>eventfd: a counter that wakes whoever polls it; never blocks.</summary>
    Errno CreateEvent(out int fd);

    /// <summary>socketpair: two connected unix stream sockets.</summary>
    Errno CreateSocketPair(out int first, out int second);

    /// <summary>Adds one to an event.</summary>
    Errno Signal(int fd);

    /// <summary>Sets an event back to 0; never blocks, whatever whoever shares it has made of it. <see cref="Errno.EAGAIN"/>: it was 0.</summary>
    Errno Drain(int fd);

    /// <summary>Makes an event of somebody else's fit to be used here: it does not block. <see cref="Errno.EINVAL"/>: it is no event, and
    /// might block for ever, or be readable for ever (a pipe, a file of a file system in a process).</summary>
    Errno AdoptEvent(int fd);

    /// <summary>poll: waits until one of the entries has something, and says which.</summary>
    /// <param name="entries">What to wait for; a negative descriptor is passed over.</param>
    /// <param name="milliseconds">At most so long; -1 for ever, 0 not at all.</param>
    /// <param name="ready">Entries with something; 0 when time is up.</param>
    Errno Poll(Span<PollEntry> entries, int milliseconds, out int ready);

    /// <summary>sendmsg on a stream socket, with files (SCM_RIGHTS); never blocks and never raises SIGPIPE.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="bytes">None asks whether the other side would take any.</param>
    /// <param name="files">At most <see cref="FilesMax"/>; they go with the first byte and stay the caller's too.</param>
    /// <param name="sent">Bytes taken; files are sent if it is not 0.</param>
    Errno Send(int socket, ReadOnlySpan<byte> bytes, ReadOnlySpan<int> files, out int sent);

    /// <summary>recvmsg on a stream socket; never blocks. <see cref="Errno.None"/> with 0 bytes: the other side has closed.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="bytes">Where to.</param>
    /// <param name="files">Room for <see cref="FilesMax"/>; the kernel closes what does not fit.</param>
    /// <param name="received">Bytes that came.</param>
    /// <param name="count">Files that came.</param>
    Errno Receive(int socket, Span<byte> bytes, Span<int> files, out int received, out int count);

    /// <summary>Opens the same file anew, for reading and writing (/proc/self/fd): another open file description, which can be told from
    /// the first. A descriptor that is sent or duplicated shares its description.</summary>
    Errno Reopen(int fd, out int another);

    /// <summary>Whether nobody holds the file open or mapped but through the caller's own open file description. By a write lease
    /// (fcntl F_SETLEASE), which the kernel grants exactly then and which is given back at once. The description must be one that was
    /// opened (<see cref="Reopen"/>), not the one of memfd_create, which the kernel does not count. Nor does it count a descriptor that is
    /// only a path (O_PATH): who keeps one on purpose can open the file again.</summary>
    /// <returns><see cref="Errno.None"/>: alone. <see cref="Errno.EAGAIN"/>: somebody else has it. Else it cannot be known.</returns>
    Errno IsAlone(int fd);

    /// <summary>Seals a memory file (memfd) against changes of its size, or finds it sealed. A page that was mapped can then not go away
    /// under whoever touches it (SIGBUS). <paramref name="final"/>: against further seals too.</summary>
    Errno SealSize(int fd, bool final);

    /// <summary>Size of a file and what the kernel keeps in memory or on disk for it (statx stx_size, stx_blocks), bytes, and its inode.</summary>
    Errno Examine(int fd, out FileFacts facts);

    /// <summary>close.</summary>
    Errno Close(int fd);

    /// <summary>The most files of one message.</summary>
    const int FilesMax = 8;
}

/// <summary>What statx says of a file: bytes, bytes that have memory, inode.</summary>
internal readonly record struct FileFacts(ulong Bytes, ulong ResidentBytes, ulong Inode);

/// <summary>A descriptor to wait for; laid out as the kernel's struct pollfd.</summary>
internal struct PollEntry(int fd, PollEvents events = PollEvents.Readable)
{
    /// <summary>The descriptor.</summary>
    public int Fd = fd;

    /// <summary>What to wait for; <see cref="PollEvents.Error"/> and <see cref="PollEvents.HangUp"/> are always waited for.</summary>
    public PollEvents Events = events;

    /// <summary>What there was.</summary>
    public PollEvents Ready;
}

/// <summary>POLL values (include/uapi/asm-generic/poll.h).</summary>
[Flags]
internal enum PollEvents : short
{
    None = 0,
    Readable = 1,
    Writable = 4,
    Error = 8,
    HangUp = 16,
    Invalid = 32,
}
