using System.Collections.Generic;

namespace LowLevel.Allocator;

/// <summary>Why a batch did not come back treated.</summary>
internal enum BatchLoss
{
    /// <summary>The device did not take it.</summary>
    Refused,

    /// <summary>The device says, or showed, that it did nothing.</summary>
    Failed,

    /// <summary>No answer in time; the blocks are back.</summary>
    TimedOut,

    /// <summary>No answer, and the device may still touch the blocks.</summary>
    Quarantined,
}

/// <summary>The words of the event and of the log.</summary>
internal static class BatchLosses
{
    /// <summary>In words.</summary>
    public static string Text(this BatchLoss loss) => loss switch
    {
        BatchLoss.Refused => "refused",
        BatchLoss.Failed => "failed",
        BatchLoss.TimedOut => "timed out",
        _ => "quarantined",
    };
}

/// <summary>What the host of one arena has failed to do since the start. Batches are told once, by <see cref="BatchLoss"/>.</summary>
internal readonly record struct HostFaults
{
    /// <summary>Batches by loss.</summary>
    public long Refused { get; init; }

    /// <inheritdoc cref="Refused"/>
    public long Failed { get; init; }

    /// <inheritdoc cref="Refused"/>
    public long TimedOut { get; init; }

    /// <inheritdoc cref="Refused"/>
    public long Quarantined { get; init; }

    /// <summary>Ranges that the kernel did not drop, wholly or in part.</summary>
    public long DiscardsFailed { get; init; }

    /// <summary>Ranges that the device wanted to drop and that were not its to drop.</summary>
    public long DiscardsRefused { get; init; }

    /// <summary>How often the device had to be brought back into service.</summary>
    public long Restarts { get; init; }

    /// <summary>All of them, with the names of the meter's tag.</summary>
    public IEnumerable<(string Kind, long Count)> ByKind =>
    [
        ("batch_refused", Refused),
        ("batch_failed", Failed),
        ("batch_timed_out", TimedOut),
        ("batch_quarantined", Quarantined),
        ("discard_failed", DiscardsFailed),
        ("discard_refused", DiscardsRefused),
        ("device_restarted", Restarts),
    ];
}
