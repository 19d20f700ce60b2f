using System.Collections.Generic;
using System.Linq;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>A moment at which nobody works.</summary>
/// <param name="Seconds">On the clock of <see cref="ChildProcess.Now"/>.</param>
/// <param name="LiveBytes">What the threads hold: blocks, and the pages of a heap's objects.</param>
/// <param name="ResidentBytes">RSS of the process.</param>
internal readonly record struct StressSample(double Seconds, long LiveBytes, long ResidentBytes)
{
    public static StressSample Now(StressShared shared, IEnumerable<StressWorker> workers) =>
        new(
            ChildProcess.Now,
            workers.Sum(w => w.HeldBytes) + shared.Handed.Sum(b => b.Bytes) + (shared.Heap?.GetStatistics().AllocatedBytes ?? 0),
            Smaps.StatmResidentBytes());
}
