using System.Collections.Generic;

namespace LowLevel.Allocator;

/// <summary>What of an arena is seen from outside: one field of the arena, so that the fields of its fast path stay where a short instruction
/// reaches them.</summary>
internal sealed class ArenaFace
{
    /// <summary>The face of an arena; fails where the factory of its meter does.</summary>
    public ArenaFace(PageArena arena, int id, PageArenaOptions options)
    {
        Name = options.Name;
        Meter = ArenaMeter.For(options.MeterFactory);
        MeterTags = [new("lowlevel.arena.name", Name), new("lowlevel.arena.id", id)];
        Snapshots = new ArenaSnapshots(arena, options.Aeration.Clock);
    }

    /// <summary>The name that smaps and the meter show.</summary>
    public string Name { get; }

    /// <summary>The meter that shows this arena.</summary>
    public ArenaMeter Meter { get; }

    /// <summary>What each of its measurements is tagged with.</summary>
    public KeyValuePair<string, object?>[] MeterTags { get; }

    /// <summary>Where instruments read.</summary>
    public ArenaSnapshots Snapshots { get; }
}
