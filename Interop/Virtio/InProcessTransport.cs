using System;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>Joins a driver and a device of one process: the driver's calls go straight to the device model, its notifications
/// to whoever serves the device.</summary>
internal sealed class InProcessTransport : IVirtioTransport
{
    private readonly VirtioDevice _device;
    private readonly Action<int> _notify;

    /// <summary>Joins them.</summary>
    /// <param name="device">The device model.</param>
    /// <param name="notify">What a notification does; from any thread.</param>
    public InProcessTransport(VirtioDevice device, Action<int> notify)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(notify);
        _device = device;
        _notify = notify;
    }

    /// <inheritdoc/>
    public Feature OfferedFeatures => _device.OfferedFeatures;

    /// <inheritdoc/>
    public DeviceStatus Status => _device.Status;

    /// <inheritdoc/>
    public uint ConfigGeneration => _device.ConfigGeneration;

    /// <inheritdoc/>
    public Action<int>? QueueInterrupt
    {
        get => _device.QueueInterrupt;
        set => _device.QueueInterrupt = value;
    }

    /// <inheritdoc/>
    public Action? ConfigInterrupt
    {
        get => _device.ConfigInterrupt;
        set => _device.ConfigInterrupt = value;
    }

    /// <inheritdoc/>
    public void AddStatus(DeviceStatus bits) => _device.AddStatus(bits);

    /// <inheritdoc/>
    public void AcceptFeatures(Feature features) => _device.AcceptFeatures(features);

    /// <inheritdoc/>
    public int QueueSizeMax(int queue) => _device.QueueSizeMax(queue);

    /// <inheritdoc/>
    public void SetQueue(int queue, int size, VirtqueueAddresses addresses) => _device.SetQueue(queue, size, addresses);

    /// <inheritdoc/>
    public void Notify(int queue) => _notify(queue);

    /// <inheritdoc/>
    public uint ReadConfig(int offset) => _device.ReadConfig(offset);

    /// <inheritdoc/>
    public void WriteConfig(int offset, uint value) => _device.WriteConfig(offset, value);

    /// <inheritdoc/>
    public bool TryReset(in Deadline deadline) => _device.TryReset(deadline);
}
