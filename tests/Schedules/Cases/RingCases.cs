using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace Schedules;

/// <summary>A ring in memory of its own, kept from schedule to schedule.</summary>
internal sealed class RingMemory
{
    private const int Bytes = 16384;

    public unsafe RingMemory(int size)
    {
        Memory = new GuestMemory(new GuestRegion(0, Bytes, (nint)NativeMemory.AlignedAlloc(Bytes, 4096)));
        Addresses = new VirtqueueLayout(size).PlaceAt(0);
        SplitRing.TryMap(Memory, size, Addresses, out SplitRing ring);
        Ring = ring;
    }

    public GuestMemory Memory { get; }

    public VirtqueueAddresses Addresses { get; }

    public SplitRing Ring { get; }
}

/// <summary>Three requests go over a ring of two and back; both sides sleep by the rules of suppression. A notification lost is a deadlock.</summary>
internal sealed class RingCase(bool eventIndex) : ScheduleCase
{
    private const int Requests = 3;
    private static readonly Deadline s_never = new(TimeProvider.System, System.Threading.Timeout.InfiniteTimeSpan);
    private readonly RingMemory _ring = new(2);
    private DriverQueue _driver = null!;
    private DeviceQueue _device = null!;
    private Signal _notified = null!;
    private Signal _interrupted = null!;

    public override string Name => eventIndex ? "ring with event index" : "ring with flags";

    public override int Preemptions => 2;

    public override IReadOnlyList<Mutation> Mutations =>
    [
        Skip("DriverQueue", "Publish"), Skip("DriverQueue", "EnableInterrupts"), Skip("DeviceQueue", "EnableNotifications"), Skip("DeviceQueue", "MustInterrupt"),
        LosePulse("Signal", "Set"), .. eventIndex ? [LoseWrite("SplitRing", "UsedEvent"), LoseWrite("SplitRing", "AvailableEvent")] : (Mutation[])[],
    ];

    public override void SetUp()
    {
        _driver = new DriverQueue(_ring.Ring, eventIndex);
        _device = new DeviceQueue(_ring.Memory, _ring.Ring, eventIndex, indirect: false);
        _notified = new Signal();
        _interrupted = new Signal();
        Go("driver", Drive);
        Go("device", Serve);
    }

    private void Drive()
    {
        DriverQueue queue = _driver;
        queue.DisableInterrupts();
        ulong added = 0;
        ulong reaped = 0;
        while (reaped < Requests)
        {
            while (added < Requests && queue.TryAdd([new QueueBuffer(8192 + (64 * added), 64, DeviceWrites: true)], added))
            {
                added++;
                if (queue.Publish())
                {
                    _notified.Set();
                }
            }

            queue.DisableInterrupts();
            while (queue.TryReap(out UsedRequest used))
            {
                Require(used.Token == reaped++, "requests come back in the device's order, once");
            }

            Require(queue.Fault == DriverQueueFault.None, "the device keeps to the protocol");
            if (reaped < Requests && (added == reaped || !queue.CanAdd(1) || added == Requests) && added != reaped && !queue.EnableInterrupts())
            {
                _interrupted.Wait(s_never);
            }
        }
    }

    private void Serve()
    {
        DeviceQueue queue = _device;
        DescriptorChain chain = new(2);
        int served = 0;
        while (served < Requests)
        {
            queue.DisableNotifications();
            while (queue.TryTake(chain))
            {
                Require(chain.Buffers[0].Address == 8192 + (64 * (ulong)served), "a request is seen before it was written");
                served++;
                queue.Complete(chain.Head, 1);
                if (queue.MustInterrupt())
                {
                    _interrupted.Set();
                }
            }

            Require(queue.Fault == ChainFault.None, "the driver keeps to the protocol");
            if (served < Requests && !queue.EnableNotifications())
            {
                _notified.Wait(s_never);
            }
        }
    }
}

/// <summary>Two notifications at once, and a reset: a queue is served by one thread at a time, no request is left, and after the reset
/// nobody is inside.</summary>
internal sealed class ServeCase : ScheduleCase
{
    private readonly RingMemory _ring = new(4);
    private DriverQueue _driver = null!;
    private Echo _device = null!;
    private bool _isReset;

    public override string Name => "serve and reset";

    public override int Preemptions => 2;

    public override IReadOnlyList<Mutation> Mutations =>
        [Split("VirtioDevice", "Serve"), LosePulse("Signal", "Set")];

    public override void SetUp()
    {
        _driver = new DriverQueue(_ring.Ring, eventIndex: false);
        _device = new Echo(this, _ring.Memory);
        _isReset = false;
        _device.AddStatus(DeviceStatus.Acknowledge);
        _device.AddStatus(DeviceStatus.Driver);
        _device.AcceptFeatures(Feature.Version1);
        _device.AddStatus(DeviceStatus.FeaturesOk);
        _device.SetQueue(0, 4, _ring.Addresses);
        _device.AddStatus(DeviceStatus.DriverOk);
        Go("driver", () =>
        {
            for (ulong i = 0; i < 2; i++)
            {
                Require(_driver.TryAdd([new QueueBuffer(8192 + (64 * i), 64, DeviceWrites: true)], i), "room on the ring");
                if (_driver.Publish())
                {
                    _device.Serve(0);
                }
            }
        });
        Go("notifier", () => _device.Serve(0));
        Go("resetter", () =>
        {
            Require(_device.TryReset(new Deadline(TimeProvider.System, System.Threading.Timeout.InfiniteTimeSpan)), "a reset waits");
            _isReset = true;
            Require(_device.Inside == 0, "the reset is through and somebody serves");
        });
    }

    public override void Check() => Require(_device.Served <= 2 && _device.Fault is ProtocolFault.None or ProtocolFault.NotifiedTooEarly, "at most what there was");

    private sealed class Echo(ServeCase test, GuestMemory memory) : VirtioDevice(memory, Feature.Version1, [4])
    {
        public int Inside { get; private set; }

        public int Served { get; private set; }

        public override uint ConfigGeneration => 0;

        public override uint ReadConfig(int offset) => 0;

        public override void WriteConfig(int offset, uint value)
        {
        }

        protected override bool Handle(int queue, DescriptorChain chain, out uint written)
        {
            Require(!test._isReset, "a request is served behind a reset");
            Require(Inside++ == 0, "two threads serve one queue");
            Seam.Point("serving");
            Require(chain.Buffers[0].Address == 8192 + (64 * (ulong)Served++), "each request once");
            Inside--;
            written = 1;
            return true;
        }

        protected override void OnReset()
        {
        }
    }
}
