using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Aeration;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Diagnostics;

/// <summary>What a real arena tells while it works. Other tests' arenas are heard too: what is looked at is told on this thread, or
/// in numbers that no other test has.</summary>
[Collection("readers of counters")]
public sealed class ArenaTracingTests
{
    [Fact]
    public void A_refill_and_a_drain_tell_order_type_count_zone_and_time()
    {
        using PageArena arena = Arena();
        using Listener listener = new(ArenaEvents.Keywords.Allocation);
        FreeAfter(arena, 0, MigrateType.Movable, count: 2000);
        Event refill = listener.Mine("Refill").First();
        Assert.Equal((0, (int)MigrateType.Movable, 0), (refill.Int("order"), refill.Int("type"), refill.Int("zone")));
        Assert.True(refill.Int("count") > 0 && refill.Double("microseconds") > 0);
        Event drain = listener.Mine("Drain").First();
        Assert.Equal((0, (int)MigrateType.Movable), (drain.Int("order"), drain.Int("type")));

        // Every block was taken in some batch, but for the first one, which came the long way together with a batch.
        Assert.True(listener.Mine("Refill").Sum(e => e.Int("count")) >= 2000);
        Assert.Single(listener.Mine("SlowAllocation"));
        arena.Verify();
    }

    /// <summary>A listener runs inside the call that tells it, and may do what any caller does.</summary>
    [Fact]
    public void A_listener_that_allocates_and_frees_in_each_event_breaks_nothing()
    {
        using PageArena arena = Arena();
        int calls = 0;
        int depth = 0;
        using (Listener listener = new(EventKeywords.All))
        {
            listener.OnMine = _ =>
            {
                if (depth++ == 0)
                {
                    calls++;
                    FreeAfter(arena, calls % 3, MigrateType.Movable, count: 700);
                }

                depth--;
            };
            FreeAfter(arena, 0, MigrateType.Movable, count: 3000);
            FreeAfter(arena, 1, MigrateType.Movable, count: 1500);
            arena.Trim();
        }

        Assert.True(calls > 20, $"only {calls} events");
        arena.Verify();
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void A_report_is_told_when_it_goes_and_when_it_comes_back_and_the_host_tells_what_it_dropped()
    {
        using PageArena arena = Arena();
        using Listener listener = new(EventKeywords.All);

        // Seven blocks of 2 MiB that do not merge; all of them rest in this thread's pages until Trim.
        nint[] blocks = [.. Enumerable.Range(0, 14).Select(_ => Take(arena, 9))];
        Array.Sort(blocks);
        nint[] apart = [.. blocks.Where(b => (b - First(arena)) / (2 << 20) % 2 == 0)];
        Array.ForEach(apart, b => Free(arena, b));
        arena.Trim();
        Event submitted = listener.Mine("ReportSubmitted").Single();
        Assert.Equal((apart.Length, (long)apart.Length << 21), (submitted.Int("ranges"), submitted.Long("bytes")));
        Event settled = listener.Mine("ReportSettled").Single();
        Assert.Equal((submitted.Int("slot"), apart.Length, (long)apart.Length << 21), (settled.Int("slot"), settled.Int("ranges"), settled.Long("bytes")));
        Assert.Equal((int)SettleResult.TreatedZero, settled.Int("result"));
        Assert.True(settled.Double("microseconds") > 0);

        // On the host's thread; no other test drops 13 or 14 blocks of 2 MiB in so many ranges at once.
        Event dropped = listener.All("Discard").Last(e => e.Int("ranges") == apart.Length && e.Long("bytes") == (long)apart.Length << 21);
        Assert.InRange(dropped.Int("calls"), 1, apart.Length);
        Assert.Equal(0, dropped.Int("errno"));
    }

    [Fact]
    public void A_gate_that_was_revoked_is_told()
    {
        using Listener listener = new(ArenaEvents.Keywords.Ring);
        using PageArena arena = PageArena.CreateOn(
            LinuxSystem.Instance, Options(), new TreatmentSeams(BalloonLink.Create, HasWorker: false));
        Assert.True(arena.Aerator.Link!.Device.TryRevoke(0, TimeSpan.Zero));
        Event revoked = listener.Mine("GateRevoked").Single();
        Assert.Equal((0, true), (revoked.Int("slot"), (bool)revoked.Payload["released"]!));
    }

    [Fact]
    public void A_mixed_pageblock_is_told_when_it_is_divided_split_and_whole_again()
    {
        FaultyOperatingSystem os = new(LinuxSystem.Instance) { HugePageMode = HugePageMode.Always };
        using TestPlant plant = new(
            o =>
            {
                o.HugePages = HugePages.Advise;
                o.Aeration.MinimumOrder = null;
            },
            os: os);
        using Listener listener = new(ArenaEvents.Keywords.Treatment);
        nint[] pages = plant.Allocate(0, 512);
        plant.Free(pages.Skip(1));
        plant.Arena.Trim();
        long pageblock = plant.PfnOf(pages[0]).Pageblock;
        Event divided = listener.Mine("PageblockDivided").Single();
        Assert.Equal((0, pageblock, 1), (divided.Int("zone"), divided.Long("pageblock"), divided.Int("small")));
        Assert.Equal(pageblock, listener.Mine("HugePageSplit").First().Long("pageblock"));
        plant.Free(pages[0]);
        plant.Arena.Trim();

        // It is whole and treated; used once more, it goes as a whole.
        plant.Free(plant.Allocate(9));
        plant.Arena.Trim();
        Event restored = listener.Mine("PageblockRestored").Single();
        Assert.Equal((0, pageblock, 0), (restored.Int("zone"), restored.Long("pageblock"), restored.Int("small")));
    }

    [Fact]
    public void A_wait_for_a_zones_lock_is_told_after_the_lock_was_given_back()
    {
        using ArenaProbe probe = new(8);
        using Listener listener = new(ArenaEvents.Keywords.Allocation);
        uint page = probe.Take(0);
        Event? told = null;
        bool held = true;
        listener.OnWait = e =>
        {
            held = probe.Zone.LooksHeld;
            told = e;
        };
        Thread other = new(() => probe.Free(page)) { IsBackground = true };
        probe.Zone.Enter();
        other.Start();

        // It spins, then yields; after so many turns of the same length here it has yielded.
        SpinWait spin = default;
        while (spin.Count < 2000 || (other.ThreadState & ThreadState.Unstarted) != 0)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }

        probe.Zone.ExitQuietly();
        Assert.True(other.Join(TimeSpan.FromSeconds(60)));
        Assert.NotNull(told);
        Assert.False(held, "the listener was called under the lock");
        Assert.Equal((0, 1), (told.Int("zone"), told.Int("waits")));
        Assert.True(told.Double("microseconds") > 0);
    }

    [Fact]
    public void Counters_arrive_at_the_interval_that_was_asked_for_and_rates_never_fall()
    {
        using PageArena arena = Arena();
        nint kept = Take(arena, 10);
        using CounterListener listener = new();
        string[] expected =
        [
            "allocated", "arenas", "cached", "cycles-per-second", "in-reactor", "lost-batches-per-second", "metadata", "raw", "reports-per-second",
            "reserved", "resident", "treated", "treated-bytes-per-second",
        ];
        Assert.True(listener.Complete.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken), $"only {string.Join(", ", listener.Heard.Keys)}");
        Assert.Equal(expected, listener.Heard.Keys.Order(StringComparer.Ordinal));

        // The sum is over the process, whose other arenas only add to it.
        Assert.True(Convert.ToDouble(listener.Heard["allocated"]["Mean"]) >= 4 << 20);
        Assert.True(Convert.ToDouble(listener.Heard["reserved"]["Mean"]) >= (double)arena.SizeBytes);
        Assert.True(Convert.ToDouble(listener.Heard["resident"]["Mean"]) >= 4 << 20);
        Assert.Equal("B", listener.Heard["raw"]["DisplayUnits"]);
        Assert.All(listener.Heard.Where(h => h.Key.EndsWith("second", StringComparison.Ordinal)), h => Assert.True(Convert.ToDouble(h.Value["Increment"]) >= 0));
        Free(arena, kept);
    }

    [Fact]
    public void What_an_arena_has_done_stays_in_the_sum_when_it_ends()
    {
        ArenaDeeds before = LivingArenas.Deeds();
        using (TestPlant plant = new())
        {
            plant.Free(plant.Allocate(9, 8));
            plant.Arena.Trim();
        }

        ArenaDeeds after = LivingArenas.Deeds();
        Assert.True(after.Cycles > before.Cycles && after.PagesTreated >= before.PagesTreated + 4096 && after.Reports > before.Reports);
    }

    private static PageArenaOptions Options() => new()
    {
        SizeBytes = 256 << 20,
        CapBytes = 256 << 20,
        MinFreeBytes = 0,
        Zones = 1,
        HugePages = HugePages.Never,
        Aeration = new AerationOptions { Delay = TimeSpan.FromHours(1), MinimumOrder = 9 },
    };

    private static PageArena Arena() => PageArena.Create(Options());

    private static unsafe nint First(PageArena arena) => (nint)arena.BaseAddress;

    private static unsafe nint Take(PageArena arena, int order) => (nint)arena.AllocatePages(order);

    private static unsafe void Free(PageArena arena, nint block) => arena.FreePages((void*)block);

    private static unsafe void FreeAfter(PageArena arena, int order, MigrateType type, int count)
    {
        Stack<nint> live = new();
        for (int i = 0; i < count; i++)
        {
            live.Push((nint)arena.AllocatePages(order, type));
        }

        while (live.TryPop(out nint block))
        {
            arena.FreePages((void*)block);
        }
    }

    private sealed record Event(string Name, int Thread, IReadOnlyDictionary<string, object?> Payload)
    {
        public int Int(string name) => Convert.ToInt32(Payload[name]);

        public long Long(string name) => Convert.ToInt64(Payload[name]);

        public double Double(string name) => (double)Payload[name]!;
    }

    private sealed class Listener : EventListener
    {
        private readonly ConcurrentQueue<Event> heard = new();
        private readonly int thread = Environment.CurrentManagedThreadId;

        public Listener(EventKeywords keywords) => EnableEvents(ArenaEvents.Log, EventLevel.Verbose, keywords);

        /// <summary>Runs inside each event of the thread that made the listener.</summary>
        public Action<Event>? OnMine { get; set; }

        /// <summary>Runs inside each wait for a zone's lock, on its thread.</summary>
        public Action<Event>? OnWait { get; set; }

        public IEnumerable<Event> Mine(string name) => heard.Where(e => e.Name == name && e.Thread == thread);

        public IEnumerable<Event> All(string name) => heard.Where(e => e.Name == name);

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            if (eventData.EventSource.Name != ArenaEvents.SourceName || eventData.PayloadNames is null)
            {
                return;
            }

            Event told = new(
                eventData.EventName!,
                Environment.CurrentManagedThreadId,
                eventData.PayloadNames.Zip(eventData.Payload!).ToDictionary(p => p.First, p => p.Second));
            heard.Enqueue(told);
            if (told.Name == nameof(ArenaEvents.LockWait))
            {
                OnWait?.Invoke(told);
            }

            if (told.Thread == thread)
            {
                OnMine?.Invoke(told);
            }
        }
    }

    private sealed class CounterListener : EventListener
    {
        private const int Counters = 13;

        public CounterListener() =>
            EnableEvents(ArenaEvents.Log, EventLevel.LogAlways, EventKeywords.None, new Dictionary<string, string?> { ["EventCounterIntervalSec"] = "0.05" });

        public ConcurrentDictionary<string, IDictionary<string, object?>> Heard { get; } = new();

        /// <summary>Set when each counter came twice, so that the last values are of a time after the enabling.</summary>
        public ManualResetEventSlim Complete { get; } = new();

        private int Times { get; set; }

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            if (eventData.EventName == "EventCounters" && eventData.EventSource.Name == ArenaEvents.SourceName
                && eventData.Payload![0] is IDictionary<string, object?> counter)
            {
                Heard[(string)counter["Name"]!] = counter;
                if (++Times >= 2 * Counters)
                {
                    Complete.Set();
                }
            }
        }
    }
}
