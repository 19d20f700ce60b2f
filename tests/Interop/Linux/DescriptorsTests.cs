using System;
using System.IO;
using System.Linq;
using LowLevel.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

/// <summary>Events, and files that travel over sockets. What came is asked of the kernel (inodes, links), never of the sender.</summary>
public sealed class DescriptorsTests
{
    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    [Fact]
    public void An_event_wakes_once_for_many_signals_and_is_quiet_when_drained()
    {
        Assert.Equal(Errno.None, Os.CreateEvent(out int fd));
        Assert.Equal(Errno.EAGAIN, Os.Drain(fd));
        Assert.Equal(PollEvents.None, Ready(fd));
        Assert.Equal(Errno.None, Os.Signal(fd));
        Assert.Equal(Errno.None, Os.Signal(fd));
        Assert.Equal(PollEvents.Readable, Ready(fd));
        Assert.Equal(Errno.None, Os.Drain(fd));
        Assert.Equal(Errno.EAGAIN, Os.Drain(fd));
        Assert.Equal(Errno.None, Os.Close(fd));
        Assert.Equal(Errno.EBADF, Os.Signal(fd));
        Assert.Equal(Errno.EBADF, Os.Drain(fd));
        Assert.Equal(Errno.EBADF, Os.Close(fd));
    }

    /// <summary>Whoever shares an event can make it block (O_NONBLOCK belongs to what is shared); to drain it must not wait for him.</summary>
    [Fact]
    public void To_drain_an_event_never_waits_even_if_others_have_made_it_block()
    {
        Assert.Equal(Errno.None, Os.CreateEvent(out int fd));
        Assert.Equal(0, Libc.MakeBlocking(fd));
        Assert.Equal(Errno.EAGAIN, Os.Drain(fd));
        Assert.Equal(Errno.None, Os.Signal(fd));
        Assert.Equal(Errno.None, Os.Drain(fd));
        Os.Close(fd);
    }

    [Fact]
    public void An_event_of_somebody_else_is_made_not_to_block()
    {
        int fd = Libc.BlockingEvent(ulong.MaxValue - 1);
        Assert.Equal(Errno.None, Os.AdoptEvent(fd));

        // Full: one more would wait for whoever reads.
        Assert.Equal(Errno.EAGAIN, Os.Signal(fd));
        Os.Close(fd);
        Assert.Equal(Errno.ENOENT, Os.AdoptEvent(fd));
    }

    [Fact]
    public void What_is_no_event_is_not_taken_for_one()
    {
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Assert.Equal(Errno.EINVAL, Os.AdoptEvent(first));
        Assert.Equal(Errno.None, LinuxSystem.Instance.CreateMemfd("no-event", 4096, out int memfd));
        Assert.Equal(Errno.EINVAL, Os.AdoptEvent(memfd));
        int epoll = Libc.Epoll();
        Assert.Equal(Errno.EINVAL, Os.AdoptEvent(epoll));
        foreach (int fd in (int[])[first, second, memfd, epoll])
        {
            Os.Close(fd);
        }
    }

    [Fact]
    public void Poll_says_which_and_passes_over_negative_ones()
    {
        Assert.Equal(Errno.None, Os.CreateEvent(out int quiet));
        Assert.Equal(Errno.None, Os.CreateEvent(out int told));
        Os.Signal(told);
        PollEntry[] entries = [new PollEntry(quiet), new PollEntry(-1), new PollEntry(told)];
        Assert.Equal(Errno.None, Os.Poll(entries, -1, out int ready));
        Assert.Equal(1, ready);
        Assert.Equal([PollEvents.None, PollEvents.None, PollEvents.Readable], entries.Select(entry => entry.Ready));
        Os.Close(told);
        Assert.Equal(Errno.None, Os.Poll(entries, 0, out ready));
        Assert.Equal(PollEvents.Invalid, entries[2].Ready);
        Os.Close(quiet);
        Assert.Equal(Errno.None, Os.Poll([], 0, out ready));
        Assert.Equal(0, ready);
    }

    [Fact]
    public void The_end_of_a_socket_shows_to_whoever_waits_for_nothing_else()
    {
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Assert.Equal(Errno.None, Os.Send(second, [1], [], out _));
        PollEntry[] entries = [new PollEntry(first, PollEvents.None)];
        Assert.Equal(Errno.None, Os.Poll(entries, 0, out int ready));
        Assert.Equal(0, ready);
        Os.Close(second);
        Assert.Equal(Errno.None, Os.Poll(entries, 0, out ready));
        Assert.Equal(PollEvents.HangUp, entries[0].Ready);
        Os.Close(first);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(7)]
    [InlineData(8)]
    public void As_many_files_arrive_as_were_sent_in_their_order(int count)
    {
        int[] memfds = [.. Enumerable.Range(0, count).Select(i => Memfd($"sent-{i}"))];
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Assert.Equal(Errno.None, Os.Send(first, [1, 2, 3], memfds, out int sent));
        Assert.Equal(3, sent);
        int[] files = new int[IDescriptors.FilesMax];
        byte[] bytes = new byte[16];
        Assert.Equal(Errno.None, Os.Receive(second, bytes, files, out int received, out int arrived));
        Assert.Equal((3, count), (received, arrived));
        Assert.Equal([1, 2, 3], bytes[..3]);
        Assert.Equal(memfds.Select(Inode), files[..count].Select(Inode));
        Assert.All(files[..count], fd => Assert.True(Libc.ClosesOnExec(fd)));
        Assert.Equal(Errno.EAGAIN, Os.Receive(second, bytes, files, out received, out arrived));
        Close([first, second, .. memfds, .. files[..count]]);
    }

    [Fact]
    public void Files_come_with_the_first_byte_that_was_sent_with_them_and_not_with_the_rest()
    {
        int memfd = Memfd("with-the-first");
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Assert.Equal(Errno.None, Os.Send(first, [1, 2], [], out _));
        Assert.Equal(Errno.None, Os.Send(first, [3, 4], [memfd], out _));
        byte[] bytes = new byte[1];
        int[] files = new int[IDescriptors.FilesMax];
        int[] counts = new int[4];
        for (int i = 0; i < counts.Length; i++)
        {
            Assert.Equal(Errno.None, Os.Receive(second, bytes, files, out _, out counts[i]));
            Assert.Equal(i + 1, bytes[0]);
        }

        Assert.Equal([0, 0, 1, 0], counts);
        Close([first, second, memfd, files[0]]);
    }

    [Fact]
    public void Files_for_which_there_is_no_room_are_closed_by_the_kernel()
    {
        string name = $"many-{Guid.NewGuid():N}";
        int memfd = Memfd(name);
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Libc.SendFiles(first, [.. Enumerable.Repeat(memfd, 200)]);
        int[] files = new int[IDescriptors.FilesMax];
        Assert.Equal(Errno.None, Os.Receive(second, new byte[8], files, out int received, out int count));
        Assert.Equal((1, IDescriptors.FilesMax), (received, count));
        Assert.Equal(1 + IDescriptors.FilesMax, OpenFiles.Named(name));
        Close([first, second, memfd, .. files]);
        Assert.Equal(0, OpenFiles.Named(name));
    }

    [Fact]
    public void Many_messages_with_files_lose_none_and_mix_none()
    {
        int[] memfds = [.. Enumerable.Range(0, 3).Select(i => Memfd($"many-messages-{i}"))];
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        int[] files = new int[IDescriptors.FilesMax];
        byte[] bytes = new byte[4];
        for (int round = 0; round < 100; round++)
        {
            int[] sent = [.. Enumerable.Range(0, round % 4).Select(i => memfds[(round + i) % 3])];
            Assert.Equal(Errno.None, Os.Send(first, BitConverter.GetBytes(round), sent, out _));
            Assert.Equal(Errno.None, Os.Send(first, BitConverter.GetBytes(~round), [], out _));
            Assert.Equal(Errno.None, Os.Receive(second, bytes, files, out _, out int count));
            Assert.Equal(round, BitConverter.ToInt32(bytes));
            Assert.Equal(sent.Select(Inode), files[..count].Select(Inode));
            Close(files[..count]);
            Assert.Equal(Errno.None, Os.Receive(second, bytes, files, out _, out count));
            Assert.Equal((~round, 0), (BitConverter.ToInt32(bytes), count));
        }

        Close([first, second, .. memfds]);
    }

    [Fact]
    public void A_full_socket_takes_no_more_and_a_closed_one_raises_no_signal()
    {
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Errno error;
        int sent = 0;
        byte[] much = new byte[1 << 16];
        while ((error = Os.Send(first, much, [], out int part)) == Errno.None)
        {
            sent += part;
        }

        Assert.Equal(Errno.EAGAIN, error);
        Assert.True(sent > 0);
        Os.Close(second);
        Assert.Equal((Errno)32, Os.Send(first, [1], [], out _)); // EPIPE
        Os.Close(first);
    }

    [Fact]
    public void A_closed_socket_reads_as_no_bytes_after_what_was_sent()
    {
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Os.Send(first, [9], [], out _);
        Os.Close(first);
        int[] files = new int[IDescriptors.FilesMax];
        Assert.Equal(Errno.None, Os.Receive(second, new byte[8], files, out int received, out _));
        Assert.Equal(1, received);
        Assert.Equal(Errno.None, Os.Receive(second, new byte[8], files, out received, out _));
        Assert.Equal(0, received);
        Os.Close(second);
    }

    [Fact]
    public unsafe void What_the_kernel_keeps_of_a_file_grows_by_writing_and_shrinks_by_a_hole()
    {
        const nuint Bytes = 64 * 4096;
        int fd = Memfd("examined", Bytes);
        Assert.Equal(Errno.None, LinuxSystem.Instance.MapShared(fd, 0, Bytes, MemoryProtection.ReadWrite, 0, out nint at));
        Assert.Equal(Errno.None, Os.Examine(fd, out FileFacts empty));
        Assert.Equal((Bytes, 0ul), (empty.Bytes, empty.ResidentBytes));
        new Span<byte>((void*)at, (int)Bytes).Fill(1);
        Assert.Equal(Errno.None, Os.Examine(fd, out FileFacts full));
        Assert.Equal((Bytes, Bytes, empty.Inode), ((nuint)full.Bytes, full.ResidentBytes, full.Inode));
        Assert.Equal(Errno.None, LinuxSystem.Instance.PunchHole(fd, 16 * 4096, 32 * 4096));
        Assert.Equal(Errno.None, Os.Examine(fd, out FileFacts holed));
        Assert.Equal(32 * 4096ul, holed.ResidentBytes);
        LinuxSystem.Instance.Unmap(at, Bytes);
        Os.Close(fd);
        Assert.Equal(Errno.EBADF, Os.Examine(fd, out FileFacts none));
        Assert.Equal(default, none);
    }

    [Fact]
    public void A_sealed_file_cannot_change_its_size_and_is_found_sealed()
    {
        int fd = Memfd("sealed");
        Assert.Equal(Errno.None, Os.SealSize(fd, final: false));
        Assert.Equal(Errno.None, Os.SealSize(fd, final: false));
        Assert.NotEqual(0, Libc.Truncate(fd, 0));
        Assert.NotEqual(0, Libc.Truncate(fd, 1 << 20));
        Assert.Equal(Errno.None, Os.SealSize(fd, final: true));
        Assert.Equal(Errno.None, Os.SealSize(fd, final: true));
        Assert.NotEqual(0, Libc.AddSeals(fd, Libc.SealWrite));
        Os.Close(fd);
    }

    [Theory]
    [InlineData(Libc.SealShrink, Errno.None)]
    [InlineData(Libc.SealGrow, Errno.None)]
    [InlineData(Libc.SealWrite, Errno.None)]
    [InlineData(Libc.SealShrink | Libc.SealGrow | Libc.SealSeal, Errno.None)]
    [InlineData(Libc.SealSeal, Errno.EPERM)]
    [InlineData(Libc.SealGrow | Libc.SealSeal, Errno.EPERM)]
    public void A_file_with_other_seals_gets_those_that_are_missing_if_it_can(int seals, Errno expected)
    {
        int fd = Memfd("others");
        Assert.Equal(0, Libc.AddSeals(fd, seals));
        Assert.Equal(expected, Os.SealSize(fd, final: false));
        Os.Close(fd);
    }

    [Fact]
    public void A_file_that_cannot_be_sealed_is_told()
    {
        string path = Path.Combine("/dev/shm", $"lowlevel-{Guid.NewGuid():N}");
        Assert.SkipUnless(Directory.Exists("/dev/shm"), "there is no /dev/shm");
        using (FileStream file = new(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose))
        {
            file.SetLength(4096);
            Assert.Equal(Errno.EPERM, Os.SealSize((int)file.SafeFileHandle.DangerousGetHandle(), final: false));
        }

        Assert.Equal(Errno.None, Os.CreateEvent(out int fd));
        Assert.Equal(Errno.EINVAL, Os.SealSize(fd, final: false));
        Os.Close(fd);
        Assert.Equal(Errno.EBADF, Os.SealSize(fd, final: false));
    }

    /// <summary>Its pages can be punched away and taken by others, and then the next touch ends the process.</summary>
    [Fact]
    public void A_file_of_huge_pages_is_not_taken()
    {
        int fd = Libc.HugePageFile();
        Assert.SkipWhen(fd < 0, "this kernel has no hugetlbfs");
        Assert.Equal(Errno.EOPNOTSUPP, Os.SealSize(fd, final: false));
        Assert.Equal(0, Libc.AddSeals(fd, Libc.SealShrink | Libc.SealGrow));
        Assert.Equal(Errno.EOPNOTSUPP, Os.SealSize(fd, final: false));
        Os.Close(fd);
    }

    private static PollEvents Ready(int fd)
    {
        PollEntry[] entries = [new PollEntry(fd)];
        Assert.Equal(Errno.None, Os.Poll(entries, 0, out _));
        return entries[0].Ready;
    }

    private static int Memfd(string name, nuint bytes = 4096)
    {
        Assert.Equal(Errno.None, LinuxSystem.Instance.CreateMemfd(name, bytes, out int fd));
        return fd;
    }

    private static ulong Inode(int fd)
    {
        Assert.Equal(Errno.None, Os.Examine(fd, out FileFacts facts));
        return facts.Inode;
    }

    private static void Close(int[] files) => Array.ForEach(files, fd => Assert.Equal(Errno.None, Os.Close(fd)));
}
