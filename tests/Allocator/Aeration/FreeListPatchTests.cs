using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Patches 2 to 6: where a block goes in its list, what it keeps when it merges, splits and moves, and the two counters.</summary>
public sealed class FreeListPatchTests
{
    [Fact]
    public void Patch2_a_block_that_will_probably_merge_goes_to_the_tail_and_another_to_the_head()
    {
        using TestPlant plant = new();
        nint[] pages = plant.Allocate(0, 8);
        plant.Free(pages[2], pages[3]); // one free block of order 1, the buddy of pages 0 and 1
        plant.Free(pages[5]);           // nothing around it is free: head
        plant.Free(pages[0]);           // its buddy is in use, the next higher buddy is free: tail
        Assert.Equal([pages[5], pages[0]], plant.List(0));
        plant.Check();
    }

    [Fact]
    public void Patch2_a_pageblock_is_never_sent_to_the_tail_because_a_merge_is_likely()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 6);
        plant.Free(blocks);
        Assert.Equal(blocks.Reverse(), plant.List(9));
    }

    [Fact]
    public void Patch2_order_ten_follows_the_shuffles_bits_and_goes_to_the_head_without_one()
    {
        using TestPlant plain = new();
        using TestPlant shuffled = new(o => o.ShuffleSeed = 42);
        nint[] blocks = plain.Allocate(10, 20);
        plain.Free(blocks);
        Assert.Equal(blocks.Reverse(), plain.List(10));

        nint[] mixed = shuffled.Allocate(10, 20);
        shuffled.Free(mixed);
        Shuffle bits = new(42);
        LinkedList<nint> expected = new();
        foreach (nint block in mixed)
        {
            _ = bits.NextBit() ? expected.AddLast(block) : expected.AddFirst(block);
        }

        Assert.Equal(expected, shuffled.List(10));
        Assert.NotEqual(blocks.Reverse().Select(b => plain.PfnOf(b)), shuffled.List(10).Select(b => shuffled.PfnOf(b)));
    }

    [Fact]
    public void Patch2_a_block_that_has_rested_elsewhere_goes_to_the_tail_of_the_raw_ones()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 3);
        Zone zone = plant.Zone;
        plant.Free(blocks[0], blocks[1]);
        plant.Balloon.Accepts = false; // the batch comes back raw, rested
        plant.PassUntilRested();
        Assert.Equal(1, plant.Balloon.Reacts);
        plant.Free(blocks[2]);
        Assert.Equal(blocks[2], plant.List(9)[0]);
        Assert.Equal(0ul, zone.InReactorPages);
        plant.Check();
    }

    [Fact]
    public void Patch3_leaving_the_free_list_ends_Treated()
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10);
        plant.Free(block);
        plant.Arena.Trim();
        Assert.True(plant.MarksOf(block).Treated);
        Assert.Equal(block, plant.Allocate(10));
        Assert.Equal(PageType.None, plant.TypeBitsOf(block));
        plant.Free(block);
        Assert.False(plant.MarksOf(block).Treated);
        Assert.Equal((1, 0), (plant.Raw(10), plant.Treated(10)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Patch3_Treated_is_lost_by_merging_with_raw_whichever_half_is_treated(bool upperIsTreated)
    {
        using TestPlant plant = new();
        nint[] halves = plant.Allocate(9, 2);
        (nint first, nint second) = upperIsTreated ? (halves[1], halves[0]) : (halves[0], halves[1]);
        plant.Free(first);
        plant.Arena.Trim();
        Assert.Equal(1, plant.Treated(9));
        plant.Free(second);
        Assert.Equal((0, 0, 1, 0), (plant.Raw(9), plant.Treated(9), plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Patch3_Treated_is_kept_when_both_halves_have_it(bool upperComesLast)
    {
        using TestPlant plant = new();
        nint[] halves = plant.Allocate(9, 2);
        (nint kept, nint late) = upperComesLast ? (halves[0], halves[1]) : (halves[1], halves[0]);
        plant.Free(kept);
        plant.Arena.Trim();

        // An isolated pageblock does not merge, so its buddy can be treated beside it.
        Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(kept).Pageblock));
        plant.Free(late);
        plant.Arena.Trim();
        Assert.Equal((0, 2), (plant.Raw(9), plant.Treated(9)));
        Assert.True(plant.Arena.UnisolatePageblock(plant.PfnOf(kept).Pageblock, MigrateType.Unmovable));
        Assert.Equal((0, 0, 0, 1), (plant.Raw(9), plant.Treated(9), plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Fact]
    public void Patch4_raw_and_treated_count_by_what_the_page_says_and_their_sum_is_what_is_free()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 7);
        plant.Free(blocks[..5]);
        plant.Arena.Trim();
        plant.Free(blocks[5..]);
        Assert.Equal((2, 5), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal(7ul * 512, plant.Zone.FreePages);
        ArenaStatistics now = plant.Arena.GetStatistics();
        Assert.Equal((2L << 21, 5L << 21), (now.RawBytes, now.TreatedBytes));
        Assert.Contains(new FreeBlocks(9, MigrateType.Unmovable, 2, 5), now.Free);
        plant.Check();
    }

    [Fact]
    public void Patch4_an_arena_whose_free_pages_are_all_treated_hands_out_every_one_of_them()
    {
        using TestPlant plant = new(o => o.SizeBytes = 16 << 20);
        plant.Free(plant.AllocateAll(10));
        plant.Arena.Trim();
        Assert.Equal((0, 4), (plant.Raw(10), plant.Treated(10)));
        Assert.Equal(4096, plant.AllocateAll().Count);
        Assert.Equal(0ul, plant.Zone.FreePages);
        plant.Check();
    }

    [Fact]
    public void Patch5_the_upper_halves_of_a_split_block_keep_Treated()
    {
        using TestPlant plant = new();
        plant.Free(plant.Allocate(10));
        plant.Arena.Trim();
        plant.Allocate(0);
        for (int order = 0; order < 10; order++)
        {
            Assert.Equal((0, 1), (plant.Raw(order), plant.Treated(order)));
        }

        plant.Check();
    }

    [Fact]
    public void Patch5_the_upper_halves_of_a_raw_block_stay_raw()
    {
        using TestPlant plant = new();
        plant.Free(plant.Allocate(10));
        plant.Allocate(0);
        Assert.All(Enumerable.Range(0, 10), order => Assert.Equal((1, 0), (plant.Raw(order), plant.Treated(order))));
    }

    [Fact]
    public void Patch6_treated_blocks_gather_below_the_membrane_and_raw_ones_above()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.Allocate(10, 6);
        plant.Free(blocks[..3]);
        Assert.Equal(0, plant.MembraneOf(10));
        plant.Arena.Trim();
        plant.Free(blocks[3..]);
        List<nint> list = plant.List(10);
        Assert.Equal(blocks[3..].Reverse(), list[..3]);
        Assert.Equal(blocks[..3].Order(), list[3..].Order());
        Assert.Equal(list[3], plant.MembraneOf(10));
        plant.Check();
    }

    [Fact]
    public void Patch6_the_membrane_is_pushed_back_when_its_block_leaves_and_ends_at_the_lists_head()
    {
        using TestPlant plant = new();
        plant.Free(plant.Allocate(10, 3));
        plant.Arena.Trim();
        List<nint> list = plant.List(10);
        Assert.Equal(list[0], plant.MembraneOf(10));
        Assert.Equal(list[0], plant.Allocate(10));
        Assert.Equal(list[1], plant.MembraneOf(10));
        Assert.Equal(list[1], plant.Allocate(10));
        Assert.Equal(list[2], plant.MembraneOf(10));
        Assert.Equal(list[2], plant.Allocate(10));
        Assert.Equal(0, plant.MembraneOf(10));
        plant.Check();
    }

    [Fact]
    public void Patch6_a_raw_block_is_handed_out_before_a_treated_one()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.Allocate(10, 2);
        plant.Free(blocks[0]);
        plant.Arena.Trim();
        plant.Free(blocks[1]);
        Assert.Equal(blocks[1], plant.Allocate(10));
        Assert.Equal(blocks[0], plant.Allocate(10));
    }
}
