using System;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>The promise on which everything stands: a host that stalls, is left, and comes back late never touches a page that was handed out again.
/// It has an open file description of its own, and the kernel grants a lease on the guest's only when that one, and every copy and mapping made
/// from it, is gone; until then the pages of an unanswered report stay where they are.</summary>
public sealed class LateHostTests
{
    private static readonly PageRange s_block = WireGuest.Block(0, 512);
    private static readonly PageRange s_rest = WireGuest.Block(512, 512);
    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(20);

    [Fact]
    public void A_host_that_punches_late_finds_the_pages_where_they_were()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim goes = new();
        host.Os.Before = (call, _, _) =>
        {
            if (call == SystemCall.PunchHole)
            {
                entered.Set();
                goes.Wait(ScriptedFrontend.Patience);
            }
        };
        guest.Start();
        Assert.True(guest.Driver.React([s_block]));
        Assert.True(entered.Wait(ScriptedFrontend.Patience, TestContext.Current.CancellationToken));
        Assert.Equal(SettleResult.TimedOut, guest.Driver.Settle(s_short));

        // However often and by whatever way it is asked.
        Assert.False(guest.Driver.TryRevoke(0, s_short));
        for (int i = 0; i < 100; i++)
        {
            Assert.False(guest.Driver.TryRevoke(0, TimeSpan.Zero));
        }

        Assert.False(guest.Driver.TryRestart());
        Assert.False(guest.Driver.TryShutDown(new Deadline(TimeProvider.System, TimeSpan.Zero)));
        Assert.False(guest.Transport.IsAlone);
        Assert.True(guest.IsUntouched(s_block));

        // Late, and without harm: nobody was given these pages.
        goes.Set();
        guest.RevokeInTheEnd();
        Assert.True(guest.IsZero(s_block));
        Assert.True(guest.IsUntouched(s_rest));
        Assert.Equal(1, host.Os.Count(SystemCall.PunchHole));

        // What is written from now on stays: there is nobody left to punch.
        guest.Touch();
        host.Kill();
        Assert.True(guest.IsUntouched(s_block));
        Assert.Equal(1, host.Os.Count(SystemCall.PunchHole));
    }

    /// <summary>It holds one report in the kernel when it is left; the one behind it must not be begun after that, nor any page come back.</summary>
    [Fact]
    public void Of_several_reports_none_comes_back_before_all_can()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim goes = new();
        host.Os.Before = (call, _, _) =>
        {
            if (call == SystemCall.PunchHole)
            {
                entered.Set();
                goes.Wait(ScriptedFrontend.Patience);
            }
        };
        guest.Start();
        Assert.True(guest.Driver.React([s_block], 0));
        Assert.True(entered.Wait(ScriptedFrontend.Patience, TestContext.Current.CancellationToken));
        Assert.True(guest.Driver.React([s_rest], 1));
        Assert.False(guest.Driver.TryRevoke(1, s_short));
        Assert.False(guest.Driver.TryRevoke(0, TimeSpan.Zero));
        goes.Set();
        guest.RevokeInTheEnd(1);
        guest.RevokeInTheEnd(0);
        guest.Touch();
        Assert.True(guest.IsUntouched(WireGuest.Block(0, WireGuest.Pages)));
    }

    /// <summary>Gone by its own word and by its socket's, and yet somebody has a copy of what it was given.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_copy_that_outlives_the_host_keeps_the_pages(bool isMapping)
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        Assert.True(host.Guest.Table.TryFile(0, out int file, out _, out _));
        int copy = Libc.Duplicate(file);
        nint mapping = 0;
        if (isMapping)
        {
            Assert.Equal(Errno.None, LinuxSystem.Instance.MapShared(copy, 0, 4096, MemoryProtection.ReadWrite, 0, out mapping));
            LinuxDescriptors.Instance.Close(copy);
        }

        Assert.True(guest.Driver.React([s_block]));
        host.Kill();
        Assert.False(guest.Driver.TryRevoke(0, s_short));
        Assert.False(guest.Driver.TryRevoke(0, TimeSpan.Zero));
        Assert.False(guest.Transport.IsAlone);

        // Also when the next host is there: it was not shared with that one.
        Assert.True(guest.Transport.TryConnect(), guest.Transport.Failure);
        Assert.False(guest.Driver.TryRevoke(0, TimeSpan.Zero));
        Assert.False(guest.Driver.TryRestart());
        if (isMapping)
        {
            LinuxSystem.Instance.Unmap(mapping, 4096);
        }
        else
        {
            LinuxDescriptors.Instance.Close(copy);
        }

        guest.RevokeInTheEnd();
        guest.Start();
        Assert.True(guest.Driver.React([s_rest]));
        Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
    }

    /// <summary>Nobody has read it: it lies in the socket of a host that has stopped.</summary>
    [Fact]
    public void Memory_that_was_sent_and_never_taken_is_not_the_guests_alone()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path, timeout: s_short);
        host.OnMessage = static (backend, _) =>
        {
            if (backend.Socket.Request == (uint)VhostUserRequest.SetBackendChannel)
            {
                // The answer goes out, and what comes next is never read.
                backend.Answer();
                backend.Stall();
                return false;
            }

            return true;
        };
        Assert.False(guest.TryStart());
        Assert.Contains(nameof(VhostUserRequest.SetMemoryTable), guest.Transport.Failure, StringComparison.Ordinal);
        Assert.False(guest.Driver.TryRevoke(0, s_short));
        Assert.False(guest.Transport.IsAlone);
        host.GoOn();
        guest.RevokeInTheEnd();
    }

    /// <summary>Reset waits for so long as it is allowed to: a host that is on its way out is not taken for one that stays.</summary>
    [Fact]
    public void A_host_that_goes_is_waited_for()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        for (int i = 0; i < 50; i++)
        {
            guest.Start();
            Assert.True(guest.Driver.React([s_block]));
            Assert.True(guest.Driver.TryRevoke(0, ScriptedFrontend.Patience));
            guest.Touch();
            Assert.True(guest.IsUntouched(s_block));
        }
    }
}
