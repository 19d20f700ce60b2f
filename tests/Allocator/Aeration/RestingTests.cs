using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>House rule 11: what is freed is treated between 1.0 and 1.25 Delay later, by a clock that the test moves.</summary>
public sealed class RestingTests
{
    private static readonly TimeSpan s_delay = TimeSpan.FromSeconds(1);

    public static TheoryData<int> Phases => [0, 1, 50, 125, 249];

    [Theory]
    [MemberData(nameof(Phases))]
    public void A_freed_block_is_treated_between_one_and_one_and_a_quarter_delay_later(int millisecondsIntoTheEpoch)
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(10);
        plant.Pass();
        TimeSpan treated = FreeAndRunUntilTreated(plant, millisecondsIntoTheEpoch, () => FreeOf(plant, block));
        Assert.InRange(treated, s_delay, s_delay + (s_delay / 4));
        Assert.Equal(s_delay + (s_delay / 4) - TimeSpan.FromMilliseconds(millisecondsIntoTheEpoch), treated);
    }

    [Theory]
    [MemberData(nameof(Phases))]
    public void Time_in_a_threads_pages_counts(int millisecondsIntoTheEpoch)
    {
        using TestPlant plant = new(o => o.ThreadPages = true);
        nint block = plant.Allocate(10);
        plant.Pass();
        TimeSpan treated = FreeAndRunUntilTreated(plant, millisecondsIntoTheEpoch, () => FreeOf(plant, block));
        Assert.InRange(treated, s_delay, s_delay + (s_delay / 4));
    }

    [Theory]
    [MemberData(nameof(Phases))]
    public void Time_in_a_dead_threads_pages_counts_too(int millisecondsIntoTheEpoch)
    {
        using TestPlant plant = new(o => o.ThreadPages = true);
        plant.Pass();
        TimeSpan treated = FreeAndRunUntilTreated(plant, millisecondsIntoTheEpoch, () =>
        {
            nint block = 0;
            TestPlant.OnAnotherThread(() => plant.Free(block = plant.Allocate(10)));
            return block;
        });
        Assert.InRange(treated, s_delay, s_delay + (s_delay / 4));
        plant.Check();
    }

    [Fact]
    public void Being_used_again_begins_the_rest_anew()
    {
        using TestPlant plant = new(o => o.ThreadPages = true);
        nint block = plant.Allocate(10);
        for (int i = 0; i < 20; i++)
        {
            plant.Free(block);
            plant.Pass();
            plant.Pass();
            Assert.Equal(block, plant.Allocate(10));
        }

        Assert.DoesNotContain(block, plant.Reported());
    }

    [Fact]
    public void A_merge_rests_as_long_as_its_younger_half()
    {
        using TestPlant plant = new();
        nint[] halves = plant.Allocate(9, 2);
        plant.Free(halves[0]);
        for (int i = 0; i < 4; i++)
        {
            plant.Pass();
        }

        plant.Free(halves[1]);
        plant.Pass();
        Assert.Empty(plant.Balloon.Batches);
        for (int i = 0; i < 4; i++)
        {
            plant.Pass();
        }

        Assert.Equal(1024u, Assert.Single(plant.Balloon.Ranges).Pages);
    }

    [Fact]
    public void Passes_in_a_burst_do_not_make_a_young_block_look_old()
    {
        using TestPlant plant = new();
        plant.Free(plant.Allocate(10));
        for (int i = 0; i < 100; i++)
        {
            plant.Arena.Aerator.Pass();
        }

        Assert.Empty(plant.Balloon.Batches);
        plant.Clock.Advance(TimeSpan.FromHours(1));
        for (int i = 0; i < 100; i++)
        {
            plant.Arena.Aerator.Pass();
        }

        // One late pass is one epoch, not four: it cannot know when in that hour the block was freed.
        Assert.Empty(plant.Balloon.Batches);
        plant.Check();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(2026)]
    public void Never_earlier_than_the_delay_however_the_passes_come(int seed)
    {
        using TestPlant plant = new(o => o.ThreadPages = seed % 2 == 0);
        Random random = new(seed);
        Dictionary<nint, TimeSpan> freed = [];
        List<nint> held = [.. plant.AllocateApart(9, 12), .. plant.Allocate(10, 8)];
        TimeSpan now = default;
        List<string> early = [];
        plant.Balloon.WhileHeld = ranges =>
        {
            foreach (PageRange range in ranges)
            {
                if (freed.Remove(plant.AddressOf(range.Start), out TimeSpan at) && now - at < s_delay)
                {
                    early.Add($"{range} after {now - at}");
                }
            }
        };
        for (int step = 0; step < 400; step++)
        {
            TimeSpan by = TimeSpan.FromMilliseconds(random.Next(4) switch { 0 => 0, 1 => random.Next(1, 60), 2 => 250, _ => random.Next(200, 900) });
            plant.Clock.Advance(by);
            now += by;
            if (random.Next(3) != 0)
            {
                plant.Arena.Aerator.Pass();
            }

            if (held.Count != 0 && random.Next(3) == 0)
            {
                nint block = held[random.Next(held.Count)];
                held.Remove(block);
                freed[block] = now;
                plant.Free(block);
            }
            else if (random.Next(4) == 0 && plant.Arena.GetStatistics().AllocatedBytes < 60 << 20)
            {
                nint block = plant.Allocate(random.Next(9, 11));
                freed.Remove(block);
                held.Add(block);
            }
        }

        Assert.Empty(early);
        Assert.NotEmpty(plant.Balloon.Batches);
        plant.Check();
    }

    [Fact]
    public void Delay_zero_acts_at_the_high_water_mark_and_treats_all()
    {
        using TestPlant plant = new(o =>
        {
            o.Aeration.Delay = TimeSpan.Zero;
            o.Aeration.Context = AerationContext.FreeingThread;
        });
        nint[] blocks = plant.AllocateApart(9, 8);
        plant.Free(blocks[..7]);
        Assert.Empty(plant.Balloon.Batches);
        plant.Free(blocks[7]);
        Assert.Equal([4, 4], plant.Balloon.Batches.Select(batch => batch.Length));
    }

    [Fact]
    public void With_delay_zero_a_timed_pass_treats_what_lies_below_the_mark()
    {
        using TestPlant plant = new(o => o.Aeration.Delay = TimeSpan.Zero);
        plant.Free(plant.Allocate(10));
        plant.Arena.Aerator.Pass();
        Assert.Single(plant.Balloon.Ranges);
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void Nothing_of_a_treated_order_stays_raw_for_ever(int least)
    {
        using TestPlant plant = new(o => o.Aeration.MinimumOrder = least);
        for (int order = 0; order <= 10; order++)
        {
            plant.Free(plant.AllocateApart(order, 3, (MigrateType)(order % 3)));
        }

        plant.PassUntilRested();
        for (int order = 0; order <= 10; order++)
        {
            bool treated = order >= least;
            Assert.True(plant.Raw(order) == 0 || !treated, $"order {order}: {plant.Raw(order)} raw");
            Assert.True(plant.Treated(order) == 0 || treated, $"order {order}: {plant.Treated(order)} treated");
        }

        Assert.True(plant.Treated(least) >= 3);
        plant.Check();
    }

    public static TheoryData<int> Orders => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

    [Fact]
    public void A_rested_block_is_treated_on_time_although_many_young_ones_are_likely_to_merge()
    {
        // Young blocks that are likely to merge would stand at the tail, below the rested one, in every pass.
        using TestPlant plant = new(o => o.Aeration.MinimumOrder = 0);
        nint[] pages = [.. plant.Allocate(0, 2048).Order()];
        plant.Free(pages[1021]); // its buddy and its parent's buddy stay in use
        Queue<nint> young = new();
        for (int quad = 0; quad < 1000; quad += 4)
        {
            plant.Free(pages[quad + 2], pages[quad + 3]);
            young.Enqueue(pages[quad]);
        }

        int passes = 0;
        while (passes++ < 5)
        {
            for (int i = 0; i < 40; i++)
            {
                plant.Free(young.Dequeue());
            }

            plant.Pass();
        }

        Assert.True(plant.MarksOf(pages[1021]).Treated);
        plant.Check();
    }

    private static nint FreeOf(TestPlant plant, nint block)
    {
        plant.Free(block);
        return block;
    }

    /// <summary>Frees at some time after a pass, runs punctual passes, and says when the device was told.</summary>
    private static TimeSpan FreeAndRunUntilTreated(TestPlant plant, int phase, Func<nint> free)
    {
        plant.Clock.Advance(TimeSpan.FromMilliseconds(phase));
        nint block = free();
        TimeSpan waited = -TimeSpan.FromMilliseconds(phase);
        plant.Clock.Advance(-TimeSpan.FromMilliseconds(phase)); // the passes go on as they were timed
        for (int passes = 1; passes <= 20; passes++)
        {
            plant.Pass();
            waited += s_delay / 4;
            if (plant.Reported().Contains(block))
            {
                return waited;
            }
        }

        throw new InvalidOperationException("never treated");
    }
}
