using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Buddy;

/// <summary>What a type takes when it has run dry, and how much of it.</summary>
public sealed class FallbackTests
{
    [Theory]
    [InlineData(MigrateType.Unmovable, MigrateType.Reclaimable, MigrateType.Movable)]
    [InlineData(MigrateType.Movable, MigrateType.Reclaimable, MigrateType.Unmovable)]
    [InlineData(MigrateType.Reclaimable, MigrateType.Unmovable, MigrateType.Movable)]
    public void Types_fall_back_in_the_kernel_s_order(MigrateType asked, MigrateType first, MigrateType second)
    {
        using ArenaProbe probe = new(8);
        uint later = probe.Take(10, second);
        uint sooner = probe.Take(10, first);
        probe.Free(sooner, later);
        Assert.Equal(sooner, probe.Take(0, asked));
        Assert.Equal([asked, asked, second, second], new[] { 0u, 512u, 1024u, 1536u }.Select(p => probe.TypeOf((sooner + p) % 2048)));
        Assert.Equal(sooner + 512, probe.Take(9, asked));
        Assert.Equal(later, probe.Take(10, asked));
    }

    [Fact]
    public void Smallest_fit_of_the_own_type_comes_before_everything()
    {
        using ArenaProbe probe = new(16);
        uint[] threes = probe.TakeMany(4, 3);
        probe.Free(threes[1]);
        string before = probe.Lists();
        Assert.Contains("U5:32", before, StringComparison.Ordinal);
        Assert.Contains("U3:8", before, StringComparison.Ordinal);
        Assert.Equal(32u, probe.Take(4)); // order 3 is too small: the next larger one is split
        Assert.Equal(8u, probe.Take(2)); // and order 3 before what the split left at order 4
    }

    [Fact]
    public void Whole_pageblocks_of_others_come_before_pages_never_used_and_those_before_parts()
    {
        using ArenaProbe probe = new(16);
        uint whole = probe.Take(10, MigrateType.Movable);
        uint part = probe.Take(8, MigrateType.Movable);
        probe.Free(whole);
        Assert.Equal(1024u, part);
        probe.Expect("M10:0 M9:1536 M8:1280");
        Assert.Equal(0u, probe.Take(10)); // a whole block of order 10
        Assert.Equal(1536u, probe.Take(0)); // order 9 is a whole pageblock
        probe.Free(1536);
        probe.Expect("U9:1536 M8:1280");
        Assert.Equal(1536u, probe.Take(9));
        Assert.Equal(2048u, probe.Take(0)); // never used, although Movable has order 8
        Assert.Equal(MigrateType.Movable, probe.TypeOf(1280));
        Assert.Equal(2560u, probe.Take(9));
        Assert.Equal(3072u, probe.Take(10));
        uint[] pages = probe.TakeMany(511, 0);
        Assert.Equal(Enumerable.Range(2049, 511).Select(p => (uint)p), pages);
        Assert.Equal(1280u, probe.Take(0)); // nothing else is left
    }

    [Fact]
    public void Every_zone_is_asked_for_whole_pageblocks_before_any_gives_parts()
    {
        FaultyOperatingSystem os = new() { NodeOfCaller = () => 0 };
        os.SetMemoryNodes(0, 1);
        using ArenaProbe probe = new(8, o => o.Zones = 2, os);
        probe.TakeMany(3, 8, MigrateType.Movable);
        Assert.Equal("M8:768", probe.Lists(0));
        Assert.Equal(1024u, probe.Take(0));
        Assert.Equal(MigrateType.Movable, probe.TypeOf(768));
    }

    [Fact]
    public void Unmovable_may_have_the_whole_pageblock_and_retypes_it_when_half_of_it_was_free()
    {
        using ArenaProbe probe = Full(MigrateType.Movable, out uint[] pages);
        probe.Free(pages[0..256]); // half of the first pageblock
        probe.Free(pages[258], pages[260]);
        uint got = probe.Take(0, MigrateType.Unmovable);
        Assert.Equal(MigrateType.Unmovable, probe.TypeOf(0));
        Assert.DoesNotContain("M", probe.Lists(), StringComparison.Ordinal);
        Assert.InRange(got, 0u, 511u);
    }

    [Fact]
    public void Less_than_half_moves_but_does_not_retype()
    {
        using ArenaProbe probe = Full(MigrateType.Movable, out uint[] pages);
        probe.Free(pages[0..128]);
        probe.Free(pages[256..383]); // 255 pages of 512
        uint got = probe.Take(0, MigrateType.Unmovable);
        Assert.Equal(MigrateType.Movable, probe.TypeOf(0));
        Assert.DoesNotContain("M", probe.Lists(), StringComparison.Ordinal);
        probe.Free(got);
        Assert.Contains($"M0:{got}", probe.Lists() + " ", StringComparison.Ordinal);
    }

    [Fact]
    public void Pages_that_a_like_minded_type_holds_count_towards_the_half()
    {
        using ArenaProbe probe = Full(MigrateType.Movable, out uint[] pages);
        probe.Free(pages[0..128]);
        uint[] mine = probe.TakeMany(100, 0, MigrateType.Unmovable); // in part of a Movable pageblock
        Assert.Equal(MigrateType.Movable, probe.TypeOf(0));
        Assert.All(mine, page => Assert.InRange(page, 0u, 127u));
        probe.TakeMany(28, 0, MigrateType.Unmovable);
        probe.Expect("");
        probe.Free(pages[256..384]); // 128 free and 128 alike
        probe.Take(0, MigrateType.Unmovable);
        Assert.Equal(MigrateType.Unmovable, probe.TypeOf(0));
    }

    [Theory]
    [InlineData(4, true)]
    [InlineData(3, false)]
    public void Movable_takes_the_pageblock_from_order_4_and_only_a_block_below(int order, bool steals)
    {
        using ArenaProbe probe = Full(MigrateType.Unmovable, out uint[] pages);
        probe.Free(pages[0..(1 << order)]);
        probe.Free(pages[100], pages[512]); // one more of the same pageblock, one of another
        probe.Take(0, MigrateType.Movable);
        string unmovable = string.Join(' ', probe.Lists().Split(' ').Where(l => l[0] == 'U'));
        if (steals)
        {
            // The largest was found, and with it went its pageblock's free pages.
            Assert.Equal("U0:512", unmovable);
        }
        else
        {
            // From the smallest on: one single page, the last that was freed.
            Assert.Equal($"U{order}:0 U0:100", unmovable);
            Assert.Equal($"U{order}:0 U0:100", probe.Lists());
        }
    }

    [Fact]
    public void A_larger_request_of_movable_takes_the_smallest_block_that_fits()
    {
        using ArenaProbe probe = Full(MigrateType.Unmovable, out uint[] pages);
        probe.Free(pages[0..8]);
        probe.Free(pages[16..18]);
        probe.Free(pages[32..36]);
        probe.Free(pages[40]);
        Assert.Equal(16u, probe.Take(1, MigrateType.Movable));
        Assert.Equal(32u, probe.Take(1, MigrateType.Movable));
        probe.Expect("U3:0 M1:34 U0:40");
    }

    [Fact]
    public void Largest_first_for_those_who_may_steal()
    {
        using ArenaProbe probe = Full(MigrateType.Movable, out uint[] pages);
        probe.Free(pages[600..602]);
        probe.Free(pages[0..2]);
        probe.Free(pages[8..12]);
        Assert.Equal(0u, probe.Take(0, MigrateType.Reclaimable)); // 8 was found; 0 to 1 came along and fit better
        probe.Expect("R2:8 M1:600 R0:1");
    }

    /// <summary>4 MiB of single pages in use, nothing left to grow.</summary>
    private static ArenaProbe Full(MigrateType type, out uint[] pages)
    {
        ArenaProbe probe = new(4);
        pages = probe.TakeMany(1024, 0, type);
        probe.Expect("");
        return probe;
    }
}
