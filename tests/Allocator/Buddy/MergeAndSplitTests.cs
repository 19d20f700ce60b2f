using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Buddy;

/// <summary>Split and merge, by exact states of the free lists.</summary>
public sealed class MergeAndSplitTests
{
    public static TheoryData<int> OrdersBelowTen => new(Enumerable.Range(0, PageblockLimits.MaxOrder));

    [Theory]
    [MemberData(nameof(OrdersBelowTen))]
    public void A_split_keeps_the_lowest_part_and_leaves_one_upper_half_of_each_order(int order)
    {
        using ArenaProbe probe = new(8);
        Assert.Equal(0u, probe.Take(order));
        probe.Expect(string.Join(' ', Enumerable.Range(order, PageblockLimits.MaxOrder - order).Reverse().Select(o => $"U{o}:{1 << o}")));
    }

    [Theory]
    [MemberData(nameof(OrdersBelowTen))]
    public void Freed_again_it_merges_through_every_order_above(int order)
    {
        using ArenaProbe probe = new(8);
        probe.Free(probe.Take(order));
        probe.Expect("U10:0");
    }

    [Theory]
    [MemberData(nameof(OrdersBelowTen))]
    public void Buddies_merge_whichever_is_freed_first_and_only_with_each_other(int order)
    {
        using ArenaProbe probe = new(16);
        uint[] blocks = probe.TakeMany(4, order);
        Assert.Equal([0u, 1u << order, 2u << order, 3u << order], blocks);
        string rest = probe.Lists();
        string gap = rest.Length == 0 ? "" : " ";

        // 1 and 2 are neighbours but no buddies.
        probe.Free(blocks[1], blocks[2]);
        probe.Expect($"{rest}{gap}U{order}:{2u << order},{1u << order}");
        Assert.Equal(blocks[2], probe.Take(order));
        Assert.Equal(blocks[1], probe.Take(order));

        foreach ((int first, int second) in new[] { (0, 1), (1, 0) })
        {
            probe.Free(blocks[first]);
            probe.Free(blocks[second]);
            Assert.DoesNotContain($"U{order}:", probe.Lists()[rest.Length..], StringComparison.Ordinal);
            Assert.Contains($"U{order + 1}:0", probe.Lists(), StringComparison.Ordinal);
            Assert.Equal(blocks[0], probe.Take(order));
            Assert.Equal(blocks[1], probe.Take(order));
        }
    }

    [Fact]
    public void A_page_in_use_stops_the_merge_below_it_and_no_other()
    {
        using ArenaProbe probe = new(4);
        uint[] pages = probe.TakeMany(1024, 0);
        Assert.Equal(Enumerable.Range(0, 1024).Select(i => (uint)i), pages);
        probe.Expect("");
        probe.Free(pages.Where(p => p != 300));
        probe.Expect("U9:512 U8:0 U7:384 U6:320 U5:256 U4:304 U3:288 U2:296 U1:302 U0:301");
        probe.Free(300);
        probe.Expect("U10:0");
    }

    [Fact]
    public void Blocks_of_order_10_side_by_side_stay_apart_also_across_zones()
    {
        FaultyOperatingSystem os = new() { NodeOfCaller = () => 0 };
        os.SetMemoryNodes(0, 1);
        using ArenaProbe probe = new(16, o => o.Zones = 2, os);
        uint[] low = probe.TakeMany(2, 10);
        os.NodeOfCaller = () => 1;
        uint[] high = probe.TakeMany(2, 10);
        Assert.Equal([0u, 1024u, 2048u, 3072u], low.Concat(high));
        probe.Free(low.Concat(high));
        Assert.Equal("U10:1024,0", probe.Lists(0));
        Assert.Equal("U10:3072,2048", probe.Lists(1));
    }

    [Fact]
    public void The_last_block_of_one_zone_never_merges_with_the_first_of_the_next()
    {
        FaultyOperatingSystem os = new() { NodeOfCaller = () => 0 };
        os.SetMemoryNodes(0, 1);
        using ArenaProbe probe = new(8, o => o.Zones = 2, os);
        uint[] low = probe.TakeMany(4, 8);
        os.NodeOfCaller = () => 1;
        uint[] high = probe.TakeMany(4, 8);
        probe.Free(low[3], high[0]);
        Assert.Equal("U8:768", probe.Lists(0));
        Assert.Equal("U8:1024", probe.Lists(1));
        probe.Free(low[..3].Concat(high[1..]));
        Assert.Equal("U10:0", probe.Lists(0));
        Assert.Equal("U10:1024", probe.Lists(1));
    }

    [Fact]
    public void Pageblocks_of_different_normal_types_merge_to_order_10()
    {
        using ArenaProbe probe = new(4);
        uint[] halves = [probe.Take(9), probe.Take(9)];
        probe.Arena.Map.Pageblocks.Set(1, MigrateType.Movable);
        probe.Free(halves[1]);
        probe.Expect("M9:512");
        probe.Free(halves[0]);
        probe.Expect("U10:0");
    }

    [Fact]
    public void A_block_goes_to_the_list_of_its_pageblock_and_not_of_its_request()
    {
        using ArenaProbe probe = new(4);
        uint page = probe.Take(0, MigrateType.Reclaimable);
        Assert.Equal(MigrateType.Reclaimable, probe.TypeOf(page));
        probe.Arena.Map.Pageblocks.Set(0, MigrateType.Movable);
        uint second = probe.Take(0, MigrateType.Reclaimable);
        probe.Free(second);
        Assert.Contains("M0:1", probe.Lists(), StringComparison.Ordinal);
    }
}
