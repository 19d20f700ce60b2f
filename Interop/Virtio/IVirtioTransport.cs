using System;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>A virtio device as its driver reaches it (VIRTIO 1.2, sections 2 and 4 without a bus). Except for
/// <see cref="Notify"/> and the configuration words, calls come from one thread at a time. The interrupts arrive on threads of
/// the transport, or inside <see cref="Notify"/>; they must be cheap, may be spurious, and never call back into the transport.</summary>
internal interface IVirtioTransport
{
    /// <summary>What the device offers.</summary>
    Feature OfferedFeatures { get; }

    /// <summary>The device status (2.1).</summary>
    DeviceStatus Status { get; }

    /// <summary>Changes whenever the device changes its configuration; read before and after, it tells a torn read (2.5.1).</summary>
    uint ConfigGeneration { get; }

    /// <summary>A queue used a buffer; the argument is the queue's number. Set once, before DRIVER_OK.</summary>
    Action<int>? QueueInterrupt { get; set; }

    /// <summary>The configuration, or NEEDS_RESET, has changed. Set once, before DRIVER_OK.</summary>
    Action? ConfigInterrupt { get; set; }

    /// <summary>Adds status bits; only a reset takes them away. The device may refuse FEATURES_OK: read it back.</summary>
    void AddStatus(DeviceStatus bits);

    /// <summary>What the driver understands of the offer; before FEATURES_OK.</summary>
    void AcceptFeatures(Feature features);

    /// <summary>The largest size of a queue; 0 where the device has no such queue.</summary>
    int QueueSizeMax(int queue);

    /// <summary>Sets up a queue; between FEATURES_OK and DRIVER_OK.</summary>
    void SetQueue(int queue, int size, VirtqueueAddresses addresses);

    /// <summary>Tells the device that a queue has buffers; after DRIVER_OK.</summary>
    void Notify(int queue);

    /// <summary>A 32-bit word of the configuration space; 0 outside it.</summary>
    uint ReadConfig(int offset);

    /// <summary>Writes a 32-bit word of the configuration space; what the driver may not write stays as it is.</summary>
    void WriteConfig(int offset, uint value);

    /// <summary>Resets the device and waits until it has acknowledged: it then uses no ring and no buffer. False: not yet.</summary>
    bool TryReset(in Deadline deadline);
}
