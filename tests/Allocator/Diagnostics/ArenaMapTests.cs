using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Aeration;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Properties;
using Xunit;

namespace LowLevel.Tests.Allocator.Diagnostics;

/// <summary>The map says of each pageblock what the struct pages say, page by page, and its sums are the statistics'.</summary>
public sealed class ArenaMapTests
{
    private static readonly PageblockState[] All = Enum.GetValues<PageblockState>();

    [Fact]
    public void An_arena_that_nobody_used_is_never_used_from_end_to_end()
    {
        using ArenaProbe probe = new(64);
        ArenaMap map = probe.Arena.GetMap();
        Assert.Equal((32, 32, 0), (map.Count, map.CountOf(PageblockState.NeverUsed), map.UsedCount));
        Assert.All(Enumerable.Range(0, 32), i => Assert.Equal(default, map[i]));
        AssertSums(probe.Arena);
    }

    [Fact]
    public void Whole_mixed_free_and_never_used_pageblocks_are_told_apart()
    {
        using ArenaProbe probe = new(64);
        uint whole = probe.Take(9);
        uint[] small = probe.TakeMany(512, 0);
        probe.Free(small.Where((_, i) => i % 4 == 3));
        uint large = probe.Take(10);
        probe.Free(large);
        ArenaMap map = probe.Arena.GetMap();
        Assert.Equal(new PageblockCell(PageblockState.Allocated, 512, 0, 0, 0, 0, 0, 0), map[(int)(whole >> 9)]);
        Assert.Equal(new PageblockCell(PageblockState.Mixed, 384, 0, 128, 0, 0, 0, 0), map[(int)(small[0] >> 9)]);
        Assert.Equal(new PageblockCell(PageblockState.Raw, 0, 0, 512, 0, 0, 0, 0), map[(int)(large >> 9)]);
        Assert.Equal(new PageblockCell(PageblockState.Raw, 0, 0, 512, 0, 0, 0, 0), map[(int)(large >> 9) + 1]);
        Assert.Equal(PageblockState.NeverUsed, map[31].State);
        AssertSums(probe.Arena);
    }

    [Fact]
    public void What_the_device_has_is_in_the_reactor_and_what_it_dropped_is_treated()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.Allocate(10, 3);
        plant.Free(blocks[1]);
        PageblockState[]? meanwhile = null;
        plant.Balloon.WhileHeld = _ => meanwhile = States(plant.Arena.GetMap(), 6);
        plant.PassUntilRested();
        int first = (int)plant.PfnOf(blocks[1]).Pageblock;
        Assert.Equal(2, meanwhile!.Count(s => s == PageblockState.InReactor));
        Assert.Equal((PageblockState.InReactor, PageblockState.InReactor), (meanwhile![first], meanwhile[first + 1]));
        ArenaMap after = plant.Arena.GetMap();
        Assert.Equal(new PageblockCell(PageblockState.Treated, 0, 0, 0, 512, 0, 0, 0), after[first]);
        Assert.Equal(new PageblockCell(PageblockState.Treated, 0, 0, 0, 512, 0, 0, 0), after[first + 1]);
        Assert.Equal(4, after.CountOf(PageblockState.Allocated));
        AssertSums(plant.Arena);
    }

    [Fact]
    public void What_a_lost_device_may_still_touch_is_quarantined()
    {
        using TestPlant plant = new();
        nint block = plant.Allocate(9);
        plant.Free(block);
        plant.Balloon.Answer = () => SettleResult.TimedOut;
        plant.Balloon.Revokes = false;
        plant.PassUntilRested();
        Assert.Contains(PageblockState.Quarantined, States(plant.Arena.GetMap(), 2));
        AssertSums(plant.Arena);
        plant.Balloon.Revokes = true;
    }

    [Fact]
    public void What_a_thread_keeps_for_itself_is_not_the_user_s()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        uint block = probe.Take(9);
        probe.Free(block);
        Assert.Equal(new PageblockCell(PageblockState.Cached, 0, 512, 0, 0, 0, 0, 0), probe.Arena.GetMap()[(int)(block >> 9)]);
        AssertSums(probe.Arena);
    }

    [Fact]
    public void What_the_balloon_holds_is_inflated()
    {
        using ArenaProbe probe = new(16);
        ArenaBalloonPages pages = new(probe.Arena, poison: null);
        Assert.True(pages.TryTake(Order.Pageblock, out Pfn head));
        Assert.Equal(new PageblockCell(PageblockState.Inflated, 0, 0, 0, 0, 0, 512, 0), probe.Arena.GetMap()[(int)head.Pageblock]);
        Assert.Equal(2 << 20, probe.Arena.GetMap().InflatedBytes);
        pages.Give(head, Order.Pageblock);
        Assert.Equal(0, probe.Arena.GetMap().CountOf(PageblockState.Inflated));
    }

    [Fact]
    public void An_isolated_pageblock_is_isolated_whatever_is_in_it()
    {
        using ArenaProbe probe = new(16);
        uint[] blocks = probe.TakeMany(4, 7);
        probe.Free(blocks[2]);
        Assert.True(probe.Arena.IsolatePageblock(blocks[0] >> 9));
        ArenaMap map = probe.Arena.GetMap();
        Assert.Equal(new PageblockCell(PageblockState.Isolated, 384, 0, 128, 0, 0, 0, 0), map[(int)(blocks[0] >> 9)]);
        Assert.Equal((128L << 12, 384L << 12), (map.IsolatedBytes, map.TakenBytes));
        AssertSums(probe.Arena);
    }

    /// <summary>Ranges have one head for many pageblocks and may end in the middle of one.</summary>
    [Theory]
    [InlineData(1025)]
    [InlineData(1536)]
    [InlineData(2048)]
    [InlineData(40_000)]
    public void A_range_is_allocated_in_each_pageblock_that_it_reaches(int pages)
    {
        using ArenaProbe probe = new(256);
        uint before = probe.Take(0);
        uint range = probe.TakeRange((ulong)pages);
        uint behind = probe.Take(0);
        AssertEqualsModel(probe.Arena);
        ArenaMap map = probe.Arena.GetMap();
        Assert.Equal((pages + 2L) << 12, map.TakenBytes);
        Assert.Equal(PageblockState.Allocated, map[(int)(range >> 9) + (pages / 512) - 1].State);
        probe.Free(range);
        AssertEqualsModel(probe.Arena);
        probe.Free(before, behind);
        AssertSums(probe.Arena);
    }

    [Fact]
    public void The_map_of_a_still_arena_equals_the_struct_pages_after_any_mix_of_operations()
    {
        for (int seed = 1; seed <= 12; seed++)
        {
            using ArenaProbe probe = new(128, o =>
            {
                o.Zones = 1 + (seed % 3);
                o.ThreadPages = seed % 2 == 0;
                o.Aeration.Enabled = true;
                o.Aeration.MinimumOrder = seed % 4;
                o.Aeration.Delay = TimeSpan.Zero;
            });
            Random random = new(seed);
            List<uint> live = [];
            for (int step = 0; step < 600; step++)
            {
                if (live.Count > 0 && random.Next(5) < 2)
                {
                    int at = random.Next(live.Count);
                    probe.Free(live[at]);
                    live.RemoveAt(at);
                }
                else if (random.Next(40) == 0)
                {
                    probe.Arena.Aerator.Pass();
                }
                else if (probe.TryTake(random.Next(10), (MigrateType)random.Next(3)) is uint block)
                {
                    live.Add(block);
                }
            }

            AssertEqualsModel(probe.Arena);
            AssertSums(probe.Arena);
            probe.Free(live);
            AssertEqualsModel(probe.Arena);
            AssertSums(probe.Arena);
            Assert.Equal(0, probe.Arena.GetMap().TakenBytes);
        }
    }

    [Fact]
    public void Each_zone_has_its_own_unused_end()
    {
        using ArenaProbe probe = new(64, o => o.Zones = 2);
        uint second = probe.Arena.Zones[1].Start.Pageblock;
        probe.Take(9);
        ArenaMap one = probe.Arena.GetMap();
        Assert.Equal(32, one.Count);
        Assert.Equal(2, one.UsedCount);
        for (int i = 0; i < 15; i++)
        {
            probe.Take(9);
        }

        probe.Take(10);
        ArenaMap both = probe.Arena.GetMap();
        Assert.Equal(PageblockState.Allocated, both[(int)second].State);
        Assert.Equal(18, both.UsedCount);
        AssertEqualsModel(probe.Arena);
    }

    [Fact]
    public void A_large_arena_s_map_costs_what_was_used_and_makes_nothing_resident()
    {
        using ArenaProbe probe = new(256 << 10);
        probe.TakeRange(64 << 10);
        uint block = probe.Take(3);
        long before = probe.Arena.GetStatistics().MetadataBytes;
        ArenaMap map = probe.Arena.GetMap();
        Assert.Equal((131072, 130), (map.Count, map.UsedCount));
        Assert.Equal(before, probe.Arena.GetStatistics().MetadataBytes);
        Assert.Equal(PageblockState.Mixed, map[(int)(block >> 9)].State);
        Assert.Equal(default, map[131071]);
        Assert.Equal(130, map.Sections[0].Cells.Count);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(8)]
    [InlineData(int.MaxValue)]
    public void A_pageblock_that_is_not_there_is_refused_with_what_is_allowed(int pageblock)
    {
        using ArenaProbe probe = new(16);
        ArenaMap map = probe.Arena.GetMap();
        ArgumentOutOfRangeException refused = Assert.Throws<ArgumentOutOfRangeException>(() => map[pageblock]);
        Assert.Equal(("pageblock", (object)pageblock), (refused.ParamName, refused.ActualValue));
        Assert.Contains("allowed: 0 to 7", refused.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => map.CountOf((PageblockState)10));
        Assert.Throws<ArgumentOutOfRangeException>(() => map.CountOf((PageblockState)(-1)));
    }

    [Fact]
    public void A_disposed_arena_has_no_map()
    {
        ArenaProbe probe = new(16);
        probe.Dispose();
        Assert.Throws<ObjectDisposedException>(probe.Arena.GetMap);
    }

    /// <summary>Blocks and ranges come and go behind, at and before the walk: each cell has its 512 pages, and nothing is lost.</summary>
    [Fact]
    public void While_threads_allocate_and_free_and_treatment_runs_every_cell_is_whole()
    {
        DroppingBalloon? balloon = null;
        using PageArena arena = PageArena.CreateOn(
            LinuxSystem.Instance,
            new PageArenaOptions
            {
                SizeBytes = 128 << 20,
                CapBytes = 128 << 20,
                Zones = 2,
                HugePages = HugePages.Never,
                Aeration = new AerationOptions { MinimumOrder = 2, ReactorCapacity = 4, Delay = TimeSpan.Zero },
            },
            new TreatmentSeams((a, o) => balloon = new DroppingBalloon(a, o.Aeration.ReactorCapacity) { InFlightMax = 2 }, HasWorker: true));
        int working = 3;
        int maps = 0;
        Exception? failure = null;
        Thread[] threads = [.. Enumerable.Range(1, 3).Select(seed => new Thread(() =>
        {
            try
            {
                Mutate(arena, new Random(seed), () => Volatile.Read(ref maps) > 2);
            }
            catch (Exception e)
            {
                failure = e;
            }

            Interlocked.Decrement(ref working);
        }) { IsBackground = true })];
        Array.ForEach(threads, t => t.Start());
        do
        {
            ArenaMap map = arena.GetMap();
            Volatile.Write(ref maps, maps + 1);
            Assert.Equal(64, map.Count);
            Assert.All(Enumerable.Range(0, map.Count), i => Assert.Equal(map[i].State == PageblockState.NeverUsed ? 0 : 512, Pages(map[i])));
        }
        while (Volatile.Read(ref working) > 0);
        Array.ForEach(threads, t => t.Join());
        Assert.Null(failure);
        Assert.Null(balloon!.Violation);
        arena.Trim();
        AssertEqualsModel(arena);
        AssertSums(arena);
        Assert.True(maps > 2 && arena.Aerator.Cycles > 0, $"{maps} maps, {arena.Aerator.Cycles} cycles: nothing was in play");
    }

    /// <summary>Goes on until somebody has looked, however slowly.</summary>
    private static unsafe void Mutate(PageArena arena, Random random, Func<bool> wasSeen)
    {
        List<nint> live = [];
        for (int step = 0; step < 4000 || !wasSeen(); step++)
        {
            if (live.Count > 24 || (live.Count > 0 && random.Next(2) == 0))
            {
                int at = random.Next(live.Count);
                arena.FreePages((void*)live[at]);
                live.RemoveAt(at);
            }
            else if (random.Next(20) == 0)
            {
                try
                {
                    live.Add((nint)arena.AllocateRange((nuint)random.Next(5 << 20, 12 << 20)));
                }
                catch (OutOfMemoryException)
                {
                    // A small arena: the others hold what is missing.
                }
            }
            else if (arena.TryAllocatePages(random.Next(9), out void* block, (MigrateType)random.Next(3)))
            {
                live.Add((nint)block);
            }
        }

        live.ForEach(block => arena.FreePages((void*)block));
    }

    private static PageblockState[] States(ArenaMap map, int count) => [.. Enumerable.Range(0, count).Select(i => map[i].State)];

    private static int Pages(PageblockCell c) => c.TakenPages + c.CachedPages + c.RawPages + c.TreatedPages + c.InReactorPages + c.InflatedPages + c.QuarantinedPages;

    private static void AssertSums(PageArena arena)
    {
        ArenaMap map = arena.GetMap();
        ArenaStatistics s = arena.GetStatistics();
        Assert.Equal((s.AllocatedBytes, s.ThreadPagesBytes), (map.TakenBytes, map.CachedBytes));
        Assert.Equal(s.RawBytes, map.RawBytes);
        Assert.Equal(s.TreatedBytes, map.TreatedBytes);
        Assert.Equal(s.InReactorBytes, map.InReactorBytes);
        Assert.Equal(s.IsolatedBytes, map.IsolatedBytes);
        Assert.Equal(s.InflatedBytes, map.InflatedBytes);
        Assert.Equal(s.QuarantinedBytes, map.QuarantinedBytes);
        Assert.Equal(s.UnreachedBytes, map.NeverUsedBytes);
        Assert.Equal(s.ReservedBytes, (long)map.Count << 21);
        Assert.Equal(map.Count, All.Sum(map.CountOf));
    }

    /// <summary>The model: one owner for each page, written down from head to head as Verify's walk does, and then counted per pageblock.</summary>
    private static unsafe void AssertEqualsModel(PageArena arena)
    {
        ArenaMap map = arena.GetMap();
        int at = 0;
        foreach (Zone zone in arena.Zones)
        {
            List<char> owners = [];
            for (ulong pfn = zone.Start.Value; pfn < zone.ReachedPfn;)
            {
                Page* head = arena.Map[new Pfn((uint)pfn)];
                uint pages = PageMap.PagesOf(head);
                PageType type = head->PageType;
                char owner = type.IsBuddy ? (type.IsTreated ? 't' : 'r') : type.IsInReactor ? 'x' : type.IsQuarantined ? 'q'
                    : type.IsInflated ? 'i' : type.IsCached ? 'c' : 'u';
                owners.AddRange(Enumerable.Repeat(owner, (int)pages));
                pfn += pages;
            }

            for (ulong block = 0; block < zone.SpannedPages / 512; block++, at++)
            {
                char[] mine = [.. owners.Skip((int)block * 512).Take(512)];
                int Of(char owner) => mine.Count(o => o == owner);
                PageblockCell cell = map[at];
                Assert.Equal((Of('u'), Of('c'), Of('r'), Of('t')), (cell.TakenPages, cell.CachedPages, cell.RawPages, cell.TreatedPages));
                Assert.Equal((Of('x'), Of('i'), Of('q')), (cell.InReactorPages, cell.InflatedPages, cell.QuarantinedPages));
                PageblockState expected = mine.Length == 0 ? PageblockState.NeverUsed : mine.Distinct().Count() > 1 ? PageblockState.Mixed
                    : mine[0] switch
                    {
                        'u' => PageblockState.Allocated,
                        'c' => PageblockState.Cached,
                        'r' => PageblockState.Raw,
                        't' => PageblockState.Treated,
                        'x' => PageblockState.InReactor,
                        'q' => PageblockState.Quarantined,
                        _ => PageblockState.Inflated,
                    };
                Assert.Equal(expected, cell.State);
            }
        }

        Assert.Equal(map.Count, at);
    }
}
