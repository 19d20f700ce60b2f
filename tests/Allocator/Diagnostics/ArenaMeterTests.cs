using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Metrics;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Aeration;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Diagnostics;

/// <summary>The meter as a collector sees it. Each test has a factory of its own, so that the arenas of other tests are not in its sums.</summary>
[Collection("readers of counters")]
public sealed class ArenaMeterTests : IDisposable
{
    /// <summary>The contract with dashboards: what the documentation says.</summary>
    private static readonly (string Name, string Unit, Type Kind)[] Documented =
    [
        ("reserved", "By", typeof(ObservableUpDownCounter<long>)),
        ("cap", "By", typeof(ObservableUpDownCounter<long>)),
        ("unreached", "By", typeof(ObservableUpDownCounter<long>)),
        ("allocated", "By", typeof(ObservableUpDownCounter<long>)),
        ("cached", "By", typeof(ObservableUpDownCounter<long>)),
        ("raw", "By", typeof(ObservableUpDownCounter<long>)),
        ("treated", "By", typeof(ObservableUpDownCounter<long>)),
        ("in_reactor", "By", typeof(ObservableUpDownCounter<long>)),
        ("isolated", "By", typeof(ObservableUpDownCounter<long>)),
        ("inflated", "By", typeof(ObservableUpDownCounter<long>)),
        ("quarantined", "By", typeof(ObservableUpDownCounter<long>)),
        ("fall_back", "By", typeof(ObservableUpDownCounter<long>)),
        ("metadata", "By", typeof(ObservableUpDownCounter<long>)),
        ("resident", "By", typeof(ObservableUpDownCounter<long>)),
        ("free_blocks", "{block}", typeof(ObservableUpDownCounter<long>)),
        ("cycles", "{cycle}", typeof(ObservableCounter<long>)),
        ("pages_treated", "{page}", typeof(ObservableCounter<long>)),
        ("reports", "{report}", typeof(ObservableCounter<long>)),
        ("lost_batches", "{batch}", typeof(ObservableCounter<long>)),
        ("faults", "{fault}", typeof(ObservableCounter<long>)),
    ];

    private readonly Factory factory = new();

    public void Dispose() => factory.Dispose();

    [Fact]
    public void Instruments_have_the_names_units_and_kinds_that_are_documented()
    {
        using TestPlant plant = Plant();
        using Collector collector = new(factory);
        Assert.Equal(
            Documented.Select(d => ("lowlevel.arena." + d.Name, d.Unit, d.Kind)).Order(),
            collector.Instruments.Select(i => (i.Name, i.Unit!, i.GetType())).Order());
        Assert.All(collector.Instruments, i => Assert.EndsWith(".", i.Description, StringComparison.Ordinal));
        Meter meter = Assert.Single(collector.Instruments.Select(i => i.Meter).Distinct());
        Assert.Equal(("LowLevel.Allocator", "0.1.0"), (meter.Name, meter.Version));
    }

    [Fact]
    public void In_a_still_arena_every_instrument_says_what_the_statistics_say()
    {
        using TestPlant plant = Plant();
        nint[] apart = plant.AllocateApart(9, 5);
        plant.Free(plant.AllocateApart(0, 3));
        plant.Free(apart[..4]);
        plant.PassUntilRested();
        plant.Free(apart[4]);
        Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(apart[0]).Pageblock));
        plant.Arena.Verify();

        using Collector collector = new(factory);
        collector.Collect();
        ArenaStatistics now = plant.Arena.GetStatistics();
        Assert.All(new[] { now.TreatedBytes, now.RawBytes, now.AllocatedBytes, now.IsolatedBytes, now.Cycles }, v => Assert.True(v > 0, now.ToString()));
        (string, long)[] expected =
        [
            ("reserved", now.ReservedBytes), ("cap", now.CapBytes), ("unreached", now.UnreachedBytes), ("allocated", now.AllocatedBytes),
            ("cached", now.ThreadPagesBytes), ("raw", now.RawBytes), ("treated", now.TreatedBytes), ("in_reactor", now.InReactorBytes),
            ("isolated", now.IsolatedBytes), ("inflated", now.InflatedBytes), ("quarantined", now.QuarantinedBytes),
            ("fall_back", now.FallBackBytes), ("metadata", now.MetadataBytes),
            ("resident", now.ResidentBytes), ("cycles", now.Cycles), ("pages_treated", now.PagesTreated), ("reports", now.Reports),
            ("lost_batches", now.LostBatches),
        ];
        Assert.Equal(expected, expected.Select(e => (e.Item1, collector.Single(e.Item1).Value)));

        var blocks = collector.Of("free_blocks").Select(m => ((int)m.Tags["lowlevel.order"]!, m.Tags["lowlevel.migrate_type"], m.Tags["lowlevel.state"], m.Value));
        var counted = now.Free.SelectMany(f => new (int, object?, object?, long)[]
        {
            (f.Order, f.Type.ToString().ToLowerInvariant(), "raw", f.Raw), (f.Order, f.Type.ToString().ToLowerInvariant(), "treated", f.Treated),
        });
        Assert.Equal(counted.Select(c => c.ToString()), blocks.Select(b => b.ToString()));
    }

    /// <summary>allocated + cached + raw + on the way + metadata, and of the isolated what was not dropped.</summary>
    [Fact]
    public void Resident_is_an_upper_bound_that_falls_by_what_is_treated()
    {
        using TestPlant plant = Plant();
        nint[] blocks = plant.Allocate(9, 8);
        long before = plant.Arena.GetStatistics().ResidentBytes;
        Assert.InRange(before, 16 << 20, (16 << 20) + (2 << 20));
        plant.Free(blocks);
        Assert.Equal(before, plant.Arena.GetStatistics().ResidentBytes);
        plant.Arena.Trim();
        ArenaStatistics now = plant.Arena.GetStatistics();
        Assert.Equal(now.MetadataBytes, now.ResidentBytes);
        Assert.True(plant.Arena.IsolatePageblock(plant.PfnOf(blocks[0]).Pageblock));
        Assert.Equal(2 << 20, plant.Arena.GetStatistics().IsolatedBytes);
        Assert.Equal(now.ResidentBytes, plant.Arena.GetStatistics().ResidentBytes);
    }

    [Fact]
    public void Losses_are_told_by_kind()
    {
        using TestPlant plant = Plant();
        using Collector collector = new(factory);
        plant.Balloon.CapacityAfterRestart = TestPlant.Capacity;
        plant.Balloon.Answer = static () => SettleResult.Failed;
        plant.Free(plant.Allocate(9));
        plant.Arena.Trim();
        plant.Balloon.Answer = static () => SettleResult.TimedOut;
        plant.Arena.Trim();
        plant.Balloon.Accepts = false;
        plant.Arena.Trim();
        collector.Collect();
        var kinds = collector.Of("faults").ToDictionary(m => (string)m.Tags["lowlevel.fault"]!, m => m.Value);
        Assert.Equal(7, kinds.Count);
        Assert.Equal((1, 1, 1, 0), (kinds["batch_refused"], kinds["batch_failed"], kinds["batch_timed_out"], kinds["batch_quarantined"]));
        Assert.Equal(3, collector.Single("lost_batches").Value);
        Assert.Equal(2, collector.Single("reports").Value);
    }

    [Fact]
    public void What_the_kernel_refuses_to_drop_is_a_fault_of_the_host()
    {
        FaultyOperatingSystem os = new(LinuxSystem.Instance);
        using PageArena arena = PageArena.CreateOn(os, new PageArenaOptions
        {
            SizeBytes = 64 << 20,
            HugePages = HugePages.Never,
            MeterFactory = factory,
            Aeration = new AerationOptions { Delay = TimeSpan.FromHours(1), OneRangePerCall = true, MinimumOrder = 9 },
        });
        using Collector collector = new(factory);
        FreeOne(arena);
        os.Fail(SystemCall.Advise, Errno.EINVAL);
        arena.Trim();
        os.Heal();
        collector.Collect();
        var kinds = collector.Of("faults").ToDictionary(m => (string)m.Tags["lowlevel.fault"]!, m => m.Value);
        Assert.True(kinds["discard_failed"] >= 1, "no range failed");
        Assert.Equal((1, 0), (kinds["batch_failed"], kinds["device_restarted"]));
    }

    [Fact]
    public void Two_arenas_are_told_apart_by_name_and_number_and_a_disposed_one_disappears()
    {
        using TestPlant first = Plant("first");
        using (TestPlant second = Plant("second"))
        {
            first.Allocate(9);
            second.Allocate(9, 3);
            using Collector both = new(factory);
            both.Collect();
            Assert.Equal(
                [("first", first.Arena.Id, 2L << 20), ("second", second.Arena.Id, 6L << 20)],
                both.Of("allocated").Select(m => ((string)m.Tags["lowlevel.arena.name"]!, (int)m.Tags["lowlevel.arena.id"]!, m.Value)));
        }

        using Collector one = new(factory);
        one.Collect();
        Assert.Equal("first", Assert.Single(one.Of("allocated")).Tags["lowlevel.arena.name"]);
        Assert.All(one.Instruments, i => Assert.All(one.Of(i.Name["lowlevel.arena.".Length..]), m => Assert.Equal("first", m.Tags["lowlevel.arena.name"])));
    }

    [Fact]
    public void An_arena_without_a_factory_is_on_the_meter_that_all_of_them_share()
    {
        using TestPlant mine = new(o => o.Name = "of-the-shared-meter");
        using TestPlant others = Plant("of-a-factory");
        mine.Allocate(9);
        using Collector shared = new(scope: null);
        shared.Collect();
        Assert.Equal(2 << 20, shared.Of("allocated").Single(m => (int)m.Tags["lowlevel.arena.id"]! == mine.Arena.Id).Value);
        Assert.DoesNotContain(shared.Of("allocated"), m => (int)m.Tags["lowlevel.arena.id"]! == others.Arena.Id);
        Assert.Equal(Documented.Length, shared.Instruments.Count);
    }

    [Fact]
    public void A_factory_is_asked_for_one_meter_whatever_the_number_of_arenas()
    {
        using TestPlant first = Plant();
        using TestPlant second = Plant();
        Assert.Equal(1, factory.Asked);
    }

    [Fact]
    public void A_factory_that_throws_leaves_no_mapping_behind()
    {
        FaultyOperatingSystem os = new(LinuxSystem.Instance);
        Assert.Throws<NotSupportedException>(() => PageArena.CreateOn(os, new PageArenaOptions { SizeBytes = 64 << 20, MeterFactory = new Refusing() }));
        Assert.Equal(0, os.Count(SystemCall.MapAnonymous));
    }

    [Fact]
    public void Nobody_listens_and_nothing_is_counted_and_a_collection_takes_one_snapshot()
    {
        using TestPlant plant = Plant();
        plant.Free(plant.Allocate(9, 10));
        plant.PassUntilRested();
        Assert.Equal(0, plant.Arena.Face.Snapshots.Taken);
        using (Collector collector = new(factory))
        {
            plant.Free(plant.Allocate(9, 10));
            Assert.Equal(0, plant.Arena.Face.Snapshots.Taken);
            collector.Collect();
            Assert.Equal(1, plant.Arena.Face.Snapshots.Taken);

            // The clock stands still, but who has read a snapshot gets another.
            plant.Allocate(9, 3);
            collector.Collect();
            Assert.Equal(2, plant.Arena.Face.Snapshots.Taken);
            Assert.Equal(6 << 20, collector.Single("allocated").Value);
        }

        plant.Free(plant.Allocate(9, 10));
        Assert.Equal(2, plant.Arena.Face.Snapshots.Taken);
    }

    [Fact]
    public void A_snapshot_is_shared_for_a_tenth_of_a_second_and_no_longer()
    {
        using TestPlant plant = Plant();
        ArenaStatistics first = plant.Arena.Face.Snapshots.Read(0)!;
        plant.Clock.Advance(TimeSpan.FromMilliseconds(100));
        Assert.Same(first, plant.Arena.Face.Snapshots.Read(1));
        plant.Clock.Advance(TimeSpan.FromMilliseconds(1));
        Assert.NotSame(first, plant.Arena.Face.Snapshots.Read(2));
        plant.Arena.Dispose();
        Assert.Null(plant.Arena.Face.Snapshots.Read(3));
    }

    /// <summary>An arena that was forgotten is not kept alive by its meter.</summary>
    [Fact]
    public void A_meter_keeps_no_arena_alive()
    {
        WeakReference arena = Forget();
        for (int i = 0; i < 20 && arena.IsAlive; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.False(arena.IsAlive);
        using Collector collector = new(factory);
        collector.Collect();
        Assert.Empty(collector.Of("allocated"));
    }

    [Fact]
    public void Collecting_while_many_threads_allocate_and_arenas_come_and_go_finds_sums_that_are_possible()
    {
        const int Threads = 6;
        using PageArena arena = PageArena.Create(new PageArenaOptions
        {
            SizeBytes = 256 << 20, CapBytes = 128 << 20, MeterFactory = factory, HugePages = HugePages.Never,
            Aeration = new AerationOptions { Delay = TimeSpan.FromMilliseconds(1), MinimumOrder = 4 },
        });
        using Collector collector = new(factory);
        bool ends = false;
        Thread[] threads = [.. Enumerable.Range(0, Threads).Select(n => new Thread(() => Churn(arena, n, ref ends)) { IsBackground = true })];
        Array.ForEach(threads, t => t.Start());
        for (int i = 0; i < 100; i++)
        {
            using PageArena passing = PageArena.Create(new PageArenaOptions { SizeBytes = 4 << 20, MeterFactory = factory, Name = "passing" });
            collector.Collect();
            (long allocated, long cached) = (Mine("allocated"), Mine("cached"));
            Assert.InRange(allocated, 0, 128 << 20);
            Assert.InRange(cached, 0, 128 << 20);
            Assert.InRange(Mine("reserved"), 256 << 20, 256 << 20);
            Assert.InRange(Mine("raw") + Mine("treated"), 0, 256 << 20);
        }

        Volatile.Write(ref ends, true);
        Array.ForEach(threads, t => Assert.True(t.Join(TimeSpan.FromSeconds(60))));
        arena.Verify();

        long Mine(string name) => collector.Of(name).Single(m => (int)m.Tags["lowlevel.arena.id"]! == arena.Id).Value;
    }

    private static unsafe void Churn(PageArena arena, int seed, ref bool ends)
    {
        Random random = new(seed);
        Queue<nint> live = new();
        while (!Volatile.Read(ref ends))
        {
            if (live.Count < 40 && arena.TryAllocatePages(random.Next(6), out void* block))
            {
                live.Enqueue((nint)block);
            }
            else if (live.TryDequeue(out nint oldest))
            {
                arena.FreePages((void*)oldest);
            }
        }

        foreach (nint left in live)
        {
            arena.FreePages((void*)left);
        }
    }

    private static unsafe void FreeOne(PageArena arena) => arena.FreePages(arena.AllocatePages(9));

    [MethodImpl(MethodImplOptions.NoInlining)]
    [SuppressMessage("Reliability", "CA2000", Justification = "It is to be forgotten.")]
    private WeakReference Forget() => new(PageArena.Create(new PageArenaOptions
    {
        SizeBytes = 4 << 20, MeterFactory = factory, ThreadPages = false, Aeration = new AerationOptions { Enabled = false },
    }));

    private TestPlant Plant(string name = "plant") => new(o => (o.MeterFactory, o.Name) = (factory, name));

    private sealed class Factory : IMeterFactory
    {
        private readonly List<Meter> made = [];

        public int Asked => made.Count;

        public Meter Create(MeterOptions options)
        {
            Meter meter = new(options.Name, options.Version, options.Tags, scope: this);
            made.Add(meter);
            return meter;
        }

        public void Dispose() => made.ForEach(m => m.Dispose());
    }

    private sealed class Refusing : IMeterFactory
    {
        public Meter Create(MeterOptions options) => throw new NotSupportedException("no meters today");

        public void Dispose()
        {
        }
    }

    private sealed record Measured(string Name, long Value, IReadOnlyDictionary<string, object?> Tags);

    /// <summary>Listens to the meter of one scope and keeps what the last collection brought.</summary>
    private sealed class Collector : IDisposable
    {
        private readonly MeterListener listener = new();
        private readonly List<Measured> measured = [];

        public Collector(object? scope)
        {
            listener.InstrumentPublished = (instrument, l) =>
            {
                if (instrument.Meter.Name == ArenaMeter.MeterName && instrument.Meter.Scope == scope)
                {
                    Instruments.Add(instrument);
                    l.EnableMeasurementEvents(instrument);
                }
            };
            listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
                measured.Add(new Measured(instrument.Name, value, tags.ToArray().ToDictionary(t => t.Key, t => t.Value))));
            listener.Start();
        }

        public List<Instrument> Instruments { get; } = [];

        public void Collect()
        {
            measured.Clear();
            listener.RecordObservableInstruments();
        }

        public IEnumerable<Measured> Of(string name) => measured.Where(m => m.Name == "lowlevel.arena." + name);

        public Measured Single(string name) => Assert.Single(Of(name));

        public void Dispose() => listener.Dispose();
    }
}
