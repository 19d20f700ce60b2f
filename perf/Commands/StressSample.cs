using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>A moment at which nobody works.</summary>
/// <param name="Seconds">On a clock of its own.</param>
/// <param name="LiveBytes">What the threads hold: blocks, and the pages of a heap's objects.</param>
/// <param name="ResidentBytes">RSS of the process.</param>
internal readonly record struct StressSample(double Seconds, long LiveBytes, long ResidentBytes)
{
    private static readonly Stopwatch Watch = Stopwatch.StartNew();

    public static StressSample Now(StressShared shared, IEnumerable<StressWorker> workers) =>
        new(
            Watch.Elapsed.TotalSeconds,
            workers.Sum(w => w.HeldBytes) + shared.Handed.Sum(b => b.Bytes) + (shared.Heap?.GetStatistics().AllocatedBytes ?? 0),
            Smaps.StatmResidentBytes());
}
