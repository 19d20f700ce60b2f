using System;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>The device under a carrier that keeps the status to itself and brings memory and rings one by one (vhost-user). The carrier calls
/// from the one thread that serves the queues.</summary>
internal abstract partial class VirtioDevice
{
    /// <summary>What the driver has accepted, by the carrier's word. DRIVER_OK is for as long as a queue runs, and with the last queue the
    /// driver is gone: the next one may say anew what it can say only before. False, and nothing changed: not with these features.</summary>
    public bool TryBegin(Feature features)
    {
        lock (_control)
        {
            if (!Agreeable(features))
            {
                return false;
            }

            Features = features;
            Interlocked.Or(ref _status, (int)(AllSteps & ~DeviceStatus.DriverOk));
            return true;
        }
    }

    /// <summary>Whoever serves a queue leaves it after the request at hand, and nothing is taken any more: a driver that publishes faster than
    /// it is served holds nobody up. For good. Any thread.</summary>
    public void Halt() => _isHalted = true;

    /// <summary>Other guest memory, or none: every queue is stopped.</summary>
    public void SetMemory(GuestMemory memory)
    {
        lock (_control)
        {
            _memory = memory;
        }
    }

    /// <summary>Starts a queue where its driver, or another device before this one, has left it.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="size">Its size.</param>
    /// <param name="addresses">Where its parts are in guest memory.</param>
    /// <param name="availableIndex">The next request to take.</param>
    /// <returns>None, or why it was not started.</returns>
    public ProtocolFault StartQueue(int queue, int size, VirtqueueAddresses addresses, ushort availableIndex)
    {
        lock (_control)
        {
            if (QueueSizeMax(queue) == 0)
            {
                return ProtocolFault.QueueUnknown;
            }

            if (!VirtqueueLayout.IsValidSize(size) || size > QueueSizeMax(queue))
            {
                return ProtocolFault.QueueSize;
            }

            if (!SplitRing.TryMap(_memory, size, addresses, out SplitRing ring))
            {
                return ProtocolFault.QueuePlacement;
            }

            // What was completed is on the ring; whoever restarts a device that was lost has nothing else to go by.
            ushort used = ring.UsedIndex;
            _chains[queue] = new DescriptorChain(size);
            _queues[queue] = new DeviceQueue(
                _memory, ring, (Features & Feature.EventIndex) != 0, (Features & Feature.IndirectDescriptors) != 0, availableIndex, used);
            Interlocked.Or(ref _status, (int)AllSteps);
            OnQueueStarted(queue, availableIndex, unchecked((ushort)(availableIndex - used)));
            return ProtocolFault.None;
        }
    }

    /// <summary>Stops a queue; nobody is serving it.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="isForNow">It is started again at once: to the driver nothing has stopped.</param>
    /// <returns>The next request that it would have taken.</returns>
    public ushort StopQueue(int queue, bool isForNow = false)
    {
        lock (_control)
        {
            ushort next = _queues[queue]?.AvailableIndex ?? 0;
            _queues[queue] = null;
            if (!isForNow && Array.TrueForAll(_queues, static one => one is null))
            {
                Interlocked.And(ref _status, (int)~AllSteps);
            }

            return next;
        }
    }

    /// <summary>A queue starts.</summary>
    /// <param name="queue">Which.</param>
    /// <param name="availableIndex">The next request to take; not 0 where there were others before.</param>
    /// <param name="outstanding">Requests that were taken before and not given back.</param>
    protected virtual void OnQueueStarted(int queue, ushort availableIndex, int outstanding)
    {
    }
}
