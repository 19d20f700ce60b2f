using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What a pageblock (2 MiB) is, in one word.</summary>
public enum PageblockState
{
    /// <summary>Never used: on no list, not resident, its struct pages not written.</summary>
    NeverUsed,

    /// <summary>Wholly with users.</summary>
    Allocated,

    /// <summary>Wholly in threads' pages: free, kept by threads for their next allocations.</summary>
    Cached,

    /// <summary>Of more than one kind; the shares say of which.</summary>
    Mixed,

    /// <summary>Wholly free, and the host was not told.</summary>
    Raw,

    /// <summary>Wholly free, and the host was told: it has dropped the data.</summary>
    Treated,

    /// <summary>Out of circulation, whatever is in it.</summary>
    Isolated,

    /// <summary>Wholly in the reactor.</summary>
    InReactor,

    /// <summary>Wholly held by the balloon.</summary>
    Inflated,

    /// <summary>Wholly held back because a lost device may still touch it.</summary>
    Quarantined,
}

/// <summary>One pageblock of an <see cref="ArenaMap"/>: 512 pages of 4 KiB, each counted once unless it was never used.</summary>
/// <param name="State">What it is.</param>
/// <param name="TakenPages">With users, 0 to 512.</param>
/// <param name="CachedPages">In threads' pages. (Between users and threads' pages blocks go without a lock: of these two alone, the
/// sum is of one instant.)</param>
/// <param name="RawPages">Free, the host not told.</param>
/// <param name="TreatedPages">Free, the host told.</param>
/// <param name="InReactorPages">In the reactor.</param>
/// <param name="InflatedPages">Held by the balloon.</param>
/// <param name="QuarantinedPages">Held back from a lost device.</param>
public readonly record struct PageblockCell(
    PageblockState State,
    int TakenPages,
    int CachedPages,
    int RawPages,
    int TreatedPages,
    int InReactorPages,
    int InflatedPages,
    int QuarantinedPages)
{
    private const int Whole = PageblockLimits.PagesPerPageblock;

    /// <summary>The cell of these shares, whose state follows from them.</summary>
    internal static PageblockCell Of(bool isolated, int taken, int cached, int raw, int treated, int inReactor, int inflated, int quarantined)
    {
        PageblockState state = isolated ? PageblockState.Isolated
            : taken == Whole ? PageblockState.Allocated
            : cached == Whole ? PageblockState.Cached
            : raw == Whole ? PageblockState.Raw
            : treated == Whole ? PageblockState.Treated
            : inReactor == Whole ? PageblockState.InReactor
            : inflated == Whole ? PageblockState.Inflated
            : quarantined == Whole ? PageblockState.Quarantined
            : PageblockState.Mixed;
        return new PageblockCell(state, taken, cached, raw, treated, inReactor, inflated, quarantined);
    }
}
