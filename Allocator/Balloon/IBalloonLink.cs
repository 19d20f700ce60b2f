using System;

namespace LowLevel.Allocator;

/// <summary>What the aerator knows of the balloon: the device that treats, and the pages that the host holds.</summary>
internal interface IBalloonLink
{
    /// <summary>Takes the reactor's batches.</summary>
    ITreatmentDevice Device { get; }

    /// <summary>Pages that the balloon holds.</summary>
    ulong InflatedPages { get; }

    /// <summary>What host and device have failed to do since the start; batches are the reactor's to count. Any thread.</summary>
    HostFaults Faults => default;

    /// <summary>Whether there is a host. Any thread.</summary>
    bool IsHostConnected => true;

    /// <summary>Why there is none; null where there is one, or none was tried. Any thread.</summary>
    string? HostFailure => null;

    /// <summary>Called, from whatever thread, when the host wants something; cheap.</summary>
    Action? WorkArrived { get; set; }

    /// <summary>Does what the host wants: inflates or deflates a bounded number of blocks, answers the statistics queue. Treatment lock held.</summary>
    void Service();

    /// <summary>Takes pages back from the host; how many came. Any thread.</summary>
    uint Deflate(uint pages);

    /// <summary>Resets the device and ends its thread within a bound. False: it may still touch the arena.</summary>
    bool TryClose(TimeSpan bound);
}
