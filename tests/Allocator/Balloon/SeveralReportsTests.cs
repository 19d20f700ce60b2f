using System;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>Several reports with the device at one time: each is answered, cancelled and given up by itself (house rule 5).</summary>
public sealed class SeveralReportsTests : IDisposable
{
    private const int Reporting = BalloonLimits.ReportingQueue;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly BalloonDriverOptions Four = new() { ReportsInFlight = 4 };

    private readonly ScriptedTransport _t = new(Four);

    public SeveralReportsTests()
    {
        Assert.True(_t.Driver.TryRestart());
        _t.Log.Clear();
    }

    private static PageRange[] Blocks => [.. Enumerable.Range(0, 4).Select(i => new PageRange(new Pfn((uint)(16 + (32 * i))), 16))];

    private SplitRing Ring => _t.Ring(Reporting);

    public void Dispose() => _t.Dispose();

    [Fact]
    public void As_many_reports_as_were_agreed_are_in_flight_and_no_more()
    {
        Assert.Equal(4, _t.Driver.InFlightMax);
        ReactAll();
        Assert.False(_t.Driver.React([Blocks[0]], 0));
        Assert.Equal(4, Ring.AvailableIndex);
    }

    [Fact]
    public void Reports_come_back_in_the_devices_order()
    {
        ushort[] heads = ReactAll();
        foreach (int slot in (int[])[2, 0, 3, 1])
        {
            Assert.Equal(DiscardOutcome.Dropped, Drop(Blocks[slot]));
            _t.Answer(Reporting, heads[slot], 0);
        }

        foreach (int expected in (int[])[2, 0, 3, 1])
        {
            Assert.Equal(SettleResult.TreatedZero, _t.Driver.Settle(Timeout.InfiniteTimeSpan, out int slot));
            Assert.Equal(expected, slot);
            Assert.Equal(DiscardOutcome.Refused, Drop(Blocks[slot]));
        }

        Assert.True(_t.Driver.React([Blocks[3]], 3));
    }

    [Fact]
    public void A_device_that_completes_one_and_dies_keeps_nothing_of_the_others()
    {
        ushort[] heads = ReactAll();
        Drop(Blocks[1]);
        _t.Answer(Reporting, heads[1], 0);
        Drop(Blocks[0]); // and then it died
        Assert.Equal(SettleResult.TreatedZero, _t.Driver.Settle(TimeSpan.Zero, out int slot));
        Assert.Equal(1, slot);
        Assert.Equal(SettleResult.TimedOut, _t.Driver.Settle(TimeSpan.Zero, out slot));
        Assert.Equal(-1, slot);
        foreach (int dead in (int[])[0, 2, 3])
        {
            Assert.True(_t.Driver.TryRevoke(dead, TimeSpan.Zero));
            Assert.True(dead == 3 || !_t.Driver.TryRestart(), "a restart while a report was not taken back");
            Assert.Equal(DiscardOutcome.Refused, Drop(Blocks[dead]));
        }

        Assert.Single(_t.Log, "reset"); // one is enough for all
        Assert.True(_t.Driver.TryRestart());
        Assert.True(_t.Driver.React([Blocks[0]], 0));
    }

    [Fact]
    public void A_device_that_lies_about_one_of_two_is_believed_about_the_other()
    {
        ushort[] heads = ReactAll();
        Drop(Blocks[1]);
        _t.Answer(Reporting, heads[0], 0);
        _t.Answer(Reporting, heads[1], 0);
        Assert.Equal(SettleResult.Failed, _t.Driver.Settle(TimeSpan.Zero, out int slot));
        Assert.Equal((0, DiscardOutcome.Refused), (slot, Drop(Blocks[0])));
        Assert.Equal(SettleResult.TreatedZero, _t.Driver.Settle(TimeSpan.Zero, out slot));
        Assert.Equal(1, slot);
    }

    [Fact]
    public void A_device_that_answers_twice_for_one_of_two_is_out_of_service_and_has_neither()
    {
        ushort[] heads = ReactAll();
        Drop(Blocks[0]);
        _t.Answer(Reporting, heads[0], 0);
        _t.Answer(Reporting, heads[0], 0);
        Assert.Equal(SettleResult.TreatedZero, _t.Driver.Settle(Timeout.InfiniteTimeSpan, out _));
        Assert.Equal(SettleResult.TimedOut, _t.Driver.Settle(Timeout.InfiniteTimeSpan, out _));
        Assert.Equal(DriverQueueFault.UsedIdNotOutstanding, _t.Driver.Fault);
        Assert.True(_t.Driver.TryRevoke(1, TimeSpan.Zero));
        Assert.Equal(DiscardOutcome.Refused, Drop(Blocks[1]));
    }

    /// <summary>The device hangs in one report; the others are not begun. Each is judged by itself.</summary>
    [Fact]
    public async Task A_host_that_hangs_in_one_report_gives_the_others_back_at_once()
    {
        _t.Backing.Lets.Reset();
        ReactAll();
        Task<DiscardOutcome> hanging = Task.Run(() => Drop(Blocks[1]), TestContext.Current.CancellationToken);
        _t.Backing.Entered.Wait(TestContext.Current.CancellationToken);
        Assert.Equal(SettleResult.TimedOut, _t.Driver.Settle(TimeSpan.Zero, out _));
        Assert.Equal([true, false, true, true], Enumerable.Range(0, 4).Select(slot => _t.Driver.TryRevoke(slot, TimeSpan.Zero)));
        Assert.False(_t.Driver.TryRestart());
        _t.Backing.Lets.Set();
        await hanging;
        Assert.True(_t.Driver.TryRevoke(1, Patience));
        Assert.True(_t.Driver.TryRestart());
    }

    [Fact]
    public void An_answer_to_a_report_that_was_given_up_is_nobodys()
    {
        using ScriptedTransport foreign = new(Four, gated: false);
        Assert.True(foreign.Driver.TryRestart());
        Assert.True(foreign.Driver.React([Blocks[0]], 0));
        Assert.True(foreign.Driver.React([Blocks[1]], 1));
        foreign.AcknowledgesReset = false;
        Assert.False(foreign.Driver.TryRevoke(0, TimeSpan.Zero));
        Assert.False(foreign.Driver.TryRevoke(1, TimeSpan.Zero));
        foreign.AcknowledgesReset = true;
        Assert.True(foreign.Driver.TryRevoke(0, TimeSpan.Zero));
        Assert.False(foreign.Driver.TryRestart());
        Assert.True(foreign.Driver.TryRevoke(1, TimeSpan.Zero));
        Assert.True(foreign.Driver.TryRestart());
    }

    /// <summary>A device at work is not notified: it finds the next report by itself. It is when it has gone to sleep.</summary>
    [Fact]
    public void Only_a_device_that_sleeps_is_notified()
    {
        ushort[] heads = ReactAll();
        Assert.Single(_t.Log, "notify 4");
        _t.Answer(Reporting, heads[0], 0);
        _t.Driver.Settle(TimeSpan.Zero, out _);
        Assert.True(_t.Driver.React([Blocks[0]], 0));
        Assert.Single(_t.Log, "notify 4");

        SplitRing ring = Ring;
        ring.AvailableEvent = ring.AvailableIndex; // it has seen them all, and sleeps
        _t.Answer(Reporting, heads[1], 0);
        _t.Driver.Settle(TimeSpan.Zero, out _);
        Assert.True(_t.Driver.React([Blocks[1]], 1));
        Assert.Equal(2, _t.Log.Count(line => line == "notify 4"));
    }

    /// <summary>A driver at work asks for no interrupt; one that waits asks for one when all but one have come back.</summary>
    [Fact]
    public async Task Only_a_driver_that_waits_is_interrupted_and_once_for_all_but_one_of_what_is_out()
    {
        using BalloonFixture f = new(options: Four);
        int interrupts = 0;
        Action<int> inner = f.Host.Transport.QueueInterrupt!;
        f.Host.Transport.QueueInterrupt = queue =>
        {
            Interlocked.Increment(ref interrupts);
            inner(queue);
        };
        for (int slot = 0; slot < 4; slot++)
        {
            Assert.True(f.Driver.React([BalloonFixture.Block((uint)slot * 64, 32)], slot));
        }

        f.Host.Process();
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero, out _));
        }

        Assert.Equal(0, interrupts);
        ReactAll();
        Task<int> waiting = Task.Run(
            () =>
            {
                _t.Driver.Settle(Patience, out int slot);
                return slot;
            },
            TestContext.Current.CancellationToken);
        SpinWait.SpinUntil(() => Ring.UsedEvent != ushort.MaxValue, Patience);
        Assert.Equal(2, Ring.UsedEvent); // passed by the third answer
        _t.Answer(Reporting, Ring.ReadAvailable(0), 0);
        Assert.Equal(0, await waiting);
        Assert.NotEqual(2, Ring.UsedEvent);
    }

    [Fact]
    public void Without_indirect_tables_the_queue_bounds_the_reports_in_flight()
    {
        using ScriptedTransport t = new(Four with { UseIndirect = false, WantedCapacity = 16, QueueSize = 32 });
        Assert.True(t.Driver.TryRestart());
        Assert.Equal(2, t.Driver.InFlightMax);
    }

    private ushort[] ReactAll()
    {
        ushort[] heads = new ushort[4];
        for (int slot = 0; slot < heads.Length; slot++)
        {
            Assert.True(_t.Driver.React([Blocks[slot]], slot));
            heads[slot] = _t.LastHead(Reporting);
        }

        return heads;
    }

    private DiscardOutcome Drop(PageRange block) => _t.Gates!.Reports.Discard(block.Start.ByteOffset, block.Pages * 4096ul);
}
