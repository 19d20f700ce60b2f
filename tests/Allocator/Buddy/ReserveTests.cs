using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Buddy;

/// <summary>The min watermark, the HighAtomic pageblocks, the cap, and what is said when nothing is left.</summary>
public sealed class ReserveTests
{
    private const AllocationFlags Atomic = AllocationFlags.Atomic;

    [Theory]
    [InlineData(64u, 0, 64u)]
    [InlineData(64u, 0x20, 32u)] // High: half
    [InlineData(64u, 0x10, 48u)] // Harder: a quarter off
    [InlineData(64u, 0x30, 24u)] // both: first the half, then a quarter of that
    [InlineData(63u, 0x30, 24u)] // 63 - 31 = 32, 32 - 8
    [InlineData(1u, 0x30, 1u)]
    [InlineData(64u, 4, 0u)] // no watermarks
    public void The_floor_is_the_kernel_s_arithmetic(uint mark, int flags, uint floor)
    {
        Assert.Equal((0x10, 0x20, 4), ((int)AllocFlags.Harder, (int)AllocFlags.High, (int)AllocFlags.NoWatermarks));
        Assert.Equal(floor, Watermarks.Floor(mark, (AllocFlags)flags));
    }

    [Theory]
    [InlineData(16ul << 8, null, 64ul, 80ul, 96ul)] // 16 MiB: the formula says 512 KiB, the 64th 256 KiB
    [InlineData(1ul << 18, null, 1024ul, 1286ul, 1548ul)] // 1 GiB: sqrt(16 * 2^20) = 4096 KiB
    [InlineData(1ul << 30, null, 16384ul, 1090125ul, 2163866ul)] // 4 TiB: 64 MiB at most; the gap is a thousandth
    [InlineData(1024ul, 100ul, 100ul, 125ul, 150ul)]
    [InlineData(1024ul, 5000ul, 1024ul, 1280ul, 1536ul)]
    [InlineData(1024ul, 0ul, 0ul, 1ul, 2ul)]
    public void The_marks_are_the_kernel_s_formula_with_a_bound(ulong pages, ulong? min, ulong low, ulong mid, ulong high) =>
        Assert.Equal(new Watermarks(low, mid, high), Watermarks.For(pages, min));

    [Fact]
    public void Only_an_atomic_request_goes_below_the_min_watermark_and_not_to_the_ground()
    {
        using ArenaProbe probe = new(4, o => o.MinFreeBytes = 64 << 12);
        probe.TakeMany(960, 0);
        Assert.Null(probe.TryTake(0));
        Assert.Null(probe.TryTake(0, MigrateType.Movable, AllocationFlags.Zeroed));
        for (int i = 0; i < 40; i++)
        {
            Assert.NotNull(probe.TryTake(0, MigrateType.Unmovable, Atomic));
        }

        Assert.Null(probe.TryTake(0, MigrateType.Unmovable, Atomic));
        Assert.Equal(24L << 12, probe.Arena.GetStatistics().RawBytes);
    }

    [Fact]
    public void A_larger_request_must_leave_the_mark_too()
    {
        using ArenaProbe probe = new(4, o => o.MinFreeBytes = 64 << 12);
        probe.TakeMany(3, 8);
        Assert.Null(probe.TryTake(8)); // 256 are free, 64 must stay
        Assert.NotNull(probe.TryTake(7));
        Assert.NotNull(probe.TryTake(6));
        Assert.Null(probe.TryTake(0));
    }

    [Fact]
    public void An_atomic_request_above_order_0_keeps_its_pageblock_for_the_next_ones()
    {
        using ArenaProbe probe = new(16);
        Assert.Equal(0u, probe.Take(1, MigrateType.Unmovable, Atomic));
        Assert.Equal([MigrateType.HighAtomic, MigrateType.Unmovable], [probe.TypeOf(0), probe.TypeOf(512)]);
        probe.Expect("U9:512 H8:256 H7:128 H6:64 H5:32 H4:16 H3:8 H2:4 H1:2");
        Assert.Equal(512u, probe.Take(0)); // others stay out of it
        Assert.Equal(2u, probe.Take(0, MigrateType.Movable, Atomic));
        Assert.Equal(4u, probe.Take(2, MigrateType.Reclaimable, Atomic));
        probe.Free(4);
        Assert.Contains("H2:4", probe.Lists(), StringComparison.Ordinal);
    }

    [Fact]
    public void Order_0_reserves_nothing()
    {
        using ArenaProbe probe = new(16);
        probe.Take(0, MigrateType.Unmovable, Atomic);
        Assert.Equal((0ul, MigrateType.Unmovable), (probe.Zone.HighAtomicPages, probe.TypeOf(0)));
    }

    [Fact]
    public void The_reserve_has_a_limit()
    {
        using ArenaProbe probe = new(32);
        for (int i = 0; i < 8; i++)
        {
            probe.Take(9, MigrateType.Unmovable, Atomic);
        }

        // A hundredth of what is reached and one pageblock: the second reservation is still below it, the third is not.
        Assert.Equal(2ul * 512, probe.Zone.HighAtomicPages);
    }

    [Fact]
    public void Before_a_request_fails_the_reserve_is_given_up()
    {
        using ArenaProbe probe = new(4);
        uint atomic = probe.Take(1, MigrateType.Unmovable, Atomic);
        Assert.Equal(512u, probe.Take(9));
        Assert.Equal(256u, probe.Take(8, MigrateType.Movable));
        Assert.Equal(0ul, probe.Zone.HighAtomicPages);
        Assert.DoesNotContain("H", probe.Lists(), StringComparison.Ordinal);
        probe.Free(atomic);
    }

    [Fact]
    public void What_is_in_use_of_the_reserve_makes_no_other_request_fail()
    {
        using ArenaProbe probe = new(8);
        uint atomic = probe.Take(9, MigrateType.Unmovable, Atomic);
        Assert.Equal((0u, 512ul), (atomic, probe.Zone.HighAtomicPages));
        probe.Take(9);
        Assert.Equal(1024u, probe.Take(10)); // all that is left, and none of it is reserved
        probe.Free(atomic);
        Assert.Null(probe.TryTake(10));
        Assert.Equal(0u, probe.Take(9)); // given up before failing
    }

    [Fact]
    public void A_range_leaves_the_reserve_alone_until_it_would_fail()
    {
        using ArenaProbe probe = new(16);
        uint atomic = probe.Take(9, MigrateType.Unmovable, Atomic);
        uint rest = probe.Take(9);
        uint[] tens = probe.TakeMany(3, 10);
        Assert.Equal((0u, 512u), (atomic, rest));
        probe.Free(atomic, tens[0], tens[1]);
        Assert.Equal(1024u, probe.TakeRange(2048)); // not pageblock 0, which is free and reserved
        Assert.Equal(MigrateType.HighAtomic, probe.TypeOf(0));
        probe.Free(rest, 1024);
        uint low = probe.TakeRange(3072);
        Assert.Equal((0u, 0ul), (low, probe.Zone.HighAtomicPages));
    }

    [Fact]
    public void The_cap_bounds_what_is_taken_and_not_what_is_reserved()
    {
        using ArenaProbe probe = new(16, o => o.CapBytes = (4 << 20) + (3 << 12));
        probe.Take(10);
        probe.Take(1);
        Assert.Null(probe.TryTake(1));
        uint last = probe.Take(0);
        Assert.Null(probe.TryTake(0));
        probe.Free(last);
        Assert.Equal(last, probe.Take(0));
        Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(1));
    }

    [Fact]
    public void Below_the_low_mark_a_pass_drains_the_threads_and_asks_the_balloon_up_to_the_high_mark()
    {
        using ArenaProbe probe = new(16, o =>
        {
            o.ThreadPages = true;
            o.MinFreeBytes = 400 << 12; // low 500, high 600
            o.Aeration.Enabled = true;
        });
        probe.TakeMany(3, 10);
        uint[] pages = probe.TakeMany(64, 0);
        probe.Arena.Epoch += ThreadPagesLimits.ForgetEpochs; // two refills of 64 and not one of 128
        pages = [.. pages, .. probe.TakeMany(64, 0)];
        probe.Free(pages);
        probe.Arena.Aerator.Pass();
        Assert.Equal((128L << 12, 0u), (probe.Arena.GetStatistics().ThreadPagesBytes, probe.Balloon!.DeflateAsked));
        pages = [probe.Take(8), probe.Take(7), .. probe.TakeMany(128, 0)]; // 1024 - 384 - 128 = 512 are left
        probe.Free(pages[^1]);
        probe.Arena.Aerator.Pass();
        Assert.Equal((4096L, 0u), (probe.Arena.GetStatistics().ThreadPagesBytes % 65536, probe.Balloon.DeflateAsked));
        probe.Take(4); // 496, and fewer by what the thread keeps of its batch
        ulong left = probe.Arena.Budget.CapPages - probe.Arena.Budget.TakenPages;
        Assert.InRange(left, 300ul, 499ul);
        probe.Arena.Aerator.Pass();
        Assert.Equal(0, probe.Arena.GetStatistics().ThreadPagesBytes);
        left = probe.Arena.Budget.CapPages - probe.Arena.Budget.TakenPages;
        Assert.Equal(600u - left, probe.Balloon.DeflateAsked);
    }

    [Fact]
    public unsafe void Exhaustion_is_false_or_an_exception_that_names_order_type_and_what_is_free()
    {
        using ArenaProbe probe = new(4);
        uint[] pages = probe.TakeMany(1024, 0);
        Assert.False(probe.Arena.TryAllocatePages(3, out void* none, MigrateType.Reclaimable));
        Assert.True(none == null);
        string message = Assert.Throws<OutOfMemoryException>(() => probe.Take(3, MigrateType.Reclaimable)).Message;
        Assert.Contains("order 3 (32768 bytes), type Reclaimable", message, StringComparison.Ordinal);
        Assert.Contains("cap 4194304, allocated 4194304", message, StringComparison.Ordinal);
        Assert.EndsWith("free blocks: none", message, StringComparison.Ordinal);
        probe.Free(pages[0], pages[1], pages[2], pages[7]);
        message = Assert.Throws<OutOfMemoryException>(() => probe.Take(10)).Message;
        Assert.Contains("free blocks: Unmovable order 1 x 1; Unmovable order 0 x 2;", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(-1, MigrateType.Unmovable, AllocationFlags.None, "order", "0 (4 KiB) to 10 (4 MiB)")]
    [InlineData(11, MigrateType.Unmovable, AllocationFlags.None, "order", "AllocateRange")]
    [InlineData(int.MinValue, MigrateType.Unmovable, AllocationFlags.None, "order", "10")]
    [InlineData(0, MigrateType.HighAtomic, AllocationFlags.None, "type", "Unmovable, Movable, Reclaimable")]
    [InlineData(0, MigrateType.Isolate, AllocationFlags.None, "type", "Unmovable, Movable, Reclaimable")]
    [InlineData(0, (MigrateType)(-1), AllocationFlags.None, "type", "Unmovable, Movable, Reclaimable")]
    [InlineData(0, MigrateType.Movable, (AllocationFlags)8, "flags", "Zeroed (1), Atomic (2), Populate (4)")]
    [InlineData(0, MigrateType.Movable, (AllocationFlags)(-1), "flags", "Zeroed (1), Atomic (2), Populate (4)")]
    public unsafe void Arguments_out_of_range_are_named_with_what_is_allowed(int order, MigrateType type, AllocationFlags flags, string name, string allowed)
    {
        using ArenaProbe probe = new(4);
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => probe.Take(order, type, flags));
        Assert.Equal(name, error.ParamName);
        Assert.Contains(allowed, error.Message, StringComparison.Ordinal);
        Assert.Equal(name, Assert.Throws<ArgumentOutOfRangeException>(() => probe.TryTake(order, type, flags)).ParamName);
        Assert.Equal(4L << 20, probe.Arena.GetStatistics().UnreachedBytes);
    }
}
