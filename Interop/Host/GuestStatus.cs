using System.Collections.Generic;
using LowLevel.Native;

namespace LowLevel.Interop.Host;

/// <summary>How a guest's memory goes back.</summary>
internal enum GuestKind
{
    /// <summary>It shares its memory, and the host punches holes into its files.</summary>
    Memfd,

    /// <summary>It keeps its memory to itself and drops it itself; the host directs and counts.</summary>
    Own,
}

/// <summary>How far a guest has come.</summary>
internal enum GuestState
{
    /// <summary>Connected, no ring runs.</summary>
    Greeting,

    /// <summary>Its rings run.</summary>
    Running,

    /// <summary>Gone.</summary>
    Ended,
}

/// <summary>One guest at one instant; bytes, but pages of 4 KiB where the name says so.</summary>
internal sealed record GuestStatus
{
    public required int Id { get; init; }

    /// <summary>The process at the other end; 0 where unknown.</summary>
    public required int ProcessId { get; init; }

    public required GuestKind Kind { get; init; }

    public required GuestState State { get; init; }

    /// <summary>All its memory: what it says, else what it shares.</summary>
    public ulong TotalBytes { get; init; }

    /// <summary>What it has shared with the host.</summary>
    public ulong SharedBytes { get; init; }

    /// <summary>What the kernel keeps in memory for it.</summary>
    public ulong ResidentBytes { get; init; }

    /// <summary>What it cannot give up now.</summary>
    public ulong UsedBytes { get; init; }

    /// <summary>What it was last allowed.</summary>
    public ulong AllowanceBytes { get; init; }

    /// <summary>What the host wants in its balloon.</summary>
    public uint TargetPages { get; init; }

    /// <summary>What it says is in its balloon.</summary>
    public uint ActualPages { get; init; }

    /// <summary>It was served by another host before, and has not said yet what is in its balloon.</summary>
    public bool IsUncertain { get; init; }

    /// <summary>The target was set by hand and does not follow the budget.</summary>
    public bool IsFixed { get; init; }

    public long Reports { get; init; }

    public long ReportedPages { get; init; }

    /// <summary>Pages that were dropped, by the host or, where it drops for itself, by the guest.</summary>
    public long DroppedPages { get; init; }

    public long InflatedPages { get; init; }

    public long DeflatedPages { get; init; }

    public long FailedDiscards { get; init; }

    /// <summary>What the guest says of itself.</summary>
    public IReadOnlyList<(BalloonStatTag Tag, ulong Value)> Statistics { get; init; } = [];
}

/// <summary>A guest that is gone, and why.</summary>
internal sealed record EndedGuest(int Id, int ProcessId, string Reason, bool WasCutOff);

/// <summary>The host at one instant; bytes.</summary>
internal sealed record HostStatus
{
    public required long Round { get; init; }

    public required ulong BudgetBytes { get; init; }

    /// <summary>What is left of the budget under pressure.</summary>
    public required ulong EffectiveBytes { get; init; }

    public required BudgetRule Rule { get; init; }

    /// <summary>The guests use more than the budget.</summary>
    public required bool IsOver { get; init; }

    /// <summary>Sum of the guests' resident bytes.</summary>
    public required ulong ResidentBytes { get; init; }

    public required IReadOnlyList<GuestStatus> Guests { get; init; }

    /// <summary>The last ones that went, oldest first.</summary>
    public required IReadOnlyList<EndedGuest> Ended { get; init; }
}
