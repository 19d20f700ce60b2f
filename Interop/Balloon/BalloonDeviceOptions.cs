using LowLevel.Native;

namespace LowLevel.Interop.Balloon;

/// <summary>What feature bit 5 means on the reporting queue.</summary>
internal enum ReportDialect
{
    /// <summary>The standard's: a chain of device-writable buffers that are the free pages (VIRTIO 1.2, 5.5.6.7).</summary>
    Standard,

    /// <summary>The 2019 series' own: one device-readable buffer of <see cref="Hint"/>. Not on any wire.</summary>
    Hints,
}

/// <summary>What a balloon device offers.</summary>
internal sealed record BalloonDeviceOptions
{
    /// <summary>Feature bits.</summary>
    public Feature Offered { get; init; } = Feature.StatsQueue | Feature.DeflateOnOom | Feature.PagePoison | Feature.PageReporting
        | Feature.IndirectDescriptors | Feature.EventIndex | Feature.Version1;

    /// <summary>Largest size of each queue.</summary>
    public int QueueSizeMax { get; init; } = 1024;

    /// <summary>The dialect of the reporting queue.</summary>
    public ReportDialect Dialect { get; init; }

    /// <summary>The most blocks of one report that the device acts on.</summary>
    public int ReportCapacity { get; init; } = 1024;

    /// <summary>Until a target is set, the driver's own word is the target: a host that begins anew does not have a driver that kept its balloon
    /// empty it, only to fill it again.</summary>
    public bool AdoptsActual { get; init; }
}

/// <summary>What a balloon device has done since it was made. Reports and refusals are counts, the rest pages of 4 KiB.</summary>
internal readonly record struct BalloonDeviceCounters(
    long Reports, long ReportedPages, long KeptPages, long BadRanges, long DroppedPages, long FailedDiscards, long RefusedDiscards,
    long InflatedPages, long DeflatedPages);
