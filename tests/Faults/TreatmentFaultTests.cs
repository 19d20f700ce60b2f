using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Aeration;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Faults;

/// <summary>Faults of the 2019 series in its aerator: when it starts and stops, whom it starves, what it loses.</summary>
public sealed class TreatmentFaultTests
{
    [Fact]
    public void B09_what_lies_below_the_marks_does_not_stay_raw()
    {
        using TestPlant plant = new(o => o.Zones = 4);
        plant.Free(plant.Allocate(10, TestPlant.StartMark - 1));
        plant.Free(plant.AllocateApart(9, 5));
        plant.Free(plant.AllocateApart(9, 2, MigrateType.Movable));
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.PassUntilRested();
        Assert.Equal((0, 0), (plant.Raw(9), plant.Raw(10)));
        plant.Check();
    }

    [Fact]
    public void B15_a_free_that_reaches_the_mark_under_its_callers_lock_does_not_enter_the_device()
    {
        using TestPlant plant = new();
        Lock callers = new();
        plant.Balloon.OnReact = () =>
        {
            lock (callers)
            {
                // The device needs what the freeing thread holds: the series deadlocked here.
            }
        };
        lock (callers)
        {
            plant.Free(plant.AllocateApart(9, 14));
            Assert.Equal(0, plant.Balloon.Reacts);
        }

        TestPlant.OnAnotherThread(plant.Arena.Trim);
        Assert.Equal(0, plant.Raw(9));
    }

    [Fact]
    public void B20_a_batch_that_cannot_be_published_comes_back_and_treatment_goes_on()
    {
        using TestPlant plant = new();
        plant.Balloon.Accepts = false;
        plant.Free(plant.Allocate(10, 10));
        plant.PassUntilRested();
        Assert.Equal((10, 0ul), (plant.Raw(10), plant.Zone.InReactorPages));
        plant.Balloon.Accepts = true;
        plant.Pass();
        Assert.Equal((0, 10), (plant.Raw(10), plant.Treated(10)));
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Arena.Aerator.Stop();
        plant.Check();
    }

    [Fact]
    public void B21_frees_that_cross_the_mark_while_treatment_stops_and_starts_break_nothing()
    {
        using TestPlant plant = new(o =>
        {
            o.Aeration.Context = AerationContext.FreeingThread;
            o.Aeration.Delay = TimeSpan.Zero;
            o.Aeration.HostTimeout = TimeSpan.FromSeconds(20);
        });
        int running = 2;
        void Churn()
        {
            for (int i = 0; i < 300; i++)
            {
                plant.Free(plant.Allocate(10, 10));
            }

            Interlocked.Decrement(ref running);
        }

        Thread[] threads = [new Thread(Churn) { IsBackground = true }, new Thread(Churn) { IsBackground = true }];
        foreach (Thread thread in threads)
        {
            thread.Start();
        }

        for (int i = 0; i < 200 || Volatile.Read(ref running) != 0; i++)
        {
            plant.Arena.Aerator.Stop();
            Assert.Null(plant.Zone.Listener);
            plant.Arena.Aerator.Start();
            Thread.Yield();
        }

        Assert.All(threads, thread => Assert.True(thread.Join(TimeSpan.FromSeconds(60))));
        plant.Arena.Aerator.Stop();
        Assert.Equal(0, plant.Arena.Aerator.References);
        Assert.Equal((0ul, 0ul), (plant.Zone.InReactorPages, plant.Zone.QuarantinedPages));
        plant.Check();
        plant.Arena.Aerator.Start();
        plant.Arena.Trim();
        Assert.Equal(0, plant.Raw(10));
        plant.Check();
    }

    [Fact]
    public void B21_no_zone_stops_listening_while_somebody_is_in_its_free_path()
    {
        using TestPlant plant = new(o => o.Zones = 2);
        Zone other = plant.Arena.Zones[0];
        Zone busy = plant.Arena.Zones[1];
        busy.Enter(); // as who frees, and is about to ask the listener
        Thread stopping = new(plant.Arena.Aerator.Stop) { IsBackground = true };
        stopping.Start();
        bool begun = SpinWait.SpinUntil(() => other.Listener is null, TimeSpan.FromSeconds(60));
        bool ended = SpinWait.SpinUntil(() => busy.Listener is null, TimeSpan.FromMilliseconds(100)); // never true; to wait longer is to look closer
        busy.Exit();
        Assert.True(stopping.Join(TimeSpan.FromSeconds(60)));
        Assert.Equal((true, false), (begun, ended));
        Assert.Null(busy.Listener);
    }

    [Fact]
    public void B21_stop_ends_although_the_device_never_answers()
    {
        using TestPlant plant = new();
        plant.Balloon.Answer = () => SettleResult.TimedOut;
        plant.Balloon.Revokes = false;
        plant.Free(plant.Allocate(10, TestPlant.StartMark));
        plant.PassUntilRested();
        TestPlant.OnAnotherThread(plant.Arena.Aerator.Stop);
        Assert.False(plant.Arena.Aerator.IsRunning);
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Balloon.Revokes = true;
    }

    [Fact]
    public void B22_a_start_that_failed_does_not_turn_the_next_one_off_and_two_arenas_do_not_compete()
    {
        using FakeBalloon balloon = new() { Capacity = TestPlant.Capacity };
        int calls = 0;
        TreatmentSeams seams = new((_, _) => calls++ < 2 ? throw new OutOfMemoryException("no bitmap") : balloon, HasWorker: false);
        PageArenaOptions options = new() { SizeBytes = 64 << 20, ThreadPages = false, Aeration = { Enabled = false, Clock = new ManualClock() } };
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, options, seams);
        Assert.Throws<OutOfMemoryException>(arena.Aerator.Start);
        Assert.Throws<OutOfMemoryException>(arena.Aerator.Start);
        arena.Aerator.Start();
        arena.Aerator.Start();
        using TestPlant second = new();
        FreeOne(arena);
        FreeOne(second.Arena);
        arena.Trim();
        second.Arena.Trim();
        Assert.Equal((1, 1), (balloon.Ranges.Count, second.Balloon.Ranges.Count));
    }

    [Fact]
    public void B23_nothing_listens_before_the_device_is_ready()
    {
        using FakeBalloon balloon = new();
        bool? listened = null;
        TreatmentSeams seams = new(
            (arena, _) =>
            {
                FreeOne(arena); // in the series this could kick a device that was not ready
                listened = arena.Zones.ToArray().Any(zone => zone.Listener is not null);
                return balloon;
            },
            HasWorker: false);
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, new PageArenaOptions { SizeBytes = 8 << 20 }, seams);
        Assert.False(listened);
        Assert.NotNull(arena.Zones[0].Listener);
        Assert.Equal(0, balloon.Reacts);
    }

    [Fact]
    public unsafe void B26_the_min_watermark_stays_outside_the_reactor()
    {
        using TestPlant plant = new(
            o =>
            {
                o.SizeBytes = 64 << 20;
                o.Aeration.ReactorCapacity = 32;
            },
            balloon: new FakeBalloon());
        const ulong Min = 6144;
        List<nint> all = plant.AllocateAll(10);
        *ZoneData.Watermark(plant.Arena.Memory.ZoneAt(0), (int)WatermarkLevel.Min) = Min; // now: every page was reached under none
        Assert.Equal((16, 0ul), (all.Count, plant.Zone.UnreachedPages));
        ulong least = ulong.MaxValue;
        plant.Balloon.WhileHeld = _ => least = Math.Min(least, plant.Zone.FreePages);
        plant.Free(all);
        plant.Arena.Trim();
        Assert.Equal(Min, least);
        Assert.Equal(all.Count, plant.Treated(10));
        plant.Check();
    }

    [Fact]
    public void B27_every_type_gets_into_the_first_batch_that_has_room()
    {
        using TestPlant plant = new(o => o.Aeration.ReactorCapacity = 9, balloon: new FakeBalloon { Capacity = 9 });
        MigrateType[] types = [MigrateType.Unmovable, MigrateType.Movable, MigrateType.Reclaimable];
        plant.Free(types.SelectMany(type => plant.Allocate(10, 3, type)).ToArray());
        plant.Arena.Trim();
        Assert.Equal(9, plant.Balloon.Batches[0].Length);
    }

    [Fact]
    public void B27_each_fill_begins_with_another_zone_and_type_so_that_a_busy_one_starves_nobody()
    {
        // One block a batch: with more of them even the last type would have its turn early, because the others were soon all treated.
        using TestPlant plant = new(
            o =>
            {
                o.Zones = 2;
                o.Aeration.ReactorCapacity = 1;
            },
            balloon: new FakeBalloon { Capacity = 1 });
        nint[] all = [.. plant.AllocateAll(10)];
        nint[] busy = [.. all.Where(block => plant.Arena.ZoneOf(plant.PfnOf(block)).Number == 0)];
        nint quiet = all.First(block => plant.Arena.ZoneOf(plant.PfnOf(block)).Number == 1);
        plant.Free(busy);
        plant.Free(quiet);
        plant.Arena.Trim();
        int batch = plant.Balloon.Batches.ToList().FindIndex(b => b.Any(range => plant.AddressOf(range.Start) == quiet));
        Assert.InRange(batch, 0, 1);

        plant.Free(all.Except(busy).Where(block => block != quiet));
        plant.Free(plant.AllocateAll(10));
        plant.Arena.Trim();
        nint movable = plant.Allocate(10, MigrateType.Movable);
        nint[] others = [.. plant.AllocateAll(10)];
        int before = plant.Balloon.Batches.Count;
        plant.Free(others);
        plant.Free(movable);
        plant.Arena.Trim();
        int when = plant.Balloon.Batches.Skip(before).ToList().FindIndex(b => b.Any(range => plant.AddressOf(range.Start) == movable));
        Assert.True(others.Length > 2 * 2 * (int)MigrateType.Isolate);
        Assert.InRange(when, 0, 2 * (int)MigrateType.Isolate);
        plant.Check();
    }

    [Fact]
    public void B27_rested_blocks_of_order_nine_are_treated_although_order_ten_never_runs_dry()
    {
        using TestPlant plant = new();
        nint[] small = plant.AllocateApart(9, 3);
        Queue<nint> large = new(plant.Allocate(10, 20));
        plant.Free(small);
        plant.Balloon.WhileHeld = _ =>
        {
            if (large.TryDequeue(out nint block))
            {
                plant.Free(block);
            }
        };
        for (int i = 0; i < 5; i++)
        {
            plant.Free(large.Dequeue());
            plant.Pass();
        }

        Assert.Equal((0, 3), (plant.Raw(9), plant.Treated(9)));
    }

    [Fact]
    public void B28_memory_that_was_free_before_the_start_is_found_without_another_free()
    {
        using TestPlant plant = new(o => o.Aeration.Enabled = false);
        plant.Free(plant.AllocateApart(9, 12));
        plant.Free(plant.Allocate(10, 3));
        plant.Arena.Aerator.Start();
        plant.PassUntilRested();
        Assert.Equal((0, 0), (plant.Raw(9), plant.Raw(10)));
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public void B29_an_arena_whose_page_numbers_would_wrap_is_refused_and_the_largest_ends_at_two_to_the_thirty_two()
    {
        FaultyOperatingSystem os = new();
        ulong largest = 1ul << 44;
        PageArenaOptions tooLarge = new() { SizeBytes = (nuint)largest + 1 };
        ArgumentOutOfRangeException refused = Assert.Throws<ArgumentOutOfRangeException>(() => ArenaPlan.From(tooLarge, os));
        Assert.Contains("16 TiB", refused.Message, StringComparison.Ordinal);
        ArenaPlan plan = ArenaPlan.From(new PageArenaOptions { SizeBytes = (nuint)largest, CapBytes = 1 << 30, Zones = 3 }, os);
        ZoneSpan last = plan.Zones[^1];
        Assert.Equal(1ul << 32, last.Start.Value + last.Pages);
        Assert.Equal(largest - 4096, new Pfn(uint.MaxValue).ByteOffset);
        Assert.Equal(uint.MaxValue, Pfn.FromByteOffset(largest - 1).Value);
    }

    [Fact]
    public void B32_blocks_freed_while_a_pass_runs_do_not_keep_it_going()
    {
        using TestPlant plant = new();
        plant.Free(plant.AllocateApart(9, 4));
        plant.Balloon.WhileHeld = _ => plant.Free(plant.Allocate(10, 5));
        TestPlant.OnAnotherThread(plant.Arena.Trim);
        Assert.InRange(plant.Balloon.Batches.Count, 1, (2 * 4) + 1);
        int before = plant.Balloon.Batches.Count;
        plant.PassUntilRested();
        Assert.InRange(plant.Balloon.Batches.Count - before, 0, 20);
        plant.Check();
    }

    [Fact]
    public void B32_blocks_freed_while_the_freeing_thread_treats_do_not_keep_it_at_that()
    {
        using TestPlant plant = new(o => o.Aeration.Context = AerationContext.FreeingThread);
        nint[] blocks = plant.AllocateApart(9, TestPlant.StartMark);
        plant.Balloon.WhileHeld = _ =>
        {
            if (plant.Balloon.Batches.Count < 50)
            {
                plant.Free(plant.Allocate(10, TestPlant.Capacity + 1)); // the zone is never under its mark
            }
        };
        plant.Free(blocks);
        Assert.InRange(plant.Balloon.Batches.Count, 1, 3);
        plant.Check();
    }

    [Fact]
    public void B32_a_batch_that_merges_with_raw_buddies_when_it_comes_back_does_not_signal_again()
    {
        using TestPlant plant = new(o => o.Aeration.Context = AerationContext.FreeingThread);
        nint[] halves = [.. plant.Allocate(9, 16).Order()];
        int rounds = 0;
        plant.Balloon.WhileHeld = ranges =>
        {
            rounds++;
            nint[] buddies = [.. ranges.Where(range => range.Pages == 512).Select(range => plant.AddressOf(range.Start.Buddy(Order.Pageblock)))];
            plant.Free(buddies.Where(block => plant.TypeBitsOf(block) == PageType.None));
        };
        plant.Free(halves.Where((_, i) => i % 2 == 0).ToArray());
        Assert.InRange(rounds, 1, 4);
        plant.Check();
        plant.Arena.Trim();
        Assert.Equal((0, 8), (plant.Raw(10), plant.Treated(10)));
    }

    [Theory]
    [InlineData(0, 100)]
    [InlineData(0, 10_000)]
    public unsafe void House_rule_3_a_fill_looks_at_a_few_blocks_however_long_the_list_is(int order, int young)
    {
        using TestPlant plant = new(o => o.Aeration.MinimumOrder = 0);
        plant.Free(plant.AllocateApart(order, young + 1));
        List<nint> list = plant.List(order);
        Page* oldest = plant.Arena.Map[plant.PfnOf(list[0])];
        oldest->FreedAt = 0; // rested, at the far end
        Batch batch = new(64); // room for the few parts of other orders that were never used
        plant.Zone.Enter();
        plant.Zone.FillLocked(batch, new Order(order), restedOnly: true);
        plant.Zone.Exit();
        int found = batch.Entries.ToArray().Count(entry => plant.AddressOf(entry.Pfn) == list[0]);
        Assert.Equal(young < 2 * batch.Capacity ? 1 : 0, found);
    }

    private static unsafe void FreeOne(PageArena arena) => arena.FreePages(arena.AllocatePages(10));
}
