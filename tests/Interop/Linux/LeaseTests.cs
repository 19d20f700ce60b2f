using System;
using System.Diagnostics;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

/// <summary>Whether somebody else has a file: the kernel's word on which the whole promise about a lost host stands. Every way to have a file is
/// held in front of it.</summary>
public sealed class LeaseTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly SharedMemoryFile _file = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, "lease-test", 16 * 4096);

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    public void Dispose() => _file.Dispose();

    /// <summary>Mapped and open by its own description, and by copies of that: all this is the owner itself.</summary>
    [Fact]
    public void The_owner_with_its_own_mapping_is_alone()
    {
        AssertBecomesAlone();
        int copy = Libc.Duplicate(_file.File);
        AssertBecomesAlone();
        Os.Close(copy);
    }

    [Theory]
    [InlineData(Libc.ReadWrite)]
    [InlineData(Libc.ReadOnly)]
    public void Whoever_has_opened_it_is_somebody_else(int flags)
    {
        int other = Libc.OpenAgain(_file.File, flags);
        Assert.True(other >= 0);
        Assert.Equal(Errno.EAGAIN, Os.IsAlone(_file.File));
        int copy = Libc.Duplicate(other);
        Os.Close(other);
        Assert.Equal(Errno.EAGAIN, Os.IsAlone(_file.File));
        Os.Close(copy);
        AssertBecomesAlone();
    }

    [Fact]
    public void A_mapping_that_is_left_after_its_file_was_closed_is_somebody_else()
    {
        Assert.Equal(Errno.None, Os.Reopen(_file.File, out int other));
        Assert.Equal(Errno.None, LinuxSystem.Instance.MapShared(other, 4096, 4096, MemoryProtection.ReadWrite, 0, out nint at));
        Os.Close(other);
        Assert.Equal(Errno.EAGAIN, Os.IsAlone(_file.File));
        LinuxSystem.Instance.Unmap(at, 4096);
        AssertBecomesAlone();
    }

    /// <summary>Also while nobody has taken it yet, and when it never is.</summary>
    [Fact]
    public void A_file_on_its_way_through_a_socket_is_somebody_else()
    {
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Assert.Equal(Errno.None, Os.Reopen(_file.File, out int lent));
        Assert.Equal(Errno.None, Os.Send(first, [1], [lent], out _));
        Os.Close(lent);
        Os.Close(first);
        Assert.Equal(Errno.EAGAIN, Os.IsAlone(_file.File));
        int[] files = new int[IDescriptors.FilesMax];
        Assert.Equal(Errno.None, Os.Receive(second, new byte[1], files, out _, out int count));
        Assert.Equal(1, count);
        Assert.Equal(Errno.EAGAIN, Os.IsAlone(_file.File));
        Os.Close(files[0]);
        AssertBecomesAlone();

        Assert.Equal(Errno.None, Os.Reopen(_file.File, out lent));
        Assert.Equal(Errno.None, Os.CreateSocketPair(out first, out int unread));
        Os.Send(first, [1], [lent], out _);
        Os.Close(lent);
        Os.Close(first);
        Assert.Equal(Errno.EAGAIN, Os.IsAlone(_file.File));
        Os.Close(unread);
        AssertBecomesAlone();
        Os.Close(second);
    }

    [Fact]
    public void A_process_that_has_it_is_somebody_else_until_it_ends()
    {
        Assert.Equal(Errno.None, Os.Reopen(_file.File, out int lent));
        Assert.True(Libc.KeepOnExec(lent));
        using Process child = Process.Start(new ProcessStartInfo("cat") { RedirectStandardInput = true })!;
        Os.Close(lent);
        Assert.Equal(Errno.EAGAIN, Os.IsAlone(_file.File));
        child.StandardInput.Close();
        Assert.True(child.WaitForExit(s_patience));
        AssertBecomesAlone();
    }

    /// <summary>The kernel counts openers, not what memfd_create has made: nobody could be told from the owner.</summary>
    [Fact]
    public void A_file_that_was_never_opened_has_nobody_to_be_counted()
    {
        Assert.Equal(Errno.None, LinuxSystem.Instance.CreateMemfd("lease-raw", 4096, out int raw));
        Assert.NotEqual(Errno.None, Os.IsAlone(raw));
        Os.Close(raw);
        Assert.Equal(Errno.EBADF, Os.IsAlone(raw));
    }

    /// <summary>What is no open file to the kernel: a host that means harm and keeps a path can come back. One that stalls does not.</summary>
    [Fact]
    public void A_path_alone_is_not_counted()
    {
        int path = Libc.OpenAgain(_file.File, Libc.PathOnly);
        Assert.True(path >= 0);
        AssertBecomesAlone();
        Os.Close(path);
    }

    /// <summary>To open a file while somebody has a lease on it has a signal sent to him, by default one that ends the process.</summary>
    [Fact]
    public void Whoever_opens_the_file_while_it_is_asked_about_does_no_harm()
    {
        bool ends = false;
        int opened = 0;
        Thread opener = new(() =>
        {
            while (!Volatile.Read(ref ends))
            {
                if (Os.Reopen(_file.File, out int other) == Errno.None)
                {
                    opened++;
                    Os.Close(other);
                }
            }
        });
        opener.Start();
        int alone = 0;
        int others = 0;
        for (int i = 0; i < 50_000 || ((alone == 0 || others == 0) && i < 5_000_000); i++)
        {
            Errno error = Os.IsAlone(_file.File);
            alone += error == Errno.None ? 1 : 0;
            others += error == Errno.EAGAIN ? 1 : 0;
        }

        Volatile.Write(ref ends, true);
        opener.Join();
        Assert.True(opened > 0 && alone > 0 && others > 0, $"{opened} opened, {alone} times alone, {others} times not");
        AssertBecomesAlone();
    }

    /// <summary>A process that another test starts has a copy of everything until it is another program.</summary>
    private void AssertBecomesAlone() => Assert.True(SpinWait.SpinUntil(() => Os.IsAlone(_file.File) == Errno.None, s_patience));
}
