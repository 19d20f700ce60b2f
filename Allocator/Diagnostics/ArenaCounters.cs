using System;
using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Tracing;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The event source's polling counters, made when the first listener comes: bytes of all arenas of the process together, and rates.
/// They read snapshots at the listener's interval and are never asked where it wants no counters.</summary>
internal sealed class ArenaCounters
{
    /// <summary>Behind the readers of the meter, which counts from 0.</summary>
    private const int FirstReader = 32;

    private readonly DiagnosticCounter[] _counters; // a counter lives as long as it is referenced

    /// <summary>Counters of a source.</summary>
    [SuppressMessage("Reliability", "CA2000", Justification = "They live as long as the source, that is, the process.")]
    public ArenaCounters(EventSource source) => _counters =
    [
        new PollingCounter("arenas", source, static () => LivingArenas.All().Count) { DisplayName = "Arenas" },
        Bytes(source, 0, "reserved", "Reserved", static s => s.ReservedBytes),
        Bytes(source, 1, "allocated", "Allocated", static s => s.AllocatedBytes),
        Bytes(source, 2, "cached", "In threads' pages", static s => s.ThreadPagesBytes),
        Bytes(source, 3, "raw", "Free, raw", static s => s.RawBytes),
        Bytes(source, 4, "treated", "Free, treated", static s => s.TreatedBytes),
        Bytes(source, 5, "in-reactor", "In the reactor", static s => s.InReactorBytes),
        Bytes(source, 6, "resident", "Resident, at most", static s => s.ResidentBytes),
        Bytes(source, 7, "metadata", "Metadata", static s => s.MetadataBytes),
        Rate(source, "cycles-per-second", "Batches treated", "", static d => d.Cycles),
        Rate(source, "treated-bytes-per-second", "Treated", "B", static d => d.PagesTreated << PageblockLimits.PageShift),
        Rate(source, "reports-per-second", "Reports to the host", "", static d => d.Reports),
        Rate(source, "lost-batches-per-second", "Batches lost", "", static d => d.LostBatches),
    ];

    /// <summary>How many there are.</summary>
    public int Count => _counters.Length;

    private static PollingCounter Bytes(EventSource source, int reader, string name, string display, Func<ArenaStatistics, long> value) =>
        new(name, source, () => Sum(FirstReader + reader, value)) { DisplayName = display, DisplayUnits = "B" };

    private static IncrementingPollingCounter Rate(EventSource source, string name, string display, string units, Func<ArenaDeeds, long> value) =>
        new(name, source, () => value(LivingArenas.Deeds()))
        {
            DisplayName = display,
            DisplayUnits = units,
            DisplayRateTimeScale = TimeSpan.FromSeconds(1),
        };

    private static double Sum(int reader, Func<ArenaStatistics, long> value)
    {
        double sum = 0;
        foreach (PageArena arena in LivingArenas.All())
        {
            sum += arena.Face.Snapshots.Read(reader) is ArenaStatistics now ? value(now) : 0;
        }

        return sum;
    }
}
