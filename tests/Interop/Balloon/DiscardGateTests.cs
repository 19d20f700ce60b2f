using System;
using System.Threading;
using System.Threading.Tasks;
using CsCheck;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Balloon;

/// <summary>Nothing is dropped but the blocks of the request that is open, and after closing nothing at all.</summary>
public sealed class DiscardGateTests : IDisposable
{
    private const ulong Page = 4096;

    private readonly FakeBacking _backing = new();
    private readonly DiscardGates _gates;

    private DiscardGate Gate => _gates[0];

    public DiscardGateTests()
    {
        _gates = new DiscardGates(_backing, 4);
    }

    private static Deadline Now => new(TimeProvider.System, TimeSpan.Zero);

    private static Deadline Soon => new(TimeProvider.System, TimeSpan.FromSeconds(30));

    public void Dispose() => _backing.Dispose();

    [Fact]
    public void A_gate_that_was_never_opened_refuses()
    {
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(0, Page));
        Assert.False(Gate.DroppedAll);
        Assert.Equal(1, _gates.Refused);
        Assert.Empty(_backing.Dropped);
    }

    [Fact]
    public void A_late_drop_of_an_old_request_is_refused_and_the_next_request_is_not()
    {
        Assert.True(Gate.TryOpen([Block(1, 2)]));
        Assert.True(Gate.TryClose(Now));
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(1 * Page, 2 * Page));
        Assert.True(Gate.TryOpen([Block(8, 2)]));
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(1 * Page, 2 * Page));
        Assert.Equal(DiscardOutcome.Dropped, _gates.Discard(8 * Page, 2 * Page));
        Assert.Equal([Block(8, 2)], _backing.Dropped);
        Assert.Equal(2, _gates.Refused);
    }

    [Theory]
    [InlineData(0ul, 1ul)]
    [InlineData(3ul, 1ul)]
    [InlineData(2ul, 2ul)]
    [InlineData(0ul, 12ul)]
    [InlineData(7ul, 1ul)]
    [InlineData(6ul, 2ul)]
    public void Pages_outside_the_request_are_refused(ulong first, ulong pages)
    {
        Assert.True(Gate.TryOpen([Block(4, 3), Block(1, 2)]));
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(first * Page, pages * Page));
        Assert.Empty(_backing.Dropped);
    }

    [Theory]
    [InlineData(4096ul, 0ul)]
    [InlineData(4096ul, ulong.MaxValue)]
    [InlineData(ulong.MaxValue, 2ul)]
    [InlineData(4096ul, ulong.MaxValue - 4095)]
    public void A_range_that_is_empty_or_wraps_is_refused(ulong address, ulong bytes)
    {
        Assert.True(Gate.TryOpen([Block(1, 2)]));
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(address, bytes));
        Assert.Empty(_backing.Dropped);
    }

    [Fact]
    public void Blocks_side_by_side_may_be_dropped_as_one()
    {
        Assert.True(Gate.TryOpen([Block(6, 2), Block(2, 2), Block(4, 2)]));
        Assert.Equal(DiscardOutcome.Dropped, _gates.Discard(2 * Page, 6 * Page));
        Assert.True(Gate.TryClose(Now));
        Assert.True(Gate.DroppedAll);
        Assert.Equal(6 * (long)Page, Gate.DroppedBytes);
    }

    [Fact]
    public void A_request_of_which_a_part_was_left_out_is_not_all_dropped()
    {
        Assert.True(Gate.TryOpen([Block(2, 2), Block(8, 2)]));
        Assert.Equal(DiscardOutcome.Dropped, _gates.Discard(2 * Page, 2 * Page));
        Assert.Equal(DiscardOutcome.Dropped, _gates.Discard(2 * Page, 2 * Page));
        Assert.Equal(DiscardOutcome.Dropped, _gates.Discard(8 * Page, Page));
        Assert.True(Gate.TryClose(Now));
        Assert.False(Gate.DroppedAll);
        Assert.True(Gate.TryOpen([Block(8, 2)]));
        Assert.False(Gate.DroppedAll);
    }

    [Fact]
    public void A_drop_that_the_system_refuses_is_recorded()
    {
        _backing.Result = Errno.ENOMEM;
        Assert.True(Gate.TryOpen([Block(1, 1)]));
        Assert.Equal(DiscardOutcome.Failed, _gates.Discard(Page, Page));
        Assert.True(Gate.TryClose(Now));
        Assert.False(Gate.DroppedAll);
        Assert.Equal((1L, 0L, Errno.ENOMEM), (Gate.Failed, Gate.DroppedBytes, Gate.LastError));
    }

    [Fact]
    public async Task Closing_waits_for_the_call_under_way_and_no_longer_than_it_may()
    {
        Assert.True(Gate.TryOpen([Block(1, 1)]));
        _backing.Lets.Reset();
        Task<DiscardOutcome> inside = Task.Run(() => _gates.Discard(Page, Page), TestContext.Current.CancellationToken);
        _backing.Entered.Wait(TestContext.Current.CancellationToken);

        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(Page, Page));
        Assert.False(Gate.TryClose(Now));
        Assert.False(Gate.TryOpen([Block(2, 1)]));
        Task<bool> closing = Task.Run(() => Gate.TryClose(Soon), TestContext.Current.CancellationToken);
        _backing.Lets.Set();
        Assert.Equal(DiscardOutcome.Dropped, await inside);
        Assert.True(await closing);
        Assert.True(Gate.DroppedAll);
        Assert.Equal(DiscardOutcome.Refused, _gates.Discard(Page, Page));
        Assert.True(Gate.TryOpen([Block(2, 1)]));
    }

    [Fact]
    public void A_backing_that_throws_leaves_the_gate_passable()
    {
        DiscardGates gates = new(new ThrowingBacking(), 1);
        DiscardGate gate = gates[0];
        Assert.True(gate.TryOpen([Block(1, 1)]));
        Assert.Throws<InvalidOperationException>(() => gates.Discard(Page, Page));
        Assert.True(gate.TryClose(Now));
        Assert.False(gate.DroppedAll);
        Assert.True(gate.TryOpen([Block(1, 1)]));
    }

    [Fact]
    public async Task Two_threads_that_open_close_and_drop_never_drop_what_is_closed()
    {
        // Whoever opens the gate writes the owner of the block; a drop seen while the owner is the program is the disaster.
        OwnedBacking owned = new();
        DiscardGates gates = new(owned, 1);
        DiscardGate gate = gates[0];
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task late = Task.Factory.StartNew(
            () =>
            {
                while (!end.IsCancellationRequested)
                {
                    gates.Discard(Page, Page);
                }
            },
            end.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        for (int i = 0; i < 20_000; i++)
        {
            owned.IsTheDevices = true;
            Assert.True(gate.TryOpen([Block(1, 1)]));
            Assert.True(gate.TryClose(Soon));
            owned.IsTheDevices = false;
        }

        await end.CancelAsync();
        await late;
        Assert.Equal(0, owned.Disasters);
    }

    [Fact]
    public void Ranges_that_touch_or_overlap_become_one() => Gen.Select(Gen.ULong[0, 60], Gen.ULong[1, 9]).Array[0, 40].Sample(
        parts =>
        {
            RangeJoiner joiner = new(40);
            bool[] pages = new bool[80];
            foreach ((ulong first, ulong count) in parts)
            {
                joiner.Add(Block(first, count));
                Array.Fill(pages, true, (int)first, (int)count);
            }

            ulong end = 0;
            foreach (GuestRange range in joiner.Take())
            {
                // A gap before each, no page of it unmarked: so it is the least number of ranges, and the right ones.
                Assert.True(end == 0 || range.Address > end);
                for (ulong page = range.Address / Page; page < range.End / Page; page++)
                {
                    Assert.True(pages[page]);
                    pages[page] = false;
                }

                end = range.End;
            }

            Assert.DoesNotContain(true, pages);
            Assert.True(joiner.IsEmpty);
        });

    private static GuestRange Block(ulong first, ulong pages) => new(first * Page, pages * Page);

    private sealed class ThrowingBacking : IGuestBacking
    {
        public ulong Bytes => ulong.MaxValue;

        public bool LeavesZero => true;

        public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped) => throw new InvalidOperationException("broken");
    }

    private sealed class OwnedBacking : IGuestBacking
    {
        private int _disasters;

        public volatile bool IsTheDevices;

        public int Disasters => _disasters;

        public ulong Bytes => ulong.MaxValue;

        public bool LeavesZero => true;

        public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped)
        {
            if (!IsTheDevices)
            {
                Interlocked.Increment(ref _disasters);
            }

            return Errno.None;
        }
    }
}
