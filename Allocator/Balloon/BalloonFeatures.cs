using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What the driver accepts of what a device offers (VIRTIO 1.2, 5.5.3 and 6): only bits that it understands.</summary>
internal static class BalloonFeatures
{
    /// <summary>The features to accept. Without <see cref="Feature.Version1"/> among them the device cannot be driven.</summary>
    public static Feature Choose(IVirtioTransport transport, BalloonDriverOptions options)
    {
        Feature offered = transport.OfferedFeatures;
        Feature features = offered & (Feature.Version1 | Feature.MustTellHost | Feature.DeflateOnOom);
        features |= options.UseIndirect ? offered & Feature.IndirectDescriptors : 0;
        features |= options.UseEventIndex ? offered & Feature.EventIndex : 0;
        features |= transport.QueueSizeMax(BalloonLimits.StatsQueue) > 0 ? offered & Feature.StatsQueue : 0;

        // Contents that must not change need a host that knows the value; without one there are no reports (5.5.6.7.1).
        features |= options.PoisonValue is not null ? offered & Feature.PagePoison : 0;
        bool contentsAreSafe = options.PoisonValue is null || (features & Feature.PagePoison) != 0;
        bool hasQueue = options.UseReporting && transport.QueueSizeMax(BalloonLimits.ReportingQueue) > 0;
        return features | (contentsAreSafe && hasQueue ? offered & Feature.PageReporting : 0);
    }
}
