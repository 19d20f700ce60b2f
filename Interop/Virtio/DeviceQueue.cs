using System;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>What a driver did that no driver may do. The queue stops at the first.</summary>
internal enum ChainFault
{
    /// <summary>Nothing wrong.</summary>
    None,

    /// <summary>avail.idx is more than a queue's size ahead of what was taken.</summary>
    AvailableIndexAhead,

    /// <summary>The available ring names a descriptor that is none.</summary>
    HeadOutOfRange,

    /// <summary>A next index is no descriptor of its table.</summary>
    NextOutOfRange,

    /// <summary>More descriptors than the queue's size: a loop, or too long.</summary>
    ChainTooLong,

    /// <summary>A readable buffer behind a writable one.</summary>
    ReadableAfterWritable,

    /// <summary>An indirect table although INDIRECT_DESC was not negotiated.</summary>
    IndirectNotNegotiated,

    /// <summary>INDIRECT together with NEXT.</summary>
    IndirectWithNext,

    /// <summary>INDIRECT inside an indirect table.</summary>
    IndirectNested,

    /// <summary>The length of an indirect table is 0 or no multiple of 16.</summary>
    IndirectLength,

    /// <summary>An indirect table that is not all in guest memory.</summary>
    IndirectOutOfRange,

    /// <summary>A buffer of no bytes.</summary>
    BufferEmpty,

    /// <summary>A buffer that is not all in guest memory.</summary>
    BufferOutOfRange,

    /// <summary>More than 2^32 bytes in one chain.</summary>
    TooManyBytes,
}

/// <summary>The device's side of a split virtqueue. The driver is not trusted: every index, length and address is read once,
/// checked, and then used; every walk ends within the queue's size. Not thread-safe: one thread serves a queue at a time.</summary>
internal sealed class DeviceQueue
{
    private readonly GuestMemory _memory;
    private readonly SplitRing _ring;
    private readonly bool _eventIndex;
    private readonly bool _indirect;
    private ushort _availableIndex;
    private ushort _usedIndex;
    private ushort _signalledIndex;

    /// <summary>A queue over a ring in guest memory, at its start (all indexes 0) or where another device left it.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="ring">The ring.</param>
    /// <param name="eventIndex">EVENT_IDX was negotiated.</param>
    /// <param name="indirect">INDIRECT_DESC was negotiated.</param>
    /// <param name="availableIndex">The next request to take.</param>
    /// <param name="usedIndex">The next to give back.</param>
    public DeviceQueue(GuestMemory memory, SplitRing ring, bool eventIndex, bool indirect, ushort availableIndex = 0, ushort usedIndex = 0)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentOutOfRangeException.ThrowIfZero(ring.Size, nameof(ring));
        _memory = memory;
        _ring = ring;
        _eventIndex = eventIndex;
        _indirect = indirect;
        _availableIndex = availableIndex;
        _usedIndex = _signalledIndex = usedIndex;
    }

    /// <summary>The next request to take, free-running.</summary>
    public ushort AvailableIndex => _availableIndex;

    /// <summary>Descriptors of the queue.</summary>
    public int Size => _ring.Size;

    /// <summary>Why the queue has stopped.</summary>
    public ChainFault Fault { get; private set; }

    /// <summary>Takes the next request into <paramref name="chain"/>. False: there is none, or the queue has stopped.</summary>
    public bool TryTake(DescriptorChain chain)
    {
        ArgumentNullException.ThrowIfNull(chain);
        if (Fault != ChainFault.None)
        {
            return false;
        }

        int pending = unchecked((ushort)(_ring.AvailableIndex - _availableIndex));
        if (pending == 0)
        {
            return false;
        }

        Fault = pending > Size ? ChainFault.AvailableIndexAhead : Walk(_ring.ReadAvailable(_availableIndex), chain);
        if (Fault != ChainFault.None)
        {
            return false;
        }

        _availableIndex = unchecked((ushort)(_availableIndex + 1));
        return true;
    }

    /// <summary>Gives a request back. The driver sees it at once.</summary>
    /// <param name="head">The chain's <see cref="DescriptorChain.Head"/>.</param>
    /// <param name="written">Bytes written into its writable buffers.</param>
    public void Complete(ushort head, uint written)
    {
        _ring.WriteUsed(_usedIndex, head, written);
        _usedIndex = unchecked((ushort)(_usedIndex + 1));
        _ring.UsedIndex = _usedIndex;
    }

    /// <summary>Whether the driver must be interrupted for what was completed since this was last asked.</summary>
    public bool MustInterrupt()
    {
        ushort from = _signalledIndex;
        if (from == _usedIndex)
        {
            return false;
        }

        // The index must be out before suppression is read: the driver does it the other way round before it sleeps.
        Interlocked.MemoryBarrier();
        _signalledIndex = _usedIndex;
        return _eventIndex
            ? SplitRing.Passes(_ring.UsedEvent, _usedIndex, from)
            : (_ring.AvailableFlags & RingFlags.NoInterrupt) == 0;
    }

    /// <summary>Asks the driver to be quiet while the queue is served; it may notify nevertheless.</summary>
    public void DisableNotifications()
    {
        // With EVENT_IDX the event stays where it was passed, and is silent by that.
        if (!_eventIndex)
        {
            _ring.UsedFlags = RingFlags.NoNotify;
        }
    }

    /// <summary>Asks for a notification at the next request. True: one is there already, and there may be no notification for
    /// it, so take again before sleeping.</summary>
    public bool EnableNotifications()
    {
        if (_eventIndex)
        {
            _ring.AvailableEvent = _availableIndex;
        }
        else
        {
            _ring.UsedFlags = 0;
        }

        Interlocked.MemoryBarrier();
        return Fault == ChainFault.None && _ring.AvailableIndex != _availableIndex;
    }

    /// <summary>Walks the queue's own table; an indirect descriptor can only be the last of it (2.7.5.3.2).</summary>
    private ChainFault Walk(ushort head, DescriptorChain chain)
    {
        chain.Begin(head);
        if (head >= Size)
        {
            return ChainFault.HeadOutOfRange;
        }

        ushort index = head;
        for (int seen = 0; seen < Size; seen++)
        {
            VirtqDescriptor descriptor = _ring.ReadDescriptor(index);
            DescriptorFlags flags = (DescriptorFlags)descriptor.Flags;
            if ((flags & DescriptorFlags.Indirect) != 0)
            {
                return (flags & DescriptorFlags.Next) != 0 ? ChainFault.IndirectWithNext : WalkTable(descriptor, chain);
            }

            ChainFault fault = Append(descriptor, chain);
            if (fault != ChainFault.None || (flags & DescriptorFlags.Next) == 0)
            {
                return fault;
            }

            index = descriptor.Next;
            if (index >= Size)
            {
                return ChainFault.NextOutOfRange;
            }
        }

        return ChainFault.ChainTooLong;
    }

    private unsafe ChainFault WalkTable(in VirtqDescriptor reference, DescriptorChain chain)
    {
        if (!_indirect)
        {
            return ChainFault.IndirectNotNegotiated;
        }

        if (reference.Len == 0 || reference.Len % VirtqDescriptor.SizeInBytes != 0)
        {
            return ChainFault.IndirectLength;
        }

        if (!_memory.TryTranslate(reference.Addr, reference.Len, out byte* table))
        {
            return ChainFault.IndirectOutOfRange;
        }

        uint entries = reference.Len / VirtqDescriptor.SizeInBytes;
        uint index = 0;

        // Ends because Append refuses more than a queue's size of buffers.
        while (true)
        {
            // Sound: index < entries, and the whole table was translated.
            VirtqDescriptor descriptor = SplitRing.Read((VirtqDescriptor*)table + index);
            if ((descriptor.Flags & (ushort)DescriptorFlags.Indirect) != 0)
            {
                return ChainFault.IndirectNested;
            }

            ChainFault fault = Append(descriptor, chain);
            if (fault != ChainFault.None || (descriptor.Flags & (ushort)DescriptorFlags.Next) == 0)
            {
                return fault;
            }

            index = descriptor.Next;
            if (index >= entries)
            {
                return ChainFault.NextOutOfRange;
            }
        }
    }

    private unsafe ChainFault Append(in VirtqDescriptor descriptor, DescriptorChain chain)
    {
        if (descriptor.Len == 0)
        {
            return ChainFault.BufferEmpty;
        }

        if (!_memory.TryTranslate(descriptor.Addr, descriptor.Len, out byte* host))
        {
            return ChainFault.BufferOutOfRange;
        }

        bool writes = (descriptor.Flags & (ushort)DescriptorFlags.Write) != 0;
        return chain.Append(descriptor.Addr, descriptor.Len, writes, (nint)host);
    }
}
