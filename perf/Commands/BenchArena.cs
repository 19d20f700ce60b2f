using System;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>The arena that the reactor's and the ring's benchmarks look into: treatment is set up, and nobody but the benchmark
/// works it.</summary>
internal static class BenchArena
{
    public static PageArena Create(
        AerationContext context, int minimumOrder, int capacity = 32, bool oneRangePerCall = false, bool huge = true) => PageArena.Create(new PageArenaOptions
    {
        HugePages = huge ? HugePages.Advise : HugePages.Never,
        SizeBytes = (nuint)16 << 30,
        CapBytes = (nuint)16 << 30,
        MinFreeBytes = 0,
        Zones = 1,
        ThreadPages = false,

        // Within an hour nothing has rested, and no shortage of memory shortens that: the worker finds nothing to do.
        Aeration = new AerationOptions
        {
            Context = context,
            MinimumOrder = minimumOrder,
            Delay = TimeSpan.FromHours(1),
            RespondToPressure = false,
            ReactorCapacity = capacity,
            OneRangePerCall = oneRangePerCall,
        },
    });
}
