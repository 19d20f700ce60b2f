using System;
using System.Collections.Generic;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>A split ring as an input sees it, written anew from the standard so that the code under attack is not judged by itself: raw words, and
/// what a device that reads them has to find.</summary>
internal sealed class RingView
{
    private const int DescriptorBytes = 16;
    private const int Header = 4;

    private readonly FuzzMemory _memory;
    private readonly nint _descriptors;
    private readonly nint _available;
    private readonly nint _used;

    /// <summary>A ring whose three parts lie in guest memory.</summary>
    public RingView(FuzzMemory memory, int size, VirtqueueAddresses at)
    {
        _memory = memory;
        Size = size;
        _descriptors = Find(memory, at.Descriptors, size * DescriptorBytes);
        _available = Find(memory, at.Available, AvailableBytes);
        _used = Find(memory, at.Used, UsedBytes);
    }

    /// <summary>One buffer that a device has to find.</summary>
    public readonly record struct Buffer(ulong Address, uint Length, bool Writes);

    public int Size { get; }

    /// <summary>What a walk has found: the buffers, as far as it came.</summary>
    public List<Buffer> Found { get; } = [];

    public int AvailableBytes => Header + (2 * Size) + 2;

    public int UsedBytes => Header + (8 * Size) + 2;

    // Sound, each of them: Find has looked that the part lies in the input's view, and indexes wrap at the ring's size.
    public unsafe Span<byte> Descriptors => new((void*)_descriptors, Size * DescriptorBytes);

    public unsafe Span<byte> Available => new((void*)_available, AvailableBytes);

    public unsafe Span<byte> Used => new((void*)_used, UsedBytes);

    public unsafe ref ushort AvailableFlags => ref *(ushort*)_available;

    public unsafe ref ushort AvailableIndex => ref *(ushort*)(_available + 2);

    public unsafe ref ushort UsedEvent => ref *(ushort*)(_available + Header + (2 * Size));

    public unsafe ref ushort UsedFlags => ref *(ushort*)_used;

    public unsafe ref ushort UsedIndex => ref *(ushort*)(_used + 2);

    public unsafe ref ushort AvailableEvent => ref *(ushort*)(_used + Header + (8 * Size));

    public unsafe ref VirtqDescriptor Descriptor(int index) => ref ((VirtqDescriptor*)_descriptors)[index & (Size - 1)];

    public unsafe ref ushort AvailableSlot(int index) => ref ((ushort*)(_available + Header))[index & (Size - 1)];

    public unsafe ref VirtqUsedElement UsedSlot(int index) => ref ((VirtqUsedElement*)(_used + Header))[index & (Size - 1)];

    /// <summary>Whether an index that moves passes an event, by the distance of both from where it came.</summary>
    public static bool Passes(ushort eventIndex, ushort to, ushort from) =>
        unchecked((ushort)(eventIndex - from)) < unchecked((ushort)(to - from));

    /// <summary>Moves a free-running index on by one.</summary>
    public static void Advance(ref ushort index) => index = unchecked((ushort)(index + 1));

    public void Clear()
    {
        Descriptors.Clear();
        Available.Clear();
        Used.Clear();
    }

    /// <summary>What a device has to say of the request in an available slot.</summary>
    public ChainFault Walk(ushort availableIndex, bool indirect)
    {
        Found.Clear();
        int pending = unchecked((ushort)(AvailableIndex - availableIndex));
        if (pending > Size)
        {
            return ChainFault.AvailableIndexAhead;
        }

        int index = AvailableSlot(availableIndex);
        if (index >= Size)
        {
            return ChainFault.HeadOutOfRange;
        }

        for (int steps = 0; steps < Size; steps++)
        {
            VirtqDescriptor one = Descriptor(index);
            if ((one.Flags & 4) != 0)
            {
                return (one.Flags & 1) != 0 ? ChainFault.IndirectWithNext : WalkTable(one, indirect);
            }

            ChainFault fault = Take(one);
            if (fault != ChainFault.None || (one.Flags & 1) == 0)
            {
                return fault;
            }

            index = one.Next;
            if (index >= Size)
            {
                return ChainFault.NextOutOfRange;
            }
        }

        return ChainFault.ChainTooLong;
    }

    private unsafe ChainFault WalkTable(VirtqDescriptor reference, bool indirect)
    {
        if (!indirect)
        {
            return ChainFault.IndirectNotNegotiated;
        }

        if (reference.Len == 0 || (reference.Len & 15) != 0)
        {
            return ChainFault.IndirectLength;
        }

        if (!_memory.TryFind(reference.Addr, reference.Len, out FuzzMemory.Part part))
        {
            return ChainFault.IndirectOutOfRange;
        }

        // Sound: the whole table was found in one part.
        var table = (VirtqDescriptor*)(part.Input + (nint)(reference.Addr - part.Address));
        for (uint index = 0; ;)
        {
            VirtqDescriptor one = table[index];
            if ((one.Flags & 4) != 0)
            {
                return ChainFault.IndirectNested;
            }

            ChainFault fault = Take(one);
            if (fault != ChainFault.None || (one.Flags & 1) == 0)
            {
                return fault;
            }

            index = one.Next;
            if (index >= reference.Len / DescriptorBytes)
            {
                return ChainFault.NextOutOfRange;
            }
        }
    }

    private ChainFault Take(VirtqDescriptor one)
    {
        bool writes = (one.Flags & 2) != 0;
        if (one.Len == 0)
        {
            return ChainFault.BufferEmpty;
        }

        if (!_memory.TryFind(one.Addr, one.Len, out _))
        {
            return ChainFault.BufferOutOfRange;
        }

        if (Found.Count == Size)
        {
            return ChainFault.ChainTooLong;
        }

        if (!writes && Found.Count > 0 && Found[^1].Writes)
        {
            return ChainFault.ReadableAfterWritable;
        }

        Found.Add(new Buffer(one.Addr, one.Len, writes));
        return ChainFault.None;
    }

    private static nint Find(FuzzMemory memory, ulong address, int bytes) =>
        memory.TryFind(address, (ulong)bytes, out FuzzMemory.Part part)
            ? part.Input + (nint)(address - part.Address)
            : throw new MeasurementException($"no ring at 0x{address:x}");
}
