using System;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>A host that hangs in the kernel, comes late, or is told to stop: batches come back only when it can touch them no
/// more, and everything ends within its bound. The contents are looked at, not the return codes.</summary>
public sealed class SlowHostTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly PageRange Block = BalloonFixture.Block(512, 512);
    private static readonly PageRange Other = BalloonFixture.Block(2048, 512);

    private readonly ManualResetEventSlim _entered = new(false);
    private readonly ManualResetEventSlim _lets = new(false);

    public void Dispose()
    {
        _lets.Set();
        _entered.Dispose();
        _lets.Dispose();
    }

    /// <summary>B24: the batch was cancelled before the host took it; when the host comes at last, the memory has an owner.</summary>
    [Fact]
    public void A_host_that_comes_late_finds_nothing_to_drop()
    {
        using BalloonFixture f = new();
        Assert.True(f.Driver.React([Block]));
        Assert.Equal(SettleResult.TimedOut, f.Driver.Settle(TimeSpan.Zero));
        Assert.True(f.Driver.TryRevoke(TimeSpan.Zero));
        Assert.Equal(0, f.Driver.Capacity);
        f.Touch();
        f.Host.Process();
        Assert.Equal(DiscardOutcome.Refused, f.Balloon.Gates.Reports.Discard(Block.Start.ByteOffset, 4096));
        Assert.True(f.IsUntouched(Block));

        Assert.True(f.Driver.TryRestart());
        Assert.True(f.Driver.React([Other]));
        f.Host.Process();
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero));
        Assert.True(f.IsUntouched(Block));
    }

    [Fact]
    public async Task A_host_that_hangs_in_the_kernel_keeps_the_batch_until_the_call_returns()
    {
        using BalloonFixture f = new(HostMode.Thread);
        Hang(f);
        Assert.True(f.Driver.React([Block]));
        _entered.Wait(TestContext.Current.CancellationToken);
        Assert.Equal(SettleResult.TimedOut, f.Driver.Settle(TimeSpan.FromMilliseconds(1)));
        Assert.False(f.Driver.TryRevoke(TimeSpan.FromMilliseconds(1)));
        Assert.False(f.Driver.TryRevoke(TimeSpan.Zero));
        Assert.False(f.Driver.TryRestart());
        Assert.False(f.Driver.React([Other]));

        Task<bool> revoking = Task.Run(() => f.Driver.TryRevoke(Patience), TestContext.Current.CancellationToken);
        _lets.Set();
        Assert.True(await revoking);

        // The drop that was under way is over; whoever writes now keeps what he wrote.
        f.Touch();
        Assert.True(f.Driver.TryRestart());
        Assert.True(f.Driver.React([Other]));
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(Patience));
        Assert.True(f.IsUntouched(Block));
    }

    [Fact]
    public void A_host_that_answers_after_the_timeout_may_still_be_settled()
    {
        using BalloonFixture f = new(HostMode.Thread);
        Hang(f);
        Assert.True(f.Driver.React([Block]));
        _entered.Wait(TestContext.Current.CancellationToken);
        Assert.Equal(SettleResult.TimedOut, f.Driver.Settle(TimeSpan.Zero));
        _lets.Set();
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(Patience));
    }

    [Fact]
    public void Shutting_down_ends_within_its_bound_and_says_that_the_host_is_still_inside()
    {
        BalloonFixture f = new(HostMode.Thread);
        Hang(f);
        Assert.True(f.Driver.React([Block]));
        _entered.Wait(TestContext.Current.CancellationToken);
        Assert.False(f.Balloon.TryShutDown(TimeSpan.FromMilliseconds(1)));
        Assert.False(f.Balloon.TryShutDown(TimeSpan.Zero));
        f.Balloon.Dispose();
        _lets.Set();
        Assert.True(f.Balloon.TryShutDown(Patience));
        Assert.False(f.Driver.TryRestart());
        Assert.False(f.Driver.React([Other]));
        f.Dispose();
    }

    [Fact]
    public void Shutting_down_gives_the_batch_and_the_balloon_back()
    {
        using BalloonFixture f = new(HostMode.Manual);
        f.Host.SetTarget(1068);
        f.Driver.Service();
        f.Host.Process();
        f.Driver.Service();
        Assert.Equal((1024u, 44u), (f.Driver.InflatedPages, f.Driver.MovingPages));
        Assert.True(f.Driver.React([Block]));
        Assert.True(f.Balloon.TryShutDown(TimeSpan.Zero));
        Assert.Equal(0u, f.ArenaPages.TakenPages);
        Assert.True(f.Balloon.TryShutDown(TimeSpan.Zero));
        f.Touch();
        f.Host.Process();
        Assert.True(f.IsUntouched(Block));
        Assert.False(f.Driver.React([Block]));
    }

    [Fact]
    public void A_host_that_hangs_while_it_inflates_holds_neither_reports_nor_stopping_up()
    {
        using BalloonFixture f = new(HostMode.Thread);
        Hang(f);
        f.Host.SetTarget(16);
        Assert.False(f.Driver.Service());
        _entered.Wait(TestContext.Current.CancellationToken);
        Assert.Equal(16u, f.Driver.MovingPages);
        Assert.True(f.Driver.React([Block]));
        Assert.Equal(SettleResult.TimedOut, f.Driver.Settle(TimeSpan.Zero));

        // The report was never taken, so its blocks come back; the pages going in do not.
        Assert.True(f.Driver.TryRevoke(TimeSpan.Zero));
        Assert.Equal((16u, 16u), (f.Driver.MovingPages, f.ArenaPages.TakenPages));
        Assert.False(f.Balloon.TryShutDown(TimeSpan.Zero));
        Assert.Equal(16u, f.ArenaPages.TakenPages);
        _lets.Set();
        Assert.True(f.Balloon.TryShutDown(Patience));
        Assert.Equal(0u, f.ArenaPages.TakenPages);
    }

    [Fact]
    public async Task Stopping_is_bounded_while_an_inline_host_hangs_in_another_thread()
    {
        using BalloonFixture f = new(HostMode.Inline);
        Hang(f);
        f.Host.SetTarget(16);
        Task<bool> service = Task.Run(f.Driver.Service, TestContext.Current.CancellationToken);
        _entered.Wait(TestContext.Current.CancellationToken);
        Assert.False(f.Balloon.TryShutDown(TimeSpan.FromMilliseconds(1)));
        Assert.True(f.Driver.TryRevoke(TimeSpan.Zero));
        _lets.Set();
        await service;
        Assert.True(f.Balloon.TryShutDown(Patience));
        Assert.Equal(0u, f.ArenaPages.TakenPages);
    }

    /// <summary>The first drop enters and waits for <see cref="_lets"/>.</summary>
    private void Hang(BalloonFixture f) => f.Os.Before = (call, _, _) =>
    {
        if (call == SystemCall.Advise)
        {
            _entered.Set();
            _lets.Wait(Patience);
        }
    };
}
