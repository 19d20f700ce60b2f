using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>Takes pageblocks out of circulation while others allocate from them and free into them, and puts them back with any
/// type. Nothing public does so; the arena's own ranges do.</summary>
internal sealed class StressIsolation(PageArena arena)
{
    private const int IsolatedMax = 3;

    private readonly List<(Zone Zone, uint Block)> isolated = [];

    /// <summary>Isolates a pageblock, or puts one back, by the dice.</summary>
    public void Step(ref SplitMix random)
    {
        if (isolated.Count == IsolatedMax || (isolated.Count > 0 && random.Below(2) == 0))
        {
            Restore(random.Below(isolated.Count), (MigrateType)random.Below(3));
            return;
        }

        Zone zone = arena.Zones[random.Below(arena.Zones.Length)];
        uint first = zone.Start.Pageblock;
        uint block = first + (uint)random.Below((int)(zone.SpannedPages / PageblockLimits.PagesPerPageblock));
        zone.Enter();
        bool taken = zone.IsolateLocked(block);
        Leave(zone);
        if (taken)
        {
            isolated.Add((zone, block));
        }
    }

    /// <summary>Puts back all that is isolated.</summary>
    public void RestoreAll()
    {
        while (isolated.Count > 0)
        {
            Restore(isolated.Count - 1, MigrateType.Movable);
        }
    }

    private void Restore(int index, MigrateType type)
    {
        (Zone zone, uint block) = isolated[index];
        isolated.RemoveAt(index);
        zone.Enter();
        bool restored = zone.UnisolateLocked(block, type);
        Leave(zone);
        if (!restored)
        {
            throw new MeasurementException($"pageblock {block} of zone {zone.Number} was isolated here and is not any more");
        }
    }

    private void Leave(Zone zone)
    {
        if (zone.Exit())
        {
            arena.Aerator.OnHighWaterMark(zone);
        }
    }
}
