using System;
using System.Runtime.InteropServices;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Tests.Interop.Virtio;

/// <summary>A ring in unmanaged memory with both sides on it, and the raw words for tests that play a liar.</summary>
internal sealed class RingFixture : IDisposable
{
    public const int ArenaBytes = 1 << 16;
    public const ulong ControlAddress = 1 << 20;
    public const int ControlBytes = 1 << 20;
    private const int TablesOffset = 1 << 19;

    private readonly nint _arena;
    private readonly nint _control;

    public unsafe RingFixture(int size, bool eventIndex = false, bool indirect = false, int tables = 4, int entries = 8)
    {
        _arena = (nint)NativeMemory.AlignedAlloc(ArenaBytes, 4096);
        _control = (nint)NativeMemory.AlignedAlloc(ControlBytes, 4096);
        NativeMemory.Clear((void*)_arena, ArenaBytes);
        NativeMemory.Fill((void*)_control, ControlBytes, 0xcd);
        Memory = new GuestMemory(new GuestRegion(ControlAddress, ControlBytes, _control), new GuestRegion(0, ArenaBytes, _arena));
        Addresses = new VirtqueueLayout(size).PlaceAt(ControlAddress);
        if (!SplitRing.TryMap(Memory, size, Addresses, out SplitRing ring)
            || !IndirectTables.TryMap(Memory, ControlAddress + TablesOffset, tables, entries, out IndirectTables? made))
        {
            throw new InvalidOperationException("the fixture's own memory");
        }

        Ring = ring;
        Driver = new DriverQueue(ring, eventIndex, indirect ? made : null);
        Device = new DeviceQueue(Memory, ring, eventIndex, indirect);
        Chain = new DescriptorChain(size);
    }

    public GuestMemory Memory { get; }

    public VirtqueueAddresses Addresses { get; }

    public SplitRing Ring { get; }

    public DriverQueue Driver { get; }

    public DeviceQueue Device { get; }

    public DescriptorChain Chain { get; }

    public static ulong TablesAddress => ControlAddress + TablesOffset;

    /// <summary>A descriptor in the queue's own table, whatever it says.</summary>
    public void Describe(int index, ulong address, uint length, DescriptorFlags flags = 0, ushort next = 0) =>
        Ring.WriteDescriptor(index, address, length, flags, next);

    /// <summary>A descriptor in an indirect table.</summary>
    public unsafe void DescribeIndirect(int index, ulong address, uint length, DescriptorFlags flags = 0, ushort next = 0) =>
        ((VirtqDescriptor*)(_control + TablesOffset))[index] =
            new VirtqDescriptor { Addr = address, Len = length, Flags = (ushort)flags, Next = next };

    /// <summary>What a driver without any sense publishes: this head, as the only request.</summary>
    public void Offer(ushort head)
    {
        Ring.WriteAvailable(0, head);
        SetAvailableIndex(1);
    }

    public void SetAvailableIndex(ushort index)
    {
        SplitRing ring = Ring;
        ring.AvailableIndex = index;
    }

    public void SetUsedIndex(ushort index)
    {
        SplitRing ring = Ring;
        ring.UsedIndex = index;
    }

    /// <summary>What a device without any sense publishes: this element, as the next.</summary>
    public void Answer(uint id, uint length)
    {
        ushort index = Ring.UsedIndex;
        Ring.WriteUsed(index, id, length);
        SetUsedIndex(unchecked((ushort)(index + 1)));
    }

    public unsafe Span<byte> Arena => new((void*)_arena, ArenaBytes);

    public unsafe void Dispose()
    {
        NativeMemory.AlignedFree((void*)_arena);
        NativeMemory.AlignedFree((void*)_control);
    }
}
