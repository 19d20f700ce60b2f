using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The meter "LowLevel.Allocator". All instruments are observable: they read a snapshot when somebody collects, and nothing is
/// counted for them before, so an arena that nobody watches pays nothing. One meter for each <see cref="IMeterFactory"/>, one for
/// all arenas without; each measurement is tagged with its arena's name and number. Any thread.</summary>
internal sealed class ArenaMeter
{
    /// <summary>The name that listeners enable.</summary>
    public const string MeterName = "LowLevel.Allocator";

    private static readonly Lazy<ArenaMeter> s_shared = new(static () => new ArenaMeter(new Meter(Options)));
    private static readonly ConditionalWeakTable<IMeterFactory, ArenaMeter> s_made = [];

    private readonly Meter _meter;
    private int _readers;

    private ArenaMeter(Meter meter)
    {
        _meter = meter;
        Bytes("reserved", "Address space reserved.", static s => s.ReservedBytes);
        Bytes("cap", "The bound on bytes taken.", static s => s.CapBytes);
        Bytes("unreached", "Never used yet.", static s => s.UnreachedBytes);
        Bytes("allocated", "In the user's hands.", static s => s.AllocatedBytes);
        Bytes("cached", "Free, kept by threads for themselves.", static s => s.ThreadPagesBytes);
        Bytes("raw", "Free, and the host was not told.", static s => s.RawBytes);
        Bytes("treated", "Free, and given back to the host.", static s => s.TreatedBytes);
        Bytes("in_reactor", "On the way to the host.", static s => s.InReactorBytes);
        Bytes("isolated", "Free in isolated pageblocks.", static s => s.IsolatedBytes);
        Bytes("inflated", "Held by the balloon.", static s => s.InflatedBytes);
        Bytes("quarantined", "Held back because a lost device may still touch it.", static s => s.QuarantinedBytes);
        Bytes("fall_back", "Outside the arena and its cap, where the policy at the cap is to fall back.", static s => s.FallBackBytes);
        Bytes("metadata", "Resident bookkeeping.", static s => s.MetadataBytes);
        Bytes("resident", "Upper bound of resident memory, from the arena's own bookkeeping.", static s => s.ResidentBytes);
        Count("cycles", "{cycle}", "Batches treated.", static s => s.Cycles);
        Count("pages_treated", "{page}", "Pages of 4 KiB treated.", static s => s.PagesTreated);
        Count("reports", "{report}", "Batches told to the host.", static s => s.Reports);
        Count("lost_batches", "{batch}", "Batches that did not come back treated.", static s => s.LostBatches);
        int free = _readers++;
        _meter.CreateObservableUpDownCounter("lowlevel.arena.free_blocks", () => FreeBlocks(free), "{block}", "Free blocks by order, type and state.");
        _meter.CreateObservableCounter("lowlevel.arena.faults", Faults, "{fault}", "Faults of the host by kind.");
    }

    private static MeterOptions Options => new(MeterName) { Version = typeof(ArenaMeter).Assembly.GetName().Version?.ToString(3) };

    /// <summary>The meter of a factory, made at its first arena; null: the one that all arenas without a factory share.</summary>
    public static ArenaMeter For(IMeterFactory? factory) =>
        factory is null ? s_shared.Value : s_made.GetValue(factory, static made => new ArenaMeter(made.Create(Options)));

    private void Bytes(string name, string description, Func<ArenaStatistics, long> value)
    {
        int reader = _readers++;
        _meter.CreateObservableUpDownCounter("lowlevel.arena." + name, () => Each(reader, value), "By", description);
    }

    private void Count(string name, string unit, string description, Func<ArenaStatistics, long> value)
    {
        int reader = _readers++;
        _meter.CreateObservableCounter("lowlevel.arena." + name, () => Each(reader, value), unit, description);
    }

    private List<Measurement<long>> Each(int reader, Func<ArenaStatistics, long> value)
    {
        List<Measurement<long>> all = [];
        foreach (PageArena arena in Mine())
        {
            if (arena.Face.Snapshots.Read(reader) is ArenaStatistics now)
            {
                all.Add(new Measurement<long>(value(now), arena.Face.MeterTags));
            }
        }

        return all;
    }

    private List<Measurement<long>> FreeBlocks(int reader)
    {
        List<Measurement<long>> all = [];
        foreach (PageArena arena in Mine())
        {
            foreach (FreeBlocks free in arena.Face.Snapshots.Read(reader)?.Free ?? [])
            {
                all.Add(new Measurement<long>(free.Raw, TagsOf(arena, free, "raw")));
                all.Add(new Measurement<long>(free.Treated, TagsOf(arena, free, "treated")));
            }
        }

        return all;
    }

    private List<Measurement<long>> Faults()
    {
        List<Measurement<long>> all = [];
        foreach (PageArena arena in Mine())
        {
            if (arena.IsDisposed)
            {
                continue;
            }

            foreach ((string kind, long count) in arena.Aerator.HostFaults.ByKind)
            {
                all.Add(new Measurement<long>(count, [.. arena.Face.MeterTags, new("lowlevel.fault", kind)]));
            }
        }

        return all;
    }

    private List<PageArena> Mine()
    {
        List<PageArena> living = LivingArenas.All();
        living.RemoveAll(arena => arena.Face.Meter != this);
        return living;
    }

    private static KeyValuePair<string, object?>[] TagsOf(PageArena arena, FreeBlocks free, string state) =>
    [
        .. arena.Face.MeterTags,
        new("lowlevel.order", free.Order),
        new("lowlevel.migrate_type", NameOf(free.Type)),
        new("lowlevel.state", state),
    ];

    /// <summary>Values of tags are lower case with underscores, as those of the framework's own meters.</summary>
    private static string NameOf(MigrateType type) => type switch
    {
        MigrateType.Unmovable => "unmovable",
        MigrateType.Movable => "movable",
        MigrateType.Reclaimable => "reclaimable",
        MigrateType.HighAtomic => "high_atomic",
        MigrateType.Isolate => "isolate",
        _ => "cma",
    };
}
