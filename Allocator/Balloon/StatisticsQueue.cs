using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The statistics queue (queue 2): one buffer that the device keeps until it wants news, and then gives back to be
/// filled again (VIRTIO 1.2, 5.5.6.3). The caller serialises.</summary>
internal sealed class StatisticsQueue
{
    private readonly BalloonControl _control;
    private readonly IBalloonPages _pages;
    private DriverQueue? _queue;

    /// <summary>A queue that is not set up yet.</summary>
    public StatisticsQueue(BalloonControl control, IBalloonPages pages)
    {
        _control = control;
        _pages = pages;
    }

    /// <summary>The device broke the ring's rules.</summary>
    public DriverQueueFault Fault => _queue?.Fault ?? DriverQueueFault.None;

    /// <summary>Takes over a fresh queue after negotiation; null: the device wants no statistics.</summary>
    public void SetUp(DriverQueue? queue) => _queue = queue;

    /// <summary>Sends statistics if the device waits for them. True: the device must be notified.</summary>
    public bool Serve()
    {
        if (_queue is null)
        {
            return false;
        }

        _queue.TryReap(out _);
        if (_queue.Outstanding > 0 || _queue.Fault != DriverQueueFault.None)
        {
            return false;
        }

        int count = _pages.Fill(_control.Statistics);
        if (count == 0)
        {
            return false;
        }

        QueueBuffer buffer = new(_control.StatisticsAddress, (uint)(count * BalloonStat.SizeInBytes), DeviceWrites: false);
        return _queue.TryAdd([buffer], token: 0) && _queue.Publish();
    }
}
