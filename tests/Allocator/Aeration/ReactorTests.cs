using System;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Patch 7 and the round of patch 8: raw blocks out, the device told, the blocks back where they came from.</summary>
public sealed class ReactorTests
{
    [Fact]
    public void Patch7_takes_the_raw_blocks_oldest_first_and_each_of_them_once()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 6);
        plant.Free(blocks);
        plant.Arena.Trim();
        Assert.Equal(blocks, plant.Reported());
        Assert.All(plant.Balloon.Ranges, range => Assert.Equal(512u, range.Pages));
        plant.Arena.Trim();
        Assert.Equal(6, plant.Balloon.Ranges.Count);
        plant.Check();
    }

    [Fact]
    public void Patch7_takes_what_lies_above_treated_blocks_and_never_these()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.Allocate(10, 5);
        plant.Free(blocks[..2]);
        plant.Arena.Trim();
        plant.Free(blocks[2..]);
        plant.Arena.Trim();
        Assert.Equal(blocks.Order(), plant.Reported().Order());
        Assert.Equal((0, 5), (plant.Raw(10), plant.Treated(10)));
    }

    [Theory]
    [InlineData(MigrateType.Unmovable)]
    [InlineData(MigrateType.Movable)]
    [InlineData(MigrateType.Reclaimable)]
    public void Patch7_gives_a_block_back_to_the_list_that_it_came_from(MigrateType type)
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10, type);
        plant.Free(block);
        plant.Arena.Trim();
        Assert.Equal([block], plant.List(10, type));
        Assert.Equal(type, plant.Arena.Map.TypeOf(plant.PfnOf(block)));
        plant.Check();
    }

    [Fact]
    public void Patch7_what_the_reactor_holds_is_on_no_list_and_counted_nowhere_else()
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10);
        plant.Free(block);
        plant.Balloon.WhileHeld = _ =>
        {
            Assert.Equal(PageType.None.WithInReactor(), plant.TypeBitsOf(block));
            Assert.Equal(10ul, plant.OrderOf(block));
            Assert.Equal((0ul, 1024ul), (plant.Zone.FreePages, plant.Zone.InReactorPages));
            Assert.Equal((0, 0), (plant.Raw(10), plant.Treated(10)));
            ArenaStatistics now = plant.Arena.GetStatistics();
            Assert.Equal((4L << 20, 0L, 0L), (now.InReactorBytes, now.RawBytes, now.TreatedBytes));
            plant.Check();
        };
        plant.Arena.Trim();
        Assert.Single(plant.Balloon.Batches);
        Assert.Equal(0ul, plant.Zone.InReactorPages);
        plant.Check();
    }

    [Fact]
    public void Patch7_treated_is_not_set_before_the_device_has_used_the_batch()
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10);
        plant.Free(block);
        bool early = false;
        plant.Balloon.OnReact = () => early |= plant.TypeBitsOf(block).IsTreated;
        plant.Balloon.WhileHeld = _ => early |= plant.TypeBitsOf(block).IsTreated;
        plant.Arena.Trim();
        Assert.False(early);
        Assert.True(plant.MarksOf(block).Treated);
    }

    [Fact]
    public void Patch8_a_round_goes_through_its_stages_in_order_and_ends_idle()
    {
        using TestPlant plant = new();
        using StageListener stages = new();
        plant.Free(plant.AllocateApart(9, TestPlant.Capacity + 1));
        List<Stage> seen = [];
        plant.Balloon.OnReact = () => seen.Add(plant.Arena.Aerator.Stage);
        plant.Balloon.WhileHeld = _ => seen.Add(plant.Arena.Aerator.Stage);
        Assert.Equal(Stage.Idle, plant.Arena.Aerator.Stage);
        plant.Arena.Trim();
        Assert.Equal([Stage.React, Stage.Settle, Stage.React, Stage.Settle], seen);
        Assert.Equal([.. Round(), Stage.Idle, .. Round()], stages.Seen);
        Assert.Equal(Stage.Idle, plant.Arena.Aerator.Stage);

        static Stage[] Round() => [Stage.Fill, Stage.React, Stage.Settle, Stage.Decant];
    }

    [Fact]
    public void Patch8_a_batch_holds_no_more_than_the_capacity_and_the_rest_follows_in_the_next()
    {
        using TestPlant plant = new();
        plant.Free(plant.AllocateApart(9, (2 * TestPlant.Capacity) + 1));
        plant.Arena.Trim();
        Assert.Equal([4, 4, 1], plant.Balloon.Batches.Select(batch => batch.Length));
        Assert.Equal((3L, 9L * 512), (plant.Arena.Aerator.Cycles, plant.Arena.Aerator.PagesTreated));
        plant.Check();
    }

    [Fact]
    public void Patch8_blocks_below_the_least_order_are_not_reported()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(8, 3);
        plant.Free(blocks);
        plant.Arena.Trim();
        Assert.DoesNotContain(plant.Balloon.Ranges, range => range.Pages < 512);
        Assert.All(blocks, block => Assert.False(plant.MarksOf(block).Treated));
    }

    [Fact]
    public void Patch8_a_freed_block_that_merged_with_one_that_came_back_is_raw_and_is_treated_next()
    {
        using TestPlant plant = new();
        nint[] halves = plant.Allocate(9, 2);
        plant.Free(halves[0]);
        plant.Balloon.WhileHeld = _ =>
        {
            plant.Balloon.WhileHeld = null;
            plant.Free(halves[1]);
        };
        plant.Arena.Trim();
        Assert.Equal([(halves[0], 512u), (halves[0], 1024u)], plant.Balloon.Ranges.Select(range => (plant.AddressOf(range.Start), range.Pages)));
        Assert.Equal((0, 1), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Fact]
    public void Patch9_isolated_blocks_are_never_reported_and_counted_as_their_mark_says()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 4);
        plant.Free(blocks[..2]);
        plant.Arena.Trim();
        plant.Free(blocks[2..3]);
        foreach (nint block in blocks)
        {
            Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(block).Pageblock));
        }

        plant.Free(blocks[3..]);
        Assert.Equal((2, 2), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal((0ul, 4ul * 512), (plant.Zone.FreePages, plant.Zone.IsolatedPages));
        plant.Arena.Trim();
        plant.PassUntilRested();
        Assert.Equal(blocks[..2], plant.Reported());
        Assert.Equal((2, 2), (plant.Raw(9), plant.Treated(9)));
        plant.Check();

        foreach (nint block in blocks)
        {
            Assert.True(plant.Arena.UnisolatePageblock(plant.PfnOf(block).Pageblock, MigrateType.Unmovable));
        }

        Assert.Equal((2, 2), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal((4ul * 512, 0ul), (plant.Zone.FreePages, plant.Zone.IsolatedPages));
        plant.Arena.Trim();
        Assert.Equal(blocks, plant.Reported().Order());
        plant.Check();
    }

    [Fact]
    public void Patch9_a_block_whose_pageblock_is_isolated_while_the_device_has_it_comes_back_isolated()
    {
        using TestPlant plant = new();
        nint block = plant.AllocateApart(9, 1)[0];
        plant.Free(block);
        plant.Balloon.WhileHeld = _ => Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(block).Pageblock));
        plant.Arena.Trim();
        Assert.Equal([block], plant.List(9, MigrateType.Isolate));
        Assert.True(plant.MarksOf(block).Treated);
        Assert.Equal((0ul, 512ul), (plant.Zone.FreePages, plant.Zone.IsolatedPages));
        plant.Check();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Patch9_a_block_of_two_pageblocks_of_which_one_is_isolated_meanwhile_comes_back_as_two(int isolated)
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10);
        plant.Free(block);
        uint pageblock = plant.PfnOf(block).Pageblock + (uint)isolated;
        plant.Balloon.WhileHeld = _ => Assert.True(plant.Arena.IsolatePageblock(pageblock));
        plant.Arena.Trim();
        Assert.Equal((512ul, 512ul), (plant.Zone.FreePages, plant.Zone.IsolatedPages));
        Assert.Equal([plant.AddressOf(Pfn.FromPageblock(pageblock))], plant.List(9, MigrateType.Isolate));
        Assert.Equal((0, 2), (plant.Raw(9), plant.Treated(9)));
        plant.Check();
        Assert.True(plant.Arena.UnisolatePageblock(pageblock, MigrateType.Unmovable));
        Assert.Equal((0, 1), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Patch9_a_users_block_of_two_pageblocks_is_freed_into_the_isolated_one_and_the_other(int isolated)
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10);
        Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(block).Pageblock + (uint)isolated));
        plant.Free(block);
        Assert.Equal((512ul, 512ul), (plant.Zone.FreePages, plant.Zone.IsolatedPages));
        plant.Check();
    }

    /// <summary>Hears the stages of rounds that run on the thread that made it; other tests' arenas run on others.</summary>
    private sealed class StageListener : EventListener
    {
        private readonly int _thread = Environment.CurrentManagedThreadId;

        public StageListener() => EnableEvents(ArenaEvents.Log, EventLevel.Informational, ArenaEvents.Keywords.Treatment);

        public List<Stage> Seen { get; } = [];

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            if (eventData.EventName == nameof(Stage) && Environment.CurrentManagedThreadId == _thread)
            {
                Seen.Add((Stage)Convert.ToInt32(eventData.Payload![0], System.Globalization.CultureInfo.InvariantCulture));
            }
        }
    }
}
