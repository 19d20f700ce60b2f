using System;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>What a driver did out of order. The first one stands until reset, except for a notification that came too early.</summary>
internal enum ProtocolFault
{
    /// <summary>Nothing wrong.</summary>
    None,

    /// <summary>A status bit before the one that goes before it (3.1.1).</summary>
    StatusOutOfOrder,

    /// <summary>Features written after FEATURES_OK.</summary>
    FeaturesTooLate,

    /// <summary>A queue that the device does not have.</summary>
    QueueUnknown,

    /// <summary>A queue set up before FEATURES_OK or after DRIVER_OK.</summary>
    QueueOutOfOrder,

    /// <summary>A queue of more than its largest size, or of a size that is none.</summary>
    QueueSize,

    /// <summary>A ring that is misaligned or not in guest memory.</summary>
    QueuePlacement,

    /// <summary>A notification before DRIVER_OK (3.1.1).</summary>
    NotifiedTooEarly,

    /// <summary>A chain that is none; <see cref="VirtioDevice.ChainFault"/> says why.</summary>
    Chain,
}

/// <summary>The part of a device that is the same for all: status in its order, features, queues, who serves them. A queue is
/// served by one thread at a time, whichever comes; a reset waits for that thread, for so long as the driver will.</summary>
internal abstract partial class VirtioDevice
{
    private const DeviceStatus AllSteps =
        DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.FeaturesOk | DeviceStatus.DriverOk;

    /// <summary>A queue's service counter while a reset holds it; no number of notifications brings it near 0.</summary>
    private const int Held = int.MinValue / 2;

    private readonly Lock _control = new();
    private GuestMemory _memory;
    private readonly int[] _sizes;
    private readonly DeviceQueue?[] _queues;
    private readonly DescriptorChain?[] _chains;
    private readonly int[] _service;
    private readonly Signal _left = new();
    private volatile bool _stopping;
    private volatile bool _isHalted;
    private int _status;

    /// <summary>A device in reset.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="offered">Features; VERSION_1 is added.</param>
    /// <param name="queueSizes">Largest size by queue number; 0 for a number without a queue.</param>
    protected VirtioDevice(GuestMemory memory, Feature offered, ReadOnlySpan<int> queueSizes)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _memory = memory;
        OfferedFeatures = offered;
        _sizes = queueSizes.ToArray();
        _queues = new DeviceQueue?[_sizes.Length];
        _chains = new DescriptorChain?[_sizes.Length];
        _service = new int[_sizes.Length];
    }

    /// <summary>What the device offers.</summary>
    public Feature OfferedFeatures { get; }

    /// <summary>What the driver has accepted of it.</summary>
    public Feature Features { get; private set; }

    /// <summary>The device status.</summary>
    public DeviceStatus Status => (DeviceStatus)Volatile.Read(ref _status);

    /// <summary>The driver's first breach of the protocol.</summary>
    public ProtocolFault Fault { get; private set; }

    /// <summary>With <see cref="ProtocolFault.Chain"/>: what was wrong with the chain.</summary>
    public ChainFault ChainFault { get; private set; }

    /// <summary>Called after a queue's buffers were used.</summary>
    public Action<int>? QueueInterrupt { get; set; }

    /// <summary>Called after the configuration or NEEDS_RESET changed.</summary>
    public Action? ConfigInterrupt { get; set; }

    /// <summary>Changes with the configuration.</summary>
    public abstract uint ConfigGeneration { get; }

    /// <summary>Number of queue numbers.</summary>
    public int Queues => _sizes.Length;

    /// <summary>The most requests of one service, for whoever has more to do than to serve one queue; else a queue is served until it is empty.</summary>
    public int RequestsPerService { get; set; } = int.MaxValue;

    /// <summary>Guest memory.</summary>
    protected GuestMemory Memory => _memory;

    /// <summary>Whether the driver may expect service.</summary>
    protected bool IsLive => (Status & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset)) == DeviceStatus.DriverOk && !_stopping && !_isHalted;

    /// <summary>The driver adds status bits. FEATURES_OK is taken only if every accepted feature was offered and VERSION_1 is
    /// among them (2.2.1, 6.2).</summary>
    public void AddStatus(DeviceStatus bits)
    {
        lock (_control)
        {
            DeviceStatus before = Status;
            DeviceStatus after = before | (bits & (AllSteps | DeviceStatus.Failed));
            if (!InOrder(after))
            {
                Break(ProtocolFault.StatusOutOfOrder);
                return;
            }

            if ((after & ~before & DeviceStatus.FeaturesOk) != 0 && !Agreeable(Features))
            {
                after &= ~DeviceStatus.FeaturesOk;
            }

            // Or, not a write: a serving thread may set NEEDS_RESET meanwhile.
            Interlocked.Or(ref _status, (int)after);
        }
    }

    /// <summary>The driver accepts features.</summary>
    public void AcceptFeatures(Feature features)
    {
        lock (_control)
        {
            if ((Status & DeviceStatus.FeaturesOk) != 0)
            {
                Break(ProtocolFault.FeaturesTooLate);
                return;
            }

            Features = features;
        }
    }

    /// <summary>The largest size of a queue.</summary>
    public int QueueSizeMax(int queue) => unchecked((uint)queue) < (uint)_sizes.Length ? _sizes[queue] : 0;

    /// <summary>The driver sets up a queue.</summary>
    public void SetQueue(int queue, int size, VirtqueueAddresses addresses)
    {
        lock (_control)
        {
            ProtocolFault fault = TryMap(queue, size, addresses, out SplitRing ring);
            if (fault != ProtocolFault.None)
            {
                Break(fault);
                return;
            }

            _chains[queue] = new DescriptorChain(size);
            _queues[queue] = new DeviceQueue(
                _memory, ring, (Features & Feature.EventIndex) != 0, (Features & Feature.IndirectDescriptors) != 0);
        }
    }

    /// <summary>Serves a queue until it is empty, or <see cref="RequestsPerService"/> are served. Any thread; a thread that finds another one
    /// at it leaves the work to that one.</summary>
    /// <returns>True: there may be more, and the driver was not asked to say so.</returns>
    public bool Serve(int queue)
    {
        if (unchecked((uint)queue) >= (uint)_queues.Length)
        {
            Break(ProtocolFault.QueueUnknown);
            return false;
        }

        if ((Status & DeviceStatus.DriverOk) == 0)
        {
            Break(ProtocolFault.NotifiedTooEarly);
            return false;
        }

        if (Interlocked.Increment(ref _service[queue]) != 1)
        {
            return false;
        }

        int calls;
        bool isMore;
        do
        {
            calls = Volatile.Read(ref _service[queue]);
            isMore = ServeOnce(queue);
        }
        while (Interlocked.Add(ref _service[queue], -calls) != 0);

        if (_stopping)
        {
            _left.Set();
        }

        return isMore;
    }

    /// <summary>Stops every queue and forgets everything. False: a thread is still serving; the device takes nothing new, and
    /// the call can be repeated.</summary>
    public bool TryReset(in Deadline deadline)
    {
        lock (_control)
        {
            _stopping = true;
            for (int queue = 0; queue < _service.Length; queue++)
            {
                if (!TryHold(queue, deadline))
                {
                    Release(queue);
                    return false;
                }
            }

            Array.Clear(_queues);
            Features = 0;
            Fault = ProtocolFault.None;
            ChainFault = ChainFault.None;
            OnReset();
            Volatile.Write(ref _status, 0);
            _stopping = false;
            Release(_service.Length);
            return true;
        }
    }

    /// <summary>A word of the configuration space.</summary>
    public abstract uint ReadConfig(int offset);

    /// <summary>The driver writes a word of the configuration space.</summary>
    public abstract void WriteConfig(int offset, uint value);

    /// <summary>Acts on one request. True: it is done and <paramref name="written"/> bytes were written; false: the device keeps
    /// it and completes it later.</summary>
    protected abstract bool Handle(int queue, DescriptorChain chain, out uint written);

    /// <summary>Called by the serving thread before it takes requests.</summary>
    protected virtual void BeforeServing(int queue, DeviceQueue ring)
    {
    }

    /// <summary>Whether the device can work with this set, beyond its being offered.</summary>
    protected virtual bool Agreeable(Feature features) =>
        (features & ~OfferedFeatures) == 0 && (features & Feature.Version1) != 0;

    /// <summary>The device forgets its own state; no queue is being served.</summary>
    protected abstract void OnReset();

    /// <summary>Interrupts for the queue unless the driver has asked for quiet.</summary>
    protected void InterruptIfWanted(int queue, DeviceQueue ring)
    {
        ArgumentNullException.ThrowIfNull(ring);
        if (ring.MustInterrupt())
        {
            QueueInterrupt?.Invoke(queue);
        }
    }

    private static bool InOrder(DeviceStatus status)
    {
        // Each step needs all before it, so what is set must be a prefix of the four.
        DeviceStatus steps = status & AllSteps;
        return steps is 0 or DeviceStatus.Acknowledge
            or (DeviceStatus.Acknowledge | DeviceStatus.Driver)
            or (DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.FeaturesOk)
            or AllSteps;
    }

    private ProtocolFault TryMap(int queue, int size, VirtqueueAddresses addresses, out SplitRing ring)
    {
        ring = default;
        if (QueueSizeMax(queue) == 0)
        {
            return ProtocolFault.QueueUnknown;
        }

        if ((Status & (DeviceStatus.FeaturesOk | DeviceStatus.DriverOk)) != DeviceStatus.FeaturesOk)
        {
            return ProtocolFault.QueueOutOfOrder;
        }

        if (!VirtqueueLayout.IsValidSize(size) || size > QueueSizeMax(queue))
        {
            return ProtocolFault.QueueSize;
        }

        return SplitRing.TryMap(_memory, size, addresses, out ring) ? ProtocolFault.None : ProtocolFault.QueuePlacement;
    }

    private bool ServeOnce(int queue)
    {
        if (!IsLive || _queues[queue] is not DeviceQueue ring || _chains[queue] is not DescriptorChain chain)
        {
            return false;
        }

        int left = RequestsPerService;
        BeforeServing(queue, ring);
        do
        {
            ring.DisableNotifications();
            while (left > 0 && IsLive && ring.TryTake(chain))
            {
                left--;
                if (Handle(queue, chain, out uint written))
                {
                    ring.Complete(chain.Head, written);
                    InterruptIfWanted(queue, ring);
                }
            }
        }
        while (left > 0 && ring.EnableNotifications() && IsLive);

        if (ring.Fault != ChainFault.None && ChainFault == ChainFault.None)
        {
            ChainFault = ring.Fault;
            Break(ProtocolFault.Chain);
        }

        return left == 0;
    }

    /// <summary>The driver cannot be worked with: NEEDS_RESET, and no queue is served until then (2.1.1). A notification that came
    /// too early is only noted: it asks for nothing, and one from before a reset may arrive behind it.</summary>
    private void Break(ProtocolFault fault)
    {
        if (Fault is ProtocolFault.None or ProtocolFault.NotifiedTooEarly)
        {
            Fault = fault;
        }

        if (fault != ProtocolFault.NotifiedTooEarly)
        {
            DeviceStatus before = (DeviceStatus)Interlocked.Or(ref _status, (int)DeviceStatus.NeedsReset);
            if ((before & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset)) == DeviceStatus.DriverOk)
            {
                ConfigInterrupt?.Invoke();
            }
        }
    }

    private bool TryHold(int queue, in Deadline deadline)
    {
        while (Interlocked.CompareExchange(ref _service[queue], Held, 0) != 0)
        {
            if (!_left.Wait(deadline))
            {
                return false;
            }
        }

        return true;
    }

    private void Release(int queues)
    {
        foreach (ref int service in _service.AsSpan(0, queues))
        {
            Interlocked.Exchange(ref service, 0);
        }
    }
}
