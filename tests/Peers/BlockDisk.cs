using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>The least driver of a virtio disk (VIRTIO 1.2, 5.2) over our queue and our transport: as many requests as the queue holds, and a record
/// of how they came back. A request is a header, a sector and a byte of status.</summary>
internal sealed class BlockDisk : IDisposable
{
    public const int SectorBytes = 512;
    public const int QueueSize = 128;

    private const int HeaderBytes = 16;
    private const int SlotBytes = 1024;
    private const int StatusOffset = HeaderBytes + SectorBytes;
    private const int Buffers = 3;
    private const uint IdBytes = 20; // VIRTIO_BLK_ID_BYTES
    private const int ConfigBytes = 60; // struct virtio_blk_config
    private const byte Unanswered = 0xff;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly SharedMemoryFile _file;
    private readonly VhostUserTransport _transport;
    private readonly DriverQueue _queue;
    private readonly Signal _interrupt = new();
    private readonly Stack<int> _slots = new();
    private readonly SortedSet<ulong> _outstanding = [];
    private ulong _next;

    /// <summary>Connects, negotiates and starts the queue.</summary>
    /// <param name="path">The device's socket.</param>
    /// <param name="wanted">Features to take; each must be offered.</param>
    public BlockDisk(string path, Feature wanted)
    {
        VirtqueueLayout layout = new(QueueSize);
        ulong tablesAt = (ulong)layout.TotalBytes;
        ulong slotsAt = (tablesAt + (ulong)IndirectTables.Bytes(QueueSize, Buffers) + SlotBytes - 1) & ~(SlotBytes - 1ul);
        SlotsAddress = slotsAt;
        ulong bytes = slotsAt + (QueueSize * SlotBytes);
        _file = SharedMemoryFile.Create(LinuxSystem.Instance, LinuxDescriptors.Instance, "disk", (nuint)bytes);
        GuestMemory memory = new(new GuestRegion(0, bytes, _file.Mapping));
        bool isMapped = SplitRing.TryMap(memory, QueueSize, layout.PlaceAt(0), out SplitRing ring)
            & IndirectTables.TryMap(memory, tablesAt, QueueSize, Buffers, out IndirectTables? tables);
        Assert.True(isMapped);
        Ring = ring;
        _queue = new DriverQueue(ring, (wanted & Feature.EventIndex) != 0, (wanted & Feature.IndirectDescriptors) != 0 ? tables : null);
        for (int slot = 0; slot < QueueSize; slot++)
        {
            _slots.Push(slot);
        }

        VhostUserTransportOptions options = new() { Path = path, Queues = 1, ConfigBytes = ConfigBytes, Timeout = Patience };
        _transport = new VhostUserTransport(options, [new SharedRegion(0, bytes, _file.Mapping, _file.File)]);
        Begin(wanted | Feature.Version1, layout.PlaceAt(0));
    }

    private enum RequestType : uint
    {
        Write = 1,
        GetId = 8,
    }

    /// <summary>The queue's memory.</summary>
    public SplitRing Ring { get; }

    /// <summary>What the device offers.</summary>
    public Feature Offered => _transport.OfferedFeatures;

    /// <summary>Sectors, by the device's configuration.</summary>
    public ulong Sectors => _transport.ReadConfig(0) | ((ulong)_transport.ReadConfig(sizeof(uint)) << 32);

    /// <summary>Requests that came back before one that was made earlier.</summary>
    public int Overtakers { get; private set; }

    /// <summary>The most requests that were under way at a time.</summary>
    public int Depth { get; private set; }

    private ulong SlotsAddress { get; }

    /// <summary>What a sector of the image holds in the end: its own content, or nothing where its request asked for something else.</summary>
    public static void Expect(Span<byte> sector, ulong number)
    {
        sector.Clear();
        if (!IsName(number))
        {
            Fill(sector, number);
        }
    }

    /// <summary>Makes so many requests, always as many at a time as there is room for. Each writes the sector of its number, but each eighth asks for
    /// the disk's name, which the device knows without the disk: so it overtakes.</summary>
    public void Write(ulong requests)
    {
        Deadline deadline = new(TimeProvider.System, 10 * Patience);
        while (_outstanding.Count != 0 || _next < requests)
        {
            while (_next < requests && _queue.CanAdd(Buffers) && _slots.TryPop(out int slot))
            {
                Add(_next++, slot);
            }

            Depth = Math.Max(Depth, _outstanding.Count);
            if (_queue.Publish())
            {
                _transport.Notify(0);
            }

            if (!Reap() && !_queue.EnableInterrupts())
            {
                Assert.True(_interrupt.Wait(deadline), $"{_outstanding.Count} of {_next} requests have not come back");
            }

            _queue.DisableInterrupts();
        }
    }

    /// <summary>Takes the memory back. False: the device has not let go of it in time.</summary>
    public bool TryEnd() => _transport.TryReset(new Deadline(TimeProvider.System, Patience));

    public void Dispose()
    {
        _transport.Dispose();
        _file.Dispose();
    }

    private static bool IsName(ulong number) => number % 8 == 7;

    private static void Fill(Span<byte> sector, ulong number)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(sector);
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = (number + 1) * (ulong)(i + 1);
        }
    }

    private void Begin(Feature features, VirtqueueAddresses at)
    {
        Assert.True(_transport.TryConnect(), _transport.Failure);
        Assert.Equal(features, features & Offered);
        _transport.QueueInterrupt = _ => _interrupt.Set();
        _transport.ConfigInterrupt = _interrupt.Set;
        _transport.AddStatus(DeviceStatus.Acknowledge | DeviceStatus.Driver);
        _transport.AcceptFeatures(features);
        _transport.AddStatus(DeviceStatus.FeaturesOk);
        Assert.InRange(QueueSize, 1, _transport.QueueSizeMax(0));
        _transport.SetQueue(0, QueueSize, at);
        _transport.AddStatus(DeviceStatus.DriverOk);
        Assert.Equal(DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.FeaturesOk | DeviceStatus.DriverOk, _transport.Status);
    }

    private unsafe void Add(ulong number, int slot)
    {
        ulong address = SlotsAddress + (ulong)(slot * SlotBytes);

        // Sound: the slot is part of the mapping, and no request that is under way uses it.
        Span<byte> bytes = new((byte*)_file.Mapping + address, SlotBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)(IsName(number) ? RequestType.GetId : RequestType.Write));
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[sizeof(ulong)..], number);
        Fill(bytes.Slice(HeaderBytes, SectorBytes), number);
        bytes[StatusOffset] = Unanswered;
        QueueBuffer data = IsName(number) ? new(address + HeaderBytes, IdBytes, true) : new(address + HeaderBytes, SectorBytes, false);
        Assert.True(_queue.TryAdd(
            [new QueueBuffer(address, HeaderBytes, false), data, new QueueBuffer(address + StatusOffset, 1, true)], (number * QueueSize) + (ulong)slot));
        Assert.True(_outstanding.Add(number));
    }

    /// <summary>Takes what has come back. False: nothing has.</summary>
    private unsafe bool Reap()
    {
        bool any = false;
        while (_queue.TryReap(out UsedRequest used))
        {
            any = true;
            int slot = (int)(used.Token % QueueSize);
            ulong number = used.Token / QueueSize;
            Overtakers += number == _outstanding.Min ? 0 : 1;
            Assert.True(_outstanding.Remove(number), $"request {number} came back and was not under way");
            Assert.Equal(IsName(number) ? IdBytes + 1 : 1, used.Length);

            // Sound: as above.
            Assert.Equal(0, ((byte*)_file.Mapping)[SlotsAddress + (ulong)((slot * SlotBytes) + StatusOffset)]);
            _slots.Push(slot);
        }

        Assert.Equal(DriverQueueFault.None, _queue.Fault);
        return any;
    }
}
