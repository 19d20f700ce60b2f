using System.Collections.Generic;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Free blocks of one order and type.</summary>
/// <param name="Order">0 to 10.</param>
/// <param name="Type">The list they are on.</param>
/// <param name="Raw">Blocks that the host has not been told of.</param>
/// <param name="Treated">Blocks that it has.</param>
public readonly record struct FreeBlocks(int Order, MigrateType Type, long Raw, long Treated);

/// <summary>A snapshot of an arena, in bytes unless said otherwise. Taken without stopping anybody: each figure is true of an
/// instant, their sum only at rest.</summary>
public sealed record ArenaStatistics
{
    /// <summary>Address space reserved.</summary>
    public required long ReservedBytes { get; init; }

    /// <summary>The bound on taken bytes.</summary>
    public required long CapBytes { get; init; }

    /// <summary>Never used yet: on no list, not resident.</summary>
    public required long UnreachedBytes { get; init; }

    /// <summary>In the user's hands.</summary>
    public required long AllocatedBytes { get; init; }

    /// <summary>In threads' pages.</summary>
    public required long ThreadPagesBytes { get; init; }

    /// <summary>Free and not told to the host.</summary>
    public required long RawBytes { get; init; }

    /// <summary>Free and told to the host.</summary>
    public required long TreatedBytes { get; init; }

    /// <summary>In the reactor.</summary>
    public required long InReactorBytes { get; init; }

    /// <summary>Free in isolated pageblocks.</summary>
    public required long IsolatedBytes { get; init; }

    /// <summary>Held by the balloon.</summary>
    public required long InflatedBytes { get; init; }

    /// <summary>Held back because a lost device may still touch it.</summary>
    public required long QuarantinedBytes { get; init; }

    /// <summary>Freed, and held back by debug mode (<see cref="PageArenaOptions.DebugChecks"/>); not in <see cref="AllocatedBytes"/>.</summary>
    public required long HeldBackBytes { get; init; }

    /// <summary>Outside the arena and its cap, under <see cref="CapPolicy.FallBack"/>; not in <see cref="AllocatedBytes"/>.</summary>
    public required long FallBackBytes { get; init; }

    /// <summary>The blocks and ranges that these bytes are.</summary>
    public required long FallBackBlocks { get; init; }

    /// <summary>Resident bookkeeping: struct pages, zones, pageblocks (as the kernel says, mincore) and the threads' pages.
    /// <see cref="PageArena.Verify"/> reads every struct page, which makes the kernel map a page of zeros and call it resident.</summary>
    public required long MetadataBytes { get; init; }

    /// <summary>What may be resident: allocated, in threads' pages, raw, in the reactor, quarantined, held back, and the metadata. From the arena's own
    /// bookkeeping, so it costs nothing, and an upper bound: memory that was handed out and not touched yet counts.</summary>
    public required long ResidentBytes { get; init; }

    /// <summary>Batches that came back treated.</summary>
    public required long Cycles { get; init; }

    /// <summary>Pages (4 KiB) treated so far.</summary>
    public required long PagesTreated { get; init; }

    /// <summary>Batches that the host was told of.</summary>
    public required long Reports { get; init; }

    /// <summary>Batches that came back raw: refused, failed or lost.</summary>
    public required long LostBatches { get; init; }

    /// <summary>Free blocks by order and type; only pairs that have any.</summary>
    public required IReadOnlyList<FreeBlocks> Free { get; init; }
}
