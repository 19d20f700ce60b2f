using System;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Balloon;

/// <summary>Several requests at one time, each behind its own gate; many ranges under one claim.</summary>
public sealed class DiscardGatesTests : IDisposable
{
    private const ulong Page = 4096;

    private readonly FakeBacking _backing = new();
    private readonly DiscardGates _gates;

    public DiscardGatesTests()
    {
        _gates = new DiscardGates(_backing, 4, 2);
    }

    private static Deadline Now => new(TimeProvider.System, TimeSpan.Zero);

    public void Dispose() => _backing.Dispose();

    [Fact]
    public void All_ranges_of_a_request_are_one_call()
    {
        Assert.True(_gates[1].TryOpen([Block(8, 2), Block(2, 2), Block(20, 1)]));
        DiscardTotals totals = _gates.Discard([Block(2, 2), Block(8, 2), Block(20, 1)]);
        Assert.Equal(new DiscardTotals { DroppedBytes = 5 * Page }, totals);
        Assert.Equal(1, _backing.Calls);
        Assert.True(_gates[1].TryClose(Now));
        Assert.True(_gates[1].DroppedAll);
    }

    [Fact]
    public void Each_request_is_closed_by_itself_and_its_late_drops_are_refused()
    {
        Assert.True(_gates[0].TryOpen([Block(2, 2)]));
        Assert.True(_gates[1].TryOpen([Block(4, 2)]));
        Assert.True(_gates[0].TryClose(Now));
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(2 * Page, 2 * Page));
        Assert.Equal(DiscardOutcome.Dropped, _gates.Discard(4 * Page, 2 * Page));
        Assert.False(_gates[0].DroppedAll);
        Assert.True(_gates[1].DroppedAll);
    }

    [Fact]
    public void A_range_over_the_blocks_of_two_requests_is_refused()
    {
        Assert.True(_gates[0].TryOpen([Block(2, 2)]));
        Assert.True(_gates[1].TryOpen([Block(4, 2)]));
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(2 * Page, 4 * Page));
        Assert.Empty(_backing.Dropped);
    }

    [Fact]
    public void A_wish_of_mixed_ranges_is_done_where_it_may_be()
    {
        Assert.True(_gates[0].TryOpen([Block(2, 2), Block(10, 1)]));
        Assert.True(_gates[1].TryOpen([Block(6, 2)]));
        DiscardTotals totals = _gates.Discard([Block(0, 1), Block(2, 2), Block(6, 2), Block(8, 1), Block(10, 1)]);
        Assert.Equal(new DiscardTotals { DroppedBytes = 5 * Page, Refused = 2 }, totals);
        Assert.Equal([Block(2, 2), Block(6, 2), Block(10, 1)], _backing.Dropped);
        Assert.Equal((true, true, 2L), (_gates[0].DroppedAll, _gates[1].DroppedAll, _gates.Refused));
    }

    [Fact]
    public void Of_a_wish_that_failed_in_part_the_rest_counts_and_the_request_is_not_all_dropped()
    {
        _backing.Result = Errno.EINVAL;
        _backing.Fails = range => range.Address == 8 * Page;
        Assert.True(_gates[0].TryOpen([Block(2, 2), Block(8, 2), Block(12, 1)]));
        DiscardTotals totals = _gates.Discard([Block(2, 2), Block(8, 2), Block(12, 1)]);
        Assert.Equal(new DiscardTotals { DroppedBytes = 3 * Page, Failed = 1 }, totals);
        Assert.False(_gates[0].DroppedAll);
        Assert.Equal((1L, Errno.EINVAL), (_gates[0].Failed, _gates.LastError));

        // What was missing may follow.
        _backing.Result = Errno.None;
        _gates.Discard([Block(8, 2)]);
        Assert.True(_gates[0].DroppedAll);
    }

    [Fact]
    public void More_ranges_than_a_request_has_blocks_are_taken_in_turns()
    {
        Assert.True(_gates[0].TryOpen([Block(0, 16)]));
        GuestRange[] pages = new GuestRange[16];
        for (int i = 0; i < pages.Length; i++)
        {
            pages[i] = Block((ulong)i, 1);
        }

        Assert.Equal(new DiscardTotals { DroppedBytes = 16 * Page }, _gates.Discard(pages));
        Assert.False(_gates[0].DroppedAll); // in parts: it must not pass for zero
    }

    [Fact]
    public async Task A_call_that_hangs_in_one_request_does_not_hold_the_other_up()
    {
        Assert.True(_gates[0].TryOpen([Block(1, 1)]));
        Assert.True(_gates[1].TryOpen([Block(3, 1)]));
        _backing.Lets.Reset();
        Task<DiscardOutcome> inside = Task.Run(() => _gates.Discard(Page, Page), TestContext.Current.CancellationToken);
        _backing.Entered.Wait(TestContext.Current.CancellationToken);
        Assert.True(_gates[1].TryClose(Now));
        Assert.True(_gates[1].TryOpen([Block(5, 1)]));
        Assert.False(_gates[0].TryClose(Now));
        _backing.Lets.Set();
        Assert.Equal(DiscardOutcome.Dropped, await inside);
        Assert.Equal(DiscardOutcome.Dropped, _gates.Discard(5 * Page, Page));
    }

    /// <summary>The device looks at a request's blocks before it has claimed it; the driver exchanges them all the time.</summary>
    [Fact]
    public async Task Requests_that_change_under_the_devices_eyes_are_never_dropped_by_another_ones_look()
    {
        OwnedPages owned = new(16);
        DiscardGates gates = new(owned, 2, 2);
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task device = Task.Factory.StartNew(
            () =>
            {
                for (ulong page = 0; !end.IsCancellationRequested; page = (page + 1) % 16)
                {
                    gates.Discard(page * Page, Page);
                }
            },
            end.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Random random = new(5);
        for (int i = 0; i < 20_000; i++)
        {
            int gate = i % 2;
            ulong first = (ulong)((gate * 8) + random.Next(4));
            ulong second = (ulong)((gate * 8) + 4 + random.Next(4));
            owned.Give(first, second);
            Assert.True(gates[gate].TryOpen([Block(second, 1), Block(first, 1)]));
            Assert.True(gates[gate].TryClose(new Deadline(TimeProvider.System, TimeSpan.FromSeconds(30))));
            owned.TakeBack(first, second);
        }

        await end.CancelAsync();
        await device;
        Assert.Equal(0, owned.Disasters);
    }

    private static GuestRange Block(ulong first, ulong pages) => new(first * Page, pages * Page);

    /// <summary>Knows for each page whether the device may have it.</summary>
    private sealed class OwnedPages(int pages) : IGuestBacking
    {
        private readonly bool[] _isDevices = new bool[pages];
        private int _disasters;

        public int Disasters => _disasters;

        public ulong Bytes => ulong.MaxValue;

        public bool LeavesZero => true;

        public void Give(ulong first, ulong second)
        {
            Volatile.Write(ref _isDevices[first], true);
            Volatile.Write(ref _isDevices[second], true);
        }

        public void TakeBack(ulong first, ulong second)
        {
            Volatile.Write(ref _isDevices[first], false);
            Volatile.Write(ref _isDevices[second], false);
        }

        public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped)
        {
            for (int i = 0; i < ranges.Length; i++)
            {
                dropped[i] = ranges[i].Bytes;
                if (!Volatile.Read(ref _isDevices[ranges[i].Address / Page]))
                {
                    Interlocked.Increment(ref _disasters);
                }
            }

            return Errno.None;
        }
    }
}
