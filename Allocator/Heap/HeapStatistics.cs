namespace LowLevel.Allocator;

/// <summary>A snapshot of a heap, in bytes unless said otherwise. Taken without stopping anybody: each figure is true of an instant,
/// their sum only at rest.</summary>
public sealed record HeapStatistics
{
    /// <summary>In users' hands, as <see cref="NativeHeap.UsableSize"/> tells it.</summary>
    public required long AllocatedBytes { get; init; }

    /// <summary>Blocks above 32 KiB, given out whole; a part of that but in debug mode, where it is whole pages all the same.</summary>
    public required long WholeBytes { get; init; }

    /// <summary>Free objects in threads' hands.</summary>
    public required long SheavesBytes { get; init; }

    /// <summary>Free objects in slabs.</summary>
    public required long FreeBytes { get; init; }

    /// <summary>Freed objects that debug mode (<see cref="PageArenaOptions.DebugChecks"/>) holds back.</summary>
    public required long HeldBackBytes { get; init; }

    /// <summary>All slabs.</summary>
    public required long SlabsBytes { get; init; }

    /// <summary>Number of slabs.</summary>
    public required long Slabs { get; init; }

    /// <summary>Number of slabs with free objects.</summary>
    public required long PartialSlabs { get; init; }

    /// <summary>Resident bookkeeping: the threads' sheaves and the size classes. (Struct pages are the arena's.)</summary>
    public required long MetadataBytes { get; init; }
}
