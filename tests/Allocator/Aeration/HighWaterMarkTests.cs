using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Patches 8 and 11: when treatment starts, when it stops, what refers to the reactor, and what the free path pays.</summary>
public sealed class HighWaterMarkTests
{
    [Fact]
    public void Patch11_where_nothing_listens_nobody_is_signalled()
    {
        using TestPlant plant = new(o => o.Aeration.Enabled = false);
        Assert.Null(plant.Zone.Listener);
        Assert.Equal(0, SignalsWhileFreeing(plant, plant.AllocateApart(9, 14)));
        Assert.Equal(0, plant.Arena.Aerator.References);
    }

    [Fact]
    public void Patch11_one_signal_for_each_crossing_of_the_mark()
    {
        using TestPlant plant = new(o => o.Aeration.Delay = TimeSpan.Zero);
        nint[] blocks = plant.AllocateApart(9, 14);
        Assert.Equal(0, SignalsWhileFreeing(plant, blocks[..7]));
        Assert.Equal(0, plant.Arena.Aerator.References);
        Assert.Equal(1, SignalsWhileFreeing(plant, blocks[7..8]));
        Assert.Equal(1, plant.Arena.Aerator.References);
        Assert.Equal(0, SignalsWhileFreeing(plant, blocks[8..]));
        plant.Arena.Trim();
        Assert.Equal(0, plant.Arena.Aerator.References);

        nint[] again = plant.AllocateApart(9, 14);
        Assert.Equal(1, SignalsWhileFreeing(plant, again));
        plant.Check();
    }

    [Fact]
    public void A_mark_that_young_blocks_reach_flags_the_zone_and_wakes_nobody()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, TestPlant.StartMark);
        Assert.Equal(0, SignalsWhileFreeing(plant, blocks));
        Assert.True(plant.Zone.IsOverHighWaterMark);
        Assert.Equal(1, plant.Arena.Aerator.References);
        plant.PassUntilRested();
        Assert.Equal(TestPlant.StartMark, plant.Balloon.Ranges.Count);
        Assert.Equal(0, plant.Arena.Aerator.References);
    }

    [Fact]
    public void A_mark_that_is_reached_above_a_rested_block_starts_treatment_early()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, TestPlant.StartMark);
        plant.Zone.Enter();
        plant.Zone.FreeLocked(plant.PfnOf(blocks[0]), Order.Pageblock, MigrateType.Unmovable, BlockMarks.Fresh);
        plant.Zone.ExitQuietly();
        plant.Arena.Budget.Release(512);
        Assert.Equal(1, SignalsWhileFreeing(plant, blocks[1..]));
    }

    [Fact]
    public void Patch8_seven_blocks_of_each_of_two_orders_are_under_the_mark_because_it_binds_one_order()
    {
        using TestPlant plant = new();
        nint[] large = plant.Allocate(10, 7);
        nint[] small = plant.AllocateApart(9, 7);
        Assert.Equal(0, SignalsWhileFreeing(plant, [.. large, .. small]));
    }

    [Fact]
    public void Patch8_blocks_below_the_least_order_do_not_reach_the_mark()
    {
        using TestPlant plant = new();
        Assert.Equal(0, SignalsWhileFreeing(plant, plant.AllocateApart(8, 12)));
    }

    [Fact]
    public void Patch8_the_stop_mark_is_the_sum_over_the_treated_orders()
    {
        using TestPlant plant = new();
        HighWaterMarks marks = new(Order.Pageblock, TestPlant.Capacity);
        plant.Zone.Listener = null;
        nint[] large = plant.Allocate(10, 2);
        nint[] small = plant.AllocateApart(9, 2);
        plant.Free([.. large, .. small]);
        plant.Zone.IsOverHighWaterMark = true;
        marks.Hold();
        Assert.False(marks.SettleZone(plant.Zone)); // 2 + 2 blocks are the capacity: not less
        plant.Allocate(9);
        Assert.True(marks.SettleZone(plant.Zone));
        Assert.Equal(0, marks.References);
    }

    [Fact]
    public void Patch8_references_are_the_zones_over_the_mark_and_one_for_the_batch()
    {
        using TestPlant plant = new(o => o.Zones = 2);
        nint[] all = [.. plant.AllocateAll(9).Order()];
        nint[] apart = [.. all.Where((_, i) => i % 2 == 0)];
        nint[] first = [.. apart.Where(block => plant.Arena.ZoneOf(plant.PfnOf(block)).Number == 0).Take(8)];
        nint[] second = [.. apart.Where(block => plant.Arena.ZoneOf(plant.PfnOf(block)).Number == 1).Take(8)];
        int highest = 0;
        plant.Balloon.WhileHeld = _ => highest = Math.Max(highest, plant.Arena.Aerator.References);
        plant.Free(first[..7]);
        plant.Free(second[..7]);
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Free(first[7]);
        Assert.Equal(1, plant.Arena.Aerator.References);
        plant.Free(second[7]);
        Assert.Equal(2, plant.Arena.Aerator.References);
        plant.Arena.Trim();
        Assert.Equal(3, highest);
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public void A_zone_over_the_mark_whose_blocks_do_not_rest_yet_stays_flagged_and_signals_no_more()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 10);
        plant.Free(blocks[..8]);
        plant.Arena.Aerator.Pass();
        Assert.Empty(plant.Balloon.Batches);
        Assert.True(plant.Zone.IsOverHighWaterMark);
        Assert.Equal(0, SignalsWhileFreeing(plant, blocks[8..]));
        plant.PassUntilRested();
        Assert.Equal(10, plant.Balloon.Ranges.Count);
        Assert.Equal(0, plant.Arena.Aerator.References);
    }

    [Fact]
    public void Raw_blocks_in_isolated_pageblocks_neither_reach_the_mark_nor_keep_a_zone_over_it()
    {
        using TestPlant plant = new(o => o.Aeration.Delay = TimeSpan.Zero);
        nint[] blocks = plant.AllocateApart(9, 14);
        plant.Free(blocks[..6]);
        foreach (nint block in blocks[..6])
        {
            Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(block).Pageblock));
        }

        Assert.Equal(0, SignalsWhileFreeing(plant, blocks[6..13])); // 7 of them, and 6 that are isolated
        Assert.Equal(1, SignalsWhileFreeing(plant, blocks[13..]));
        plant.Arena.Trim();
        Assert.False(plant.Zone.IsOverHighWaterMark);
        Assert.Equal(0, plant.Arena.Aerator.References);
        Assert.Equal(1, SignalsWhileFreeing(plant, plant.AllocateApart(9, 8)));
        plant.Check();
    }

    [Fact]
    public void A_mark_that_was_reached_under_a_verification_is_still_told()
    {
        using TestPlant plant = new(o => o.Aeration.Delay = TimeSpan.Zero);
        nint[] blocks = plant.AllocateApart(9, 8);
        plant.Free(blocks[..7]);
        Pfn last = plant.PfnOf(blocks[7]);
        plant.Zone.Enter();
        plant.Zone.FreeLocked(last, Order.Pageblock, MigrateType.Unmovable, BlockMarks.Raw(plant.Arena.Epoch));
        plant.Zone.ExitQuietly();
        plant.Arena.Budget.Release(512);
        plant.Zone.Enter();
        Assert.True(plant.Zone.Exit());
        plant.Zone.Enter();
        Assert.False(plant.Zone.Exit());
    }

    /// <summary>Frees straight into the zone, as the free path does, and counts how often its lock was left with a signal.</summary>
    private static int SignalsWhileFreeing(TestPlant plant, nint[] blocks)
    {
        int signals = 0;
        foreach (nint block in blocks)
        {
            Pfn pfn = plant.PfnOf(block);
            Order order = new((int)plant.OrderOf(block));
            plant.Zone.Enter();
            plant.Zone.FreeLocked(pfn, order, plant.Arena.Map.TypeOf(pfn), BlockMarks.Raw(plant.Arena.Epoch));
            signals += plant.Zone.Exit() ? 1 : 0;
            plant.Arena.Budget.Release(order.Pages);
        }

        return signals;
    }
}
