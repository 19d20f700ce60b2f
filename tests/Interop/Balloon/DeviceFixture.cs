using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Tests.Interop.Balloon;

/// <summary>A port that lets everything through and remembers it.</summary>
internal sealed class OpenPort : IDiscardPort
{
    public List<GuestRange> Dropped { get; } = [];

    public DiscardOutcome Outcome { get; set; }

    public Action? Before { get; set; }

    /// <summary>Calls so far.</summary>
    public int Calls { get; private set; }

    public DiscardTotals Discard(ReadOnlySpan<GuestRange> ranges)
    {
        Before?.Invoke();
        Calls++;
        DiscardTotals totals = default;
        foreach (GuestRange range in ranges)
        {
            Dropped.Add(range);
            totals.DroppedBytes += Outcome == DiscardOutcome.Dropped ? range.Bytes : 0;
            totals.Failed += Outcome == DiscardOutcome.Failed ? 1 : 0;
            totals.Refused += Outcome == DiscardOutcome.Refused ? 1 : 0;
        }

        return totals;
    }
}

/// <summary>A balloon device with a driver's hand-made queues on it: the test is the driver.</summary>
internal sealed class DeviceFixture : IDisposable
{
    public const uint Pages = 256;
    public const ulong Page = 4096;
    public const ulong ControlAddress = 1 << 22;
    public const int QueueSize = 16;
    public const Feature Usual = Feature.Version1 | Feature.PageReporting | Feature.StatsQueue;
    private const int ControlBytes = 1 << 16;
    private const int DataOffset = 1 << 15;

    private readonly nint _arena;
    private readonly nint _control;

    public unsafe DeviceFixture(BalloonDeviceOptions? options = null)
    {
        _arena = (nint)NativeMemory.AlignedAlloc((nuint)(Pages * Page), 4096);
        _control = (nint)NativeMemory.AlignedAlloc(ControlBytes, 4096);
        NativeMemory.Clear((void*)_control, ControlBytes);
        Memory = new GuestMemory(new GuestRegion(0, Pages * Page, _arena), new GuestRegion(ControlAddress, ControlBytes, _control));
        Device = new BalloonDevice(Memory, Pages * Page, Reports, Inflates, options ?? new BalloonDeviceOptions())
        {
            QueueInterrupt = Interrupts.Add,
            ConfigInterrupt = () => ConfigInterrupts++,
        };
    }

    public GuestMemory Memory { get; }

    public BalloonDevice Device { get; }

    public OpenPort Reports { get; } = new();

    public OpenPort Inflates { get; } = new();

    public List<int> Interrupts { get; } = [];

    public int ConfigInterrupts { get; private set; }

    public DriverQueue[] Queues { get; } = new DriverQueue[BalloonLimits.Queues];

    public static ulong DataAddress => ControlAddress + DataOffset;

    public unsafe Span<byte> Data => new((void*)(_control + DataOffset), ControlBytes - DataOffset);

    public Span<Hint> Hints => MemoryMarshal.Cast<byte, Hint>(Data);

    public Span<uint> Numbers => MemoryMarshal.Cast<byte, uint>(Data);

    public static VirtqueueAddresses Place(int queue) => new VirtqueueLayout(QueueSize).PlaceAt(ControlAddress + (ulong)(queue * 4096));

    /// <summary>Steps of 3.1.1 up to FEATURES_OK.</summary>
    public DeviceFixture Negotiate(Feature features = Usual)
    {
        Device.AddStatus(DeviceStatus.Acknowledge);
        Device.AddStatus(DeviceStatus.Driver);
        Device.AcceptFeatures(features);
        Device.AddStatus(DeviceStatus.FeaturesOk);
        return this;
    }

    /// <summary>The queues that there are, and DRIVER_OK.</summary>
    public DeviceFixture Start()
    {
        foreach (int queue in (int[])[0, 1, 2, 4])
        {
            if (Device.QueueSizeMax(queue) == 0)
            {
                continue;
            }

            if (!SplitRing.TryMap(Memory, QueueSize, Place(queue), out SplitRing ring))
            {
                throw new InvalidOperationException("the fixture's own memory");
            }

            Queues[queue] = new DriverQueue(ring, (Device.Features & Feature.EventIndex) != 0);
            Device.SetQueue(queue, QueueSize, Place(queue));
        }

        Device.AddStatus(DeviceStatus.DriverOk);
        return this;
    }

    /// <summary>One request, served at once, and whether it came back.</summary>
    public bool Ask(int queue, params ReadOnlySpan<QueueBuffer> buffers)
    {
        if (!Queues[queue].TryAdd(buffers, 1))
        {
            throw new InvalidOperationException("the queue is full");
        }

        Queues[queue].Publish();
        Device.Serve(queue);
        return Queues[queue].TryReap(out _);
    }

    public static QueueBuffer Free(ulong first, ulong pages) => new(first * Page, (uint)(pages * Page), DeviceWrites: true);

    public static QueueBuffer Read(int bytes) => new(DataAddress, (uint)bytes, DeviceWrites: false);

    public static GuestRange Range(ulong first, ulong pages) => new(first * Page, pages * Page);

    public unsafe void Dispose()
    {
        NativeMemory.AlignedFree((void*)_arena);
        NativeMemory.AlignedFree((void*)_control);
    }
}
