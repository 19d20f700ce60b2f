using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.Linq;
using System.Reflection;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Diagnostics;

/// <summary>The listener hears the whole process, other tests' arenas included: each test writes values that no arena would.</summary>
public sealed class ArenaEventsTests
{
    private const int Odd = -7_654_321;

    /// <summary>Each event with a call and the payload that must arrive. One row for each [Event] (checked below).</summary>
    private static readonly (string Name, Action Write, object[] Payload)[] Events =
    [
        ("ArenaCreated", () => ArenaEvents.Log.ArenaCreated(Odd, long.MaxValue, 3), [Odd, long.MaxValue, 3]),
        ("ArenaDisposed", () => ArenaEvents.Log.ArenaDisposed(Odd, 4096L), [Odd, 4096L]),
        ("Stage", () => ArenaEvents.Log.Stage(Stage.Decant, Odd, 9, long.MinValue, 32, 1.5), [(int)Stage.Decant, Odd, 9, long.MinValue, 32, 1.5]),
        ("BatchLost", () => ArenaEvents.Log.BatchLost("timed out, \u00fc\u4e2d"), ["timed out, \u00fc\u4e2d"]),
        ("HighWaterMark", () => ArenaEvents.Log.HighWaterMark(Odd, 10, 96L), [Odd, 10, 96L]),
        ("Refill", () => ArenaEvents.Log.Refill(Odd, 63, MigrateType.Movable, 2, 0.5), [Odd, 63, (int)MigrateType.Movable, 2, 0.5]),
        ("Drain", () => ArenaEvents.Log.Drain(Odd, 31, MigrateType.Reclaimable, 3, 1.25), [Odd, 31, (int)MigrateType.Reclaimable, 3, 1.25]),
        ("AllocationFailed", () => ArenaEvents.Log.AllocationFailed(Odd, MigrateType.Reclaimable, 8192L), [Odd, (int)MigrateType.Reclaimable, 8192L]),
        ("DeviceReset", ArenaEvents.Log.DeviceReset, []),
        ("Inflate", () => ArenaEvents.Log.Inflate(-5L), [-5L]),
        ("PressureChanged", () => ArenaEvents.Log.PressureChanged(Odd, MemoryPressure.High, 95L, 100L, 12.5), [Odd, (int)MemoryPressure.High, 95L, 100L, 12.5]),
        ("Deflate", () => ArenaEvents.Log.Deflate(-6L), [-6L]),
        ("MemoryLeaked", () => ArenaEvents.Log.MemoryLeaked(-7L, "at \u00fc.F()"), [-7L, "at \u00fc.F()"]),
        ("ReturnedTwice", () => ArenaEvents.Log.ReturnedTwice(-8L, "at \u4e2d.G()"), [-8L, "at \u4e2d.G()"]),
        ("SlowAllocation", () => ArenaEvents.Log.SlowAllocation(Odd, MigrateType.Movable, 1, 2.5), [Odd, (int)MigrateType.Movable, 1, 2.5]),
        ("LockWait", () => ArenaEvents.Log.LockWait(Odd, 2, 1e6), [Odd, 2, 1e6]),
        ("ReportSubmitted", () => ArenaEvents.Log.ReportSubmitted(Odd, 256, 1L << 40), [Odd, 256, 1L << 40]),
        ("ReportSettled", () => ArenaEvents.Log.ReportSettled(Odd, 5, 6L, SettleResult.TreatedZero, 7.5), [Odd, 5, 6L, (int)SettleResult.TreatedZero, 7.5]),
        ("GateRevoked", () => ArenaEvents.Log.GateRevoked(Odd, true), [Odd, true]),
        ("Discard", () => ArenaEvents.Log.Discard(Odd, long.MaxValue, 8, 22, 9.5), [Odd, long.MaxValue, 8, 22, 9.5]),
        ("PageblockDivided", () => ArenaEvents.Log.PageblockDivided(Odd, 1L << 32, 4), [Odd, 1L << 32, 4]),
        ("HugePageSplit", () => ArenaEvents.Log.HugePageSplit(-8L), [-8L]),
        ("PageblockRestored", () => ArenaEvents.Log.PageblockRestored(Odd, 12L, 0), [Odd, 12L, 0]),
    ];

    private static IEnumerable<(MethodInfo Method, EventAttribute Event)> Declared =>
        typeof(ArenaEvents).GetMethods(BindingFlags.Instance | BindingFlags.Public | BindingFlags.DeclaredOnly)
            .Select(m => (m, m.GetCustomAttribute<EventAttribute>()!))
            .Where(m => m.Item2 is not null);

    [Fact]
    public void Every_event_arrives_with_its_level_keywords_and_payload()
    {
        using var listener = new Listener(EventLevel.Verbose, EventKeywords.All);
        foreach ((string name, Action write, object[] payload) in Events)
        {
            write();
            EventAttribute declared = Declared.Single(d => d.Method.Name == name).Event;
            EventWrittenEventArgs? seen = listener.Find(name, payload);
            Assert.True(seen is not null, $"{name}({string.Join(", ", payload)}) did not arrive; heard: {listener}");
            Assert.Equal(declared.EventId, seen.EventId);
            Assert.Equal(typeof(ArenaEvents).GetMethod(name)!.GetParameters().Select(p => p.Name), seen.PayloadNames);
            Assert.Equal(declared.Level, seen.Level);
            Assert.Equal(declared.Keywords, seen.Keywords & (EventKeywords)0xff);
        }

        Assert.Empty(listener.Errors);
    }

    [Fact]
    public void No_event_is_left_out_of_these_tests() =>
        Assert.Equal(Declared.Select(d => d.Method.Name).Order(StringComparer.Ordinal), Events.Select(e => e.Name).Order(StringComparer.Ordinal));

    [Fact]
    public void The_manifest_is_well_formed_and_the_source_built_without_error()
    {
        Assert.Null(ArenaEvents.Log.ConstructionException);
        Assert.Equal("LowLevel-Allocator", ArenaEvents.Log.Name);
        string? manifest = EventSource.GenerateManifest(typeof(ArenaEvents), "unused", EventManifestOptions.Strict);
        Assert.Contains("<valueMap name=\"Stage\"", manifest, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_bit_that_an_event_names_is_a_keyword_and_every_event_has_one()
    {
        EventKeywords known = typeof(ArenaEvents.Keywords).GetFields().Aggregate(EventKeywords.None, (all, f) => all | (EventKeywords)f.GetRawConstantValue()!);
        Assert.All(Declared, d => Assert.True(d.Event.Keywords != 0 && (d.Event.Keywords & ~known) == 0, $"{d.Method.Name}: {d.Event.Keywords}"));
        Assert.Equal(known, Declared.Aggregate(EventKeywords.None, (all, d) => all | d.Event.Keywords));
    }

    /// <summary>Recorded traces are read by these numbers: each has one event, whatever becomes of others.</summary>
    [Fact]
    public void Numbers_of_events_are_what_they_were()
    {
        string[] expected =
        [
            "ArenaCreated", "ArenaDisposed", "Stage", "BatchLost", "HighWaterMark", "Refill", "Drain", "AllocationFailed", "DeviceReset", "Inflate", "Deflate",
            "SlowAllocation", "LockWait", "ReportSubmitted", "ReportSettled", "GateRevoked", "Discard", "PageblockDivided", "HugePageSplit", "PageblockRestored",
            "PressureChanged", "MemoryLeaked", "ReturnedTwice",
        ];
        Assert.Equal(expected.Select((name, i) => (i + 1, name)), Declared.Select(d => (d.Event.EventId, d.Method.Name)).Order());
    }

    [Theory]
    [InlineData(EventLevel.Informational, "Stage", true)]
    [InlineData(EventLevel.Informational, "HighWaterMark", false)]
    [InlineData(EventLevel.Verbose, "HighWaterMark", true)]
    [InlineData(EventLevel.Verbose, "Inflate", false)]
    public void A_listener_hears_only_the_level_and_the_keywords_that_it_asked_for(EventLevel level, string name, bool heard)
    {
        using var listener = new Listener(level, ArenaEvents.Keywords.Treatment);
        (_, Action write, object[] payload) = Events.Single(e => e.Name == name);
        write();
        Assert.Equal(heard, listener.Find(name, payload) is not null);
    }

    /// <summary>Keeps what arrives from the one source. The enabling happens in the constructor, not in OnEventSourceCreated,
    /// which the base constructor calls before the fields of this class are set.</summary>
    private sealed class Listener : EventListener
    {
        private readonly ConcurrentQueue<EventWrittenEventArgs> heard = new();

        public Listener(EventLevel level, EventKeywords keywords) => EnableEvents(ArenaEvents.Log, level, keywords);

        /// <summary>Event 0 is how a broken source says so.</summary>
        public IEnumerable<string> Errors => heard.Where(e => e.EventId == 0).Select(e => string.Join(", ", e.Payload ?? new([])));

        public EventWrittenEventArgs? Find(string name, object[] payload) =>
            heard.FirstOrDefault(e => e.EventName == name && e.Payload!.Select(Plain).SequenceEqual(payload));

        public override string ToString() => string.Join("; ", heard.Select(e => $"{e.EventName}({string.Join(", ", e.Payload!)})"));

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            if (eventData.EventSource.Name == ArenaEvents.SourceName)
            {
                heard.Enqueue(eventData);
            }
        }

        /// <summary>Enumerations arrive as their numbers, of whatever width.</summary>
        private static object? Plain(object? value) => value is byte or sbyte or short or ushort or uint or Enum
            ? Convert.ToInt32(value, System.Globalization.CultureInfo.InvariantCulture)
            : value;
    }
}
