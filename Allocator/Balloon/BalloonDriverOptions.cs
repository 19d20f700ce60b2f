using System;
using System.Numerics;
using LowLevel.Interop.Balloon;

namespace LowLevel.Allocator;

/// <summary>What the balloon driver asks of its device.</summary>
internal sealed record BalloonDriverOptions
{
    /// <summary>The most blocks that a report can have, whatever is asked for.</summary>
    public const int CapacityMax = 1024;

    /// <summary>The most reports that can be with the device at one time.</summary>
    public const int ReportsInFlightMax = 8;

    private const int QueueSizeLeast = 16;

    /// <summary>Blocks per report, 1 to 1024; queue and device may allow less.</summary>
    public int WantedCapacity { get; init; } = 32;

    /// <summary>Blocks per report that the device is known to allow.</summary>
    public int HostCapacity { get; init; } = CapacityMax;

    /// <summary>Reports that may be with the device at one time, 1 to <see cref="ReportsInFlightMax"/>; where a report takes as many
    /// descriptors as it has blocks (no INDIRECT_DESC), the queue may allow less.</summary>
    public int ReportsInFlight { get; init; } = 1;

    /// <summary>Payload of the reporting queue.</summary>
    public ReportDialect Dialect { get; init; }

    /// <summary>The value that free pages hold and must keep; null where their contents do not matter. Then PAGE_POISON is not
    /// accepted; with a value, reporting is accepted only together with it.</summary>
    public uint? PoisonValue { get; init; }

    /// <summary>Accept PAGE_REPORTING.</summary>
    public bool UseReporting { get; init; } = true;

    /// <summary>Accept INDIRECT_DESC.</summary>
    public bool UseIndirect { get; init; } = true;

    /// <summary>Accept EVENT_IDX.</summary>
    public bool UseEventIndex { get; init; } = true;

    /// <summary>Descriptors of the reporting queue, a power of two; null: the least that holds a full report. The device may have
    /// fewer.</summary>
    public int? QueueSize { get; init; }

    /// <summary>How long a reset may take when the device is started.</summary>
    public TimeSpan ResetTimeout { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The clock of timeouts.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary><see cref="QueueSize"/>, or its default.</summary>
    public int EffectiveQueueSize => QueueSize ?? Math.Max(QueueSizeLeast, (int)BitOperations.RoundUpToPowerOf2((uint)WantedCapacity));
}
