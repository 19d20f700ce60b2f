using System;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>House rule 5: whatever a device in this process does, it may cost a report, and never a page or its contents.</summary>
public sealed class LyingDeviceTests : IDisposable
{
    private const int Reporting = BalloonLimits.ReportingQueue;
    private static readonly PageRange Block = new(new Pfn(16), 16);
    private static readonly PageRange Other = new(new Pfn(64), 16);

    private readonly ScriptedTransport _t = new();

    public LyingDeviceTests()
    {
        Assert.True(_t.Driver.TryRestart());
    }

    private DiscardGates Gate => _t.Gates!.Reports;

    public void Dispose() => _t.Dispose();

    [Fact]
    public void An_honest_device_in_the_same_harness_gives_treated_zero()
    {
        Assert.True(_t.Driver.React([Block]));
        Assert.Equal(DiscardOutcome.Dropped, Drop(Block));
        _t.Answer(Reporting, _t.LastHead(Reporting), 0);
        Assert.Equal(SettleResult.TreatedZero, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
    }

    [Fact]
    public void A_device_that_answers_first_and_drops_later_gets_nothing()
    {
        Assert.True(_t.Driver.React([Block]));
        _t.Answer(Reporting, _t.LastHead(Reporting), 0);
        Assert.Equal(SettleResult.Failed, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
        Assert.Equal(DiscardOutcome.Refused, Drop(Block));

        // Nor does it under the cover of the next report.
        Assert.True(_t.Driver.React([Other]));
        Assert.Equal(DiscardOutcome.Refused, Drop(Block));
        Assert.Empty(_t.Backing.Dropped);
    }

    [Fact]
    public void A_device_that_drops_other_pages_than_it_was_told_gets_nothing()
    {
        Assert.True(_t.Driver.React([Block]));
        Assert.Equal(DiscardOutcome.Refused, Drop(Other));
        Assert.Equal(DiscardOutcome.Refused, Drop(new PageRange(new Pfn(15), 18)));
        _t.Answer(Reporting, _t.LastHead(Reporting), 0);
        Assert.Equal(SettleResult.Failed, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
        Assert.Empty(_t.Backing.Dropped);
    }

    [Fact]
    public void A_device_that_drops_only_a_part_does_not_make_the_batch_treated()
    {
        Assert.True(_t.Driver.React([Block, Other]));
        Drop(Block);
        Drop(Block);
        Drop(new PageRange(Other.Start, 15));
        _t.Answer(Reporting, _t.LastHead(Reporting), 0);
        Assert.Equal(SettleResult.Failed, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
    }

    [Fact]
    public void A_device_that_answers_twice_is_out_of_service_and_the_second_batch_never_leaves()
    {
        Assert.True(_t.Driver.React([Block]));
        Drop(Block);
        ushort head = _t.LastHead(Reporting);
        _t.Answer(Reporting, head, 0);
        _t.Answer(Reporting, head, 0);

        // Ahead of what was published: not even the first answer is believed, and the wait ends at once.
        Assert.Equal(SettleResult.TimedOut, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
        Assert.Equal(DriverQueueFault.UsedIndexAhead, _t.Driver.Fault);
        Recover();
    }

    [Fact]
    public void A_second_answer_after_the_report_was_settled_stops_the_next_one()
    {
        Assert.True(_t.Driver.React([Block]));
        Drop(Block);
        ushort head = _t.LastHead(Reporting);
        _t.Answer(Reporting, head, 0);
        Assert.Equal(SettleResult.TreatedZero, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
        _t.Answer(Reporting, head, 0);
        Assert.False(_t.Driver.React([Other]));
        Assert.Equal(DiscardOutcome.Refused, Drop(Other));
        Assert.Equal((0, true, DriverQueueFault.UsedIndexAhead), (_t.Driver.Capacity, _t.Driver.IsOutOfService, _t.Driver.Fault));
        Recover();
    }

    [Theory]
    [InlineData(31u, 0u, DriverQueueFault.UsedIdNotOutstanding)]
    [InlineData(32u, 0u, DriverQueueFault.UsedIdOutOfRange)]
    [InlineData(uint.MaxValue, 0u, DriverQueueFault.UsedIdOutOfRange)]
    [InlineData(0u, 65537u, DriverQueueFault.UsedLengthTooLong)]
    internal void An_answer_that_cannot_be_ends_the_wait_at_once(uint id, uint length, DriverQueueFault fault)
    {
        Assert.True(_t.Driver.React([Block]));
        Assert.Equal(0, _t.LastHead(Reporting));
        _t.Answer(Reporting, id, length);
        Assert.Equal(SettleResult.TimedOut, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
        Assert.Equal(fault, _t.Driver.Fault);
        Recover();
    }

    [Fact]
    public async Task A_device_that_breaks_down_ends_the_wait_at_once()
    {
        Assert.True(_t.Driver.React([Block]));
        Task<SettleResult> waiting = Task.Run(() => _t.Driver.Settle(Timeout.InfiniteTimeSpan), TestContext.Current.CancellationToken);
        _t.BreakDown();
        Assert.Equal(SettleResult.TimedOut, await waiting);
        Recover();
    }

    /// <summary>B24: a device that is reset while a batch is in flight; and one that never comes back.</summary>
    [Fact]
    public void A_dead_device_gives_the_batch_back_and_stays_out_until_it_acknowledges()
    {
        Assert.True(_t.Driver.React([Block]));
        Assert.Equal(SettleResult.TimedOut, _t.Driver.Settle(TimeSpan.Zero));
        _t.AcknowledgesReset = false;
        Assert.True(_t.Driver.TryRevoke(TimeSpan.Zero));
        Assert.Equal(DiscardOutcome.Refused, Drop(Block));
        Assert.False(_t.Driver.TryRestart());
        Assert.False(_t.Driver.React([Other]));
        _t.AcknowledgesReset = true;
        Recover();
    }

    [Fact]
    public async Task A_device_that_answers_while_it_still_drops_keeps_the_batch()
    {
        Assert.True(_t.Driver.React([Block]));
        _t.Backing.Lets.Reset();
        Task<DiscardOutcome> dropping = Task.Run(() => Drop(Block), TestContext.Current.CancellationToken);
        _t.Backing.Entered.Wait(TestContext.Current.CancellationToken);
        _t.Answer(Reporting, _t.LastHead(Reporting), 0);
        Assert.Equal(SettleResult.TimedOut, _t.Driver.Settle(TimeSpan.Zero));
        Assert.False(_t.Driver.TryRevoke(TimeSpan.Zero));
        Assert.False(_t.Driver.TryRestart());
        Assert.False(_t.Driver.React([Other]));

        Task<bool> revoking = Task.Run(() => _t.Driver.TryRevoke(TimeSpan.FromSeconds(30)), TestContext.Current.CancellationToken);
        _t.Backing.Lets.Set();
        Assert.True(await revoking);
        await dropping;
        Recover();
    }

    [Fact]
    public void A_foreign_device_is_believed_only_after_it_acknowledged_the_reset()
    {
        using ScriptedTransport foreign = new(gated: false);
        Assert.True(foreign.Driver.TryRestart());
        Assert.True(foreign.Driver.React([Block]));
        Assert.Equal(SettleResult.TimedOut, foreign.Driver.Settle(TimeSpan.Zero));
        foreign.AcknowledgesReset = false;
        Assert.False(foreign.Driver.TryRevoke(TimeSpan.Zero));
        Assert.False(foreign.Driver.TryRestart());
        foreign.AcknowledgesReset = true;
        Assert.True(foreign.Driver.TryRevoke(TimeSpan.Zero));
        Assert.True(foreign.Driver.TryRestart());
    }

    /// <summary>A foreign device drops out of sight: what it answers for is treated and never zero.</summary>
    [Fact]
    public void A_foreign_device_never_makes_zero()
    {
        using ScriptedTransport foreign = new(gated: false);
        Assert.True(foreign.Driver.TryRestart());
        Assert.True(foreign.Driver.React([Block]));
        foreign.Answer(Reporting, foreign.LastHead(Reporting), 0);
        Assert.Equal(SettleResult.Treated, foreign.Driver.Settle(Timeout.InfiniteTimeSpan));
    }

    /// <summary>B35: what a former host dropped, the next one may hold again; the count of sessions tells.</summary>
    [Fact]
    public void Each_life_of_the_device_is_counted()
    {
        Assert.Equal(1, _t.Driver.Sessions);
        _t.BreakDown();
        Assert.True(_t.Driver.TryRestart());
        Assert.Equal(2, _t.Driver.Sessions);
    }

    [Theory]
    [InlineData(BalloonLimits.InflateQueue)]
    [InlineData(BalloonLimits.DeflateQueue)]
    [InlineData(BalloonLimits.StatsQueue)]
    public void A_lie_on_another_queue_is_found_by_service_and_takes_the_device_out(int queue)
    {
        _t.Config[0] = queue == BalloonLimits.InflateQueue ? 16u : 0u;
        Assert.False(_t.Driver.Service());
        _t.Answer(queue, 13, 0);
        Assert.False(_t.Driver.Service());
        Assert.NotEqual(DriverQueueFault.None, _t.Driver.Fault);
        Assert.Equal((0, true), (_t.Driver.Capacity, _t.Driver.IsOutOfService));
        Recover();
        Assert.Equal(0u, _t.Pages.TakenPages - _t.Driver.InflatedPages - _t.Driver.MovingPages);
    }

    /// <summary>After revocation and restart the driver works as on the first day, and the old batch is out of reach.</summary>
    private void Recover()
    {
        Assert.True(_t.Driver.TryRevoke(TimeSpan.Zero));
        Assert.Equal(DiscardOutcome.Refused, Drop(Block));
        Assert.True(_t.Driver.TryRestart());
        int dropped = _t.Backing.Dropped.Length;
        Assert.True(_t.Driver.React([Other]));
        Assert.Equal(DiscardOutcome.Dropped, Drop(Other));
        _t.Answer(Reporting, _t.LastHead(Reporting), 0);
        Assert.Equal(SettleResult.TreatedZero, _t.Driver.Settle(Timeout.InfiniteTimeSpan));
        Assert.Equal(dropped + 1, _t.Backing.Dropped.Length);
    }

    private DiscardOutcome Drop(PageRange block) => Gate.Discard(block.Start.ByteOffset, block.Pages * 4096ul);
}
