using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Buddy;

/// <summary>Pageblocks out of circulation, and back.</summary>
public sealed class IsolationTests
{
    [Fact]
    public void Half_of_a_free_block_of_order_10_is_split_off_and_merges_again_later()
    {
        using ArenaProbe probe = new(8);
        probe.Free(probe.Take(10));
        Assert.True(probe.Arena.IsolatePageblock(1));
        probe.Expect("U9:0 I9:512");
        Assert.True(probe.Arena.UnisolatePageblock(1, MigrateType.Movable));
        probe.Expect("M10:0");
    }

    [Fact]
    public void The_first_half_too()
    {
        using ArenaProbe probe = new(8);
        probe.Free(probe.Take(10));
        Assert.True(probe.Arena.IsolatePageblock(0));
        probe.Expect("U9:512 I9:0");
        Assert.True(probe.Arena.UnisolatePageblock(0, MigrateType.Unmovable));
        probe.Expect("U10:0");
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    public void A_block_of_order_10_freed_while_half_of_it_is_isolated_goes_to_both_lists(uint isolated)
    {
        using ArenaProbe probe = new(8);
        uint block = probe.Take(10);
        Assert.True(probe.Arena.IsolatePageblock(isolated));
        probe.Free(block);
        probe.Expect(isolated == 0 ? "U9:512 I9:0" : "U9:0 I9:512");
        Assert.Equal(2L << 20, probe.Arena.GetStatistics().IsolatedBytes);
        Assert.True(probe.Arena.UnisolatePageblock(isolated, MigrateType.Unmovable));
        probe.Expect("U10:0");
    }

    [Fact]
    public void A_thread_does_not_keep_a_block_whose_second_half_was_isolated_while_it_was_in_use()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        uint block = probe.Take(10);
        Assert.True(probe.Arena.IsolatePageblock(new Pfn(block).Pageblock + 1));
        probe.Arena.Verify();
        probe.Free(block);
        Assert.Equal(2L << 20, probe.Arena.GetStatistics().IsolatedBytes);
        Assert.DoesNotContain(block, probe.TakeMany(3, 10));
        Assert.Equal(block, probe.Take(9)); // the other half is as free as any
        probe.Arena.Verify();
    }

    [Fact]
    public void What_is_free_moves_aside_and_what_is_freed_meanwhile_follows()
    {
        using ArenaProbe probe = new(4);
        uint[] pages = probe.TakeMany(512, 0);
        probe.Free(pages[..4]);
        probe.Expect("U9:512 U2:0");
        Assert.True(probe.Arena.IsolatePageblock(0));
        probe.Expect("U9:512 I2:0");
        probe.Free(pages[4..8]);
        probe.Expect("U9:512 I3:0");
        Assert.Equal((8L << 12, 0L), (probe.Arena.GetStatistics().IsolatedBytes, probe.Arena.GetStatistics().TreatedBytes));
        probe.Free(pages[8..]);
        probe.Expect("U9:512 I9:0"); // complete, and still not merged with a pageblock in circulation
        Assert.True(probe.Arena.UnisolatePageblock(0, MigrateType.Reclaimable));
        probe.Expect("R10:0");
    }

    [Fact]
    public void Nothing_is_handed_out_of_an_isolated_pageblock()
    {
        using ArenaProbe probe = new(4);
        probe.Free(probe.Take(10));
        Assert.True(probe.Arena.IsolatePageblock(0));
        Assert.True(probe.Arena.IsolatePageblock(1));
        Assert.Null(probe.TryTake(0));
        Assert.Null(probe.TryTake(0, MigrateType.Movable, AllocationFlags.Atomic));
        Assert.True(probe.Arena.UnisolatePageblock(1, MigrateType.Movable));
        Assert.Equal(512u, probe.Take(9));
        Assert.Null(probe.TryTake(0));
    }

    [Fact]
    public void Two_isolated_halves_come_back_one_by_one()
    {
        using ArenaProbe probe = new(4);
        uint[] halves = probe.TakeMany(2, 9);
        Assert.True(probe.Arena.IsolatePageblock(0));
        Assert.True(probe.Arena.IsolatePageblock(1));
        probe.Free(halves);
        probe.Expect("I10:0");
        Assert.True(probe.Arena.UnisolatePageblock(0, MigrateType.Unmovable));
        probe.Expect("U9:0 I9:512");
        Assert.True(probe.Arena.UnisolatePageblock(1, MigrateType.Unmovable));
        probe.Expect("U10:0");
    }

    [Fact]
    public void Isolating_twice_or_what_was_never_reached_is_refused_and_so_is_the_return_of_what_is_not_isolated()
    {
        using ArenaProbe probe = new(8);
        Assert.False(probe.Arena.IsolatePageblock(0));
        probe.Take(0);
        Assert.False(probe.Arena.UnisolatePageblock(0, MigrateType.Movable));
        Assert.True(probe.Arena.IsolatePageblock(0));
        Assert.False(probe.Arena.IsolatePageblock(0));
        Assert.False(probe.Arena.IsolatePageblock(2));
        Assert.Equal(1ul, probe.Zone.IsolatedPageblocks);
        Assert.True(probe.Arena.UnisolatePageblock(0, MigrateType.Movable));
        Assert.Equal(0ul, probe.Zone.IsolatedPageblocks);
    }

    [Fact]
    public void A_pageblock_that_begins_inside_a_range_is_isolated_and_brought_back_like_any_other()
    {
        using ArenaProbe probe = new(8);
        uint range = probe.TakeRange(1300);
        Assert.Equal(0u, range);
        probe.Expect("U9:1536 U7:1408 U6:1344 U5:1312 U3:1304 U2:1300");
        Assert.True(probe.Arena.IsolatePageblock(2));
        probe.Expect("U9:1536 I7:1408 I6:1344 I5:1312 I3:1304 I2:1300");
        Assert.Null(probe.TryTake(10));
        probe.Free(range);
        probe.Expect("U10:0 U9:1536 I9:1024");
        Assert.True(probe.Arena.UnisolatePageblock(2, MigrateType.Unmovable));
        probe.Expect("U10:1024,0");
    }

    [Fact]
    public void A_treated_block_stays_treated_through_isolation()
    {
        using ArenaProbe probe = new(4, o => o.Aeration.Enabled = true);
        probe.Free(probe.Take(10));
        probe.Arena.Trim();
        probe.Expect("U10:0*");
        Assert.True(probe.Arena.IsolatePageblock(0));
        probe.Expect("U9:512* I9:0*");
        Assert.True(probe.Arena.UnisolatePageblock(0, MigrateType.Unmovable));
        probe.Expect("U10:0*");
    }

    [Fact]
    public void An_isolated_pageblock_is_never_treated()
    {
        using ArenaProbe probe = new(4, o => (o.Aeration.Enabled, o.Aeration.MinimumOrder) = (true, 0));
        uint[] pages = probe.TakeMany(512, 0);
        probe.Free(pages.Where(p => p % 2 == 0));
        Assert.True(probe.Arena.IsolatePageblock(0));
        probe.Arena.Trim();
        Assert.Equal((256L << 12, 0L), (probe.Arena.GetStatistics().IsolatedBytes, probe.Arena.GetStatistics().RawBytes));
        Assert.DoesNotContain(probe.Lists().Split(' ').Where(l => l[0] == 'I'), l => l.Contains('*', StringComparison.Ordinal));
    }
}
