using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Aeration;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Faults;

/// <summary>Faults of the 2019 series in its free lists and counters. Each test would hang, fail an assertion or find a wrong count
/// with the series' rules; its name begins with the fault's number in FAULTS of ARCHITECTURE.md.</summary>
public sealed class FreeListFaultTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(11)]
    public void B01_raw_pages_on_the_isolate_list_do_not_hang_the_fill(int reachable)
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 1 + reachable);
        plant.Free(blocks[0]);
        Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(blocks[0]).Pageblock));
        plant.Free(blocks[1..]);
        plant.Free(plant.Allocate(10, TestPlant.StartMark));
        TestPlant.OnAnotherThread(plant.Arena.Trim);
        TestPlant.OnAnotherThread(plant.PassUntilRested);
        Assert.Equal((1, reachable), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Theory]
    [MemberData(nameof(OrdersBelowMax))]
    public void B02_pages_freed_while_isolated_do_not_wrap_a_counter(int order)
    {
        using TestPlant plant = new();
        nint[] blocks = [.. plant.Allocate(order, 8).Order()];
        Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(blocks[0]).Pageblock));
        foreach (nint block in blocks)
        {
            plant.Free(block); // merges with isolated buddies: the series removed as raw what it had added as treated
            plant.Check();
        }

        Assert.True(plant.Arena.UnisolatePageblock(plant.PfnOf(blocks[0]).Pageblock, MigrateType.Unmovable));
        Assert.All(Enumerable.Range(0, 11), o => Assert.InRange(plant.Raw(o), 0, 64));
        Assert.All(Enumerable.Range(0, 11), o => Assert.Equal(0, plant.Treated(o)));
        TestPlant.OnAnotherThread(plant.Arena.Trim);
        plant.Check();
    }

    public static TheoryData<int> OrdersBelowMax => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

    [Fact]
    public void B03_a_block_that_was_freed_while_isolated_and_moved_back_is_seen_and_treated()
    {
        using TestPlant plant = new();
        nint block = plant.AllocateApart(9, 1)[0];
        Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(block).Pageblock));
        plant.Free(block);
        Assert.Equal((1, 0), (plant.Raw(9), plant.Treated(9)));
        Assert.True(plant.Arena.UnisolatePageblock(plant.PfnOf(block).Pageblock, MigrateType.Movable));
        Assert.Equal((1, 0), (plant.Raw(9), plant.Treated(9)));
        plant.Arena.Trim();
        Assert.Equal([block], plant.Reported());
        Assert.Equal([block], plant.List(9, MigrateType.Movable));
        plant.Check();
    }

    [Fact]
    public void B04_a_block_whose_list_and_pageblock_differ_comes_back_while_another_is_isolated()
    {
        using TestPlant plant = new();
        nint[] halves = [plant.Allocate(9), plant.Allocate(9, MigrateType.Movable)];
        Assert.Equal(plant.PfnOf(halves[0]) + 512, plant.PfnOf(halves[1]));
        nint elsewhere = plant.AllocateApart(9, 1)[0];
        plant.Free(halves); // one block on Movable's list, whose first pageblock is Unmovable
        Assert.Equal([halves[0]], plant.List(10, MigrateType.Movable));
        Assert.Equal(MigrateType.Unmovable, plant.Arena.Map.TypeOf(plant.PfnOf(halves[0])));
        plant.Balloon.WhileHeld = _ => Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(elsewhere).Pageblock));
        plant.Arena.Trim();
        Assert.Equal((0, 1), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void B05_two_treated_halves_become_one_treated_block_with_no_mark_left_inside(int isolated)
    {
        using TestPlant plant = new();
        nint[] halves = plant.Allocate(9, 2);
        uint pageblock = plant.PfnOf(halves[isolated]).Pageblock;
        plant.Free(halves[isolated]);
        plant.Arena.Trim();
        Assert.True(plant.Arena.IsolatePageblock(pageblock));
        plant.Free(halves[1 - isolated]);
        plant.Arena.Trim();
        Assert.True(plant.Arena.UnisolatePageblock(pageblock, MigrateType.Movable));
        Assert.Equal((0, 1), (plant.Raw(10), plant.Treated(10)));
        Assert.Equal(default, plant.TypeBitsOf(halves[1])); // inside: all-zero
        Assert.Equal(halves[0], plant.Allocate(10, MigrateType.Movable));
        plant.Check();
    }

    /// <summary>Both halves in the reactor at one time, in two batches: the first one back finds no buddy, the second finds a treated one.</summary>
    [Theory]
    [InlineData(0, 0)]
    [InlineData(0, 1)]
    [InlineData(1, 0)]
    [InlineData(1, 1)]
    public void B05_two_halves_in_two_batches_become_one_treated_block_whichever_comes_back_first(int firstOut, int firstBack)
    {
        using FakeBalloon balloon = new() { Capacity = 1, InFlightMax = 2 };
        using TestPlant plant = new(o => o.Aeration.ReactorCapacity = 1, balloon: balloon);
        nint[] halves = plant.Allocate(9, 2);
        plant.Free(halves[firstOut]);
        balloon.OnReact = () =>
        {
            // The first half has left its list: the other does not find it.
            balloon.OnReact = null;
            plant.Free(halves[1 - firstOut]);
        };
        balloon.Order = slots => slots[Math.Min(firstBack, slots.Count - 1)];
        balloon.WhileHeld = _ => plant.Arena.Verify();
        plant.Arena.Trim();
        Assert.Equal(2, balloon.InFlightPeak);
        Assert.Equal([halves[firstOut], halves[1 - firstOut]], plant.Reported());
        Assert.Equal((0, 1), (plant.Raw(10), plant.Treated(10)));
        Assert.Equal(halves[0], Assert.Single(plant.List(10)));
        Assert.Equal(default, plant.TypeBitsOf(halves[1])); // inside: all-zero
        Assert.Equal(halves[0], plant.Allocate(10));
        plant.Check();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void B06_the_shuffle_traps_no_raw_block_below_a_treated_one(int seed)
    {
        using TestPlant plant = new(o => o.ShuffleSeed = (ulong)seed);
        nint[] blocks = plant.Allocate(10, 20);
        for (int i = 0; i < blocks.Length; i++)
        {
            plant.Free(blocks[i]);
            if (i % 3 == 2)
            {
                plant.Balloon.Capacity = 1 + (i % 2); // a full batch leaves some behind
                TestPlant.OnAnotherThread(plant.Arena.Trim);
            }

            plant.Check(); // raw* membrane treated*
        }

        TestPlant.OnAnotherThread(plant.Arena.Trim);
        Assert.Equal((0, 20), (plant.Raw(10), plant.Treated(10)));
    }

    [Fact]
    public void B10_moving_a_treated_block_between_lists_keeps_it_treated_and_it_is_not_reported_again()
    {
        using TestPlant plant = new();
        nint block = plant.AllocateApart(9, 1)[0];
        plant.Free(block);
        plant.Arena.Trim();
        uint pageblock = plant.PfnOf(block).Pageblock;
        Assert.True(plant.Arena.IsolatePageblock(pageblock));
        Assert.True(plant.Arena.UnisolatePageblock(pageblock, MigrateType.Unmovable));
        Assert.Equal((0, 1), (plant.Raw(9), plant.Treated(9)));

        nint stolen = plant.Allocate(0, MigrateType.Movable); // another type takes the pageblock over
        Assert.Equal(block, stolen);
        for (int order = 0; order < 9; order++)
        {
            Assert.Equal((0, 1), (plant.Raw(order), plant.Treated(order)));
        }

        plant.Arena.Trim();
        Assert.Equal([block], plant.Reported());
        plant.Check();
    }

    [Fact]
    public void B11_a_page_that_comes_and_goes_in_a_treated_block_costs_no_report_until_it_rests()
    {
        using TestPlant plant = new();
        plant.Free(plant.Allocate(10));
        plant.Arena.Trim();
        for (int i = 0; i < 50; i++)
        {
            nint page = plant.Allocate(0);
            plant.Pass();
            plant.Free(page);
        }

        Assert.Single(plant.Balloon.Ranges);
        plant.PassUntilRested();
        Assert.Equal(2, plant.Balloon.Ranges.Count);
        plant.Check();
    }

    [Fact]
    public void B11_treated_parts_of_a_split_block_stay_below_their_membranes_in_every_order()
    {
        using TestPlant plant = new();
        plant.Free(plant.Allocate(10));
        plant.Arena.Trim();
        nint[] pages = plant.Allocate(0, 5);
        plant.Free(pages[1], pages[3]);
        for (int order = 0; order <= 9; order++)
        {
            List<nint> list = plant.List(order);
            Assert.Equal(list.Select(b => plant.MarksOf(b).Treated), list.Select(b => plant.MarksOf(b).Treated).Order());
        }

        plant.Check();
    }

    [Fact]
    public void B13_a_list_that_is_all_treated_is_not_taken_for_an_empty_one()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.Allocate(10, 4);
        for (int i = 0; i < 4; i++)
        {
            plant.Free(blocks[i]);
            for (int looks = 0; looks < 4; looks++)
            {
                // From the second on at a list with its membrane on top: a membrane that fell to the bottom would be back with the next look.
                plant.Arena.Trim();
                Assert.Equal(blocks[i], plant.MembraneOf(10));
                Assert.Equal(blocks[..(i + 1)].Reverse(), plant.List(10));
            }

            Assert.Equal(blocks[..(i + 1)], plant.Reported());
        }
    }

    [Fact]
    public void B14_pages_that_a_thread_kept_go_to_the_isolate_list_when_their_pageblock_was_isolated_meanwhile()
    {
        using TestPlant plant = new(o => o.ThreadPages = true);
        nint[] pages = plant.Allocate(0, 40);
        uint pageblock = plant.PfnOf(pages[0]).Pageblock;
        Assert.All(pages, page => Assert.Equal(pageblock, plant.PfnOf(page).Pageblock));
        plant.Free(pages);
        Assert.True(plant.Arena.GetStatistics().ThreadPagesBytes >= 40 << 12);
        Assert.True(plant.Arena.IsolatePageblock(pageblock));
        Assert.Equal(0, plant.Arena.GetStatistics().ThreadPagesBytes);
        Assert.Equal(512ul, plant.Zone.IsolatedPages);
        plant.Check();
    }

    [Fact]
    public void B14_isolating_from_inside_the_device_call_that_a_drain_caused_finds_every_count_right()
    {
        using TestPlant plant = new(o =>
        {
            o.ThreadPages = true;
            o.SizeBytes = 256 << 20;
            o.CapBytes = 256 << 20;
            o.Aeration.Context = AerationContext.FreeingThread;
        });
        nint[] blocks = plant.AllocateApart(9, 40); // more than the thread keeps
        uint pageblock = plant.PfnOf(blocks[39]).Pageblock;
        int isolations = 0;
        plant.Balloon.WhileHeld = _ => isolations += plant.Arena.IsolatePageblock(pageblock) ? 1 : 0;
        plant.Free(blocks); // the thread keeps some; its drains cross the mark
        Assert.Equal(1, isolations);
        plant.Check();
        plant.Arena.Trim();
        Assert.Equal(512ul, plant.Zone.IsolatedPages);
        plant.Check();
    }

    [Fact]
    public unsafe void B30_owner_and_marks_are_bits_of_one_word_and_none_is_told_by_comparing_the_whole()
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10);
        plant.Free(block);
        PageType raw = plant.TypeBitsOf(block);
        plant.Balloon.WhileHeld = _ =>
        {
            PageType held = plant.TypeBitsOf(block);
            Assert.True(held.IsInReactor && !held.IsBuddy && !held.IsOffline, held.ToString());
        };
        plant.Arena.Trim();
        PageType treated = plant.TypeBitsOf(block);
        Assert.True(raw.IsBuddy && !raw.IsTreated);
        Assert.True(treated.IsBuddy && treated.IsTreated);
        plant.Check(); // the series' pair of bits equalled neither of the two exported constants
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(42ul)]
    [InlineData(ulong.MaxValue)]
    public void B31_every_random_bit_of_the_shuffle_comes_from_a_full_word(ulong seed)
    {
        Shuffle shuffle = new(seed);
        for (int word = 1; word <= 5; word++)
        {
            // SplitMix64 by its definition: the state after n steps is seed + n * gamma.
            ulong z = unchecked(seed + ((ulong)word * 0x9E3779B97F4A7C15));
            z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
            z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
            z ^= z >> 31;
            for (int bit = 0; bit < 64; bit++)
            {
                Assert.Equal(((z >> bit) & 1) != 0, shuffle.NextBit());
            }
        }
    }
}
