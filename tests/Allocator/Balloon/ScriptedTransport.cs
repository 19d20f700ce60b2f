using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Interop.Balloon;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>A device that does what the test says, and writes down what the driver did to it, in order.</summary>
internal sealed class ScriptedTransport : IVirtioTransport, IDisposable
{
    public const ulong ArenaBytes = 1 << 22;
    private const ulong ControlAddress = 1 << 22;

    private readonly Dictionary<int, (int Size, VirtqueueAddresses At)> _queues = [];
    private readonly nint _arena;
    private readonly nint _control;
    private DeviceStatus _status;

    public unsafe ScriptedTransport(BalloonDriverOptions? options = null, bool gated = true)
    {
        options ??= new BalloonDriverOptions();
        ulong controlBytes = BalloonControl.Bytes(options);
        _arena = (nint)NativeMemory.AlignedAlloc((nuint)ArenaBytes, 4096);
        _control = (nint)NativeMemory.AlignedAlloc((nuint)controlBytes, 4096);
        Memory = new GuestMemory(new GuestRegion(0, ArenaBytes, _arena), new GuestRegion(ControlAddress, controlBytes, _control));
        Gates = gated ? new BalloonGates(new DiscardGates(Backing, options.WantedCapacity, options.ReportsInFlight), new DiscardGates(Backing, 256)) : null;
        Driver = new BalloonDriver(this, new BalloonControl(Memory, ControlAddress, options), Pages, Gates, options);
    }

    public BalloonDriver Driver { get; }

    public BalloonGates? Gates { get; }

    public FakeBacking Backing { get; } = new();

    public FakePages Pages { get; } = new();

    public GuestMemory Memory { get; }

    public List<string> Log { get; } = [];

    public int[] QueueSizes { get; } = [1024, 1024, 1024, 1024, 1024];

    public uint[] Config { get; } = new uint[4];

    public Feature Accepted { get; private set; }

    public bool RefusesFeatures { get; set; }

    public bool AcknowledgesReset { get; set; } = true;

    public Action<int>? OnNotify { get; set; }

    public Feature OfferedFeatures { get; set; } = Feature.Version1 | Feature.PageReporting | Feature.PagePoison | Feature.StatsQueue
        | Feature.DeflateOnOom | Feature.EventIndex | Feature.IndirectDescriptors;

    public DeviceStatus Status => _status;

    public uint ConfigGeneration => 0;

    public Action<int>? QueueInterrupt { get; set; }

    public Action? ConfigInterrupt { get; set; }

    public void AddStatus(DeviceStatus bits)
    {
        Log.Add($"status {bits}");
        _status |= RefusesFeatures ? bits & ~DeviceStatus.FeaturesOk : bits;
    }

    public void AcceptFeatures(Feature features)
    {
        Log.Add("features");
        Accepted = features;
    }

    public int QueueSizeMax(int queue) => queue < QueueSizes.Length ? QueueSizes[queue] : 0;

    public void SetQueue(int queue, int size, VirtqueueAddresses addresses)
    {
        Log.Add($"queue {queue} of {size}");
        _queues[queue] = (size, addresses);
    }

    public void Notify(int queue)
    {
        Log.Add($"notify {queue}");
        OnNotify?.Invoke(queue);
    }

    public uint ReadConfig(int offset) => Config[offset / 4];

    public void WriteConfig(int offset, uint value)
    {
        Log.Add($"config {offset} = {value}");
        Config[offset / 4] = value;
    }

    public bool TryReset(in Deadline deadline)
    {
        Log.Add("reset");
        if (AcknowledgesReset)
        {
            _status = 0;
        }

        return AcknowledgesReset;
    }

    public void BreakDown()
    {
        _status |= DeviceStatus.NeedsReset;
        ConfigInterrupt?.Invoke();
    }

    public SplitRing Ring(int queue)
    {
        (int size, VirtqueueAddresses at) = _queues[queue];
        return SplitRing.TryMap(Memory, size, at, out SplitRing ring) ? ring : throw new InvalidOperationException("no such queue");
    }

    /// <summary>The request that the driver published last: its head.</summary>
    public ushort LastHead(int queue)
    {
        SplitRing ring = Ring(queue);
        return ring.ReadAvailable(unchecked((ushort)(ring.AvailableIndex - 1)));
    }

    /// <summary>Publishes a used element, whatever it says, and interrupts.</summary>
    public void Answer(int queue, uint id, uint length)
    {
        SplitRing ring = Ring(queue);
        ushort index = ring.UsedIndex;
        ring.WriteUsed(index, id, length);
        ring.UsedIndex = unchecked((ushort)(index + 1));
        QueueInterrupt?.Invoke(queue);
    }

    public unsafe void Dispose()
    {
        Backing.Dispose();
        NativeMemory.AlignedFree((void*)_arena);
        NativeMemory.AlignedFree((void*)_control);
    }
}
