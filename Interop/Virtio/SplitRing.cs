using System;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>The shared memory of one split virtqueue (VIRTIO 1.2, 2.7) and nothing else: no index of its own, no policy. Each
/// side keeps its state for itself. Every read is volatile, so that a value that the other side can change is fetched once
/// and then stands; an index is written last, with release semantics. Words are little-endian, as this processor's are.</summary>
internal readonly struct SplitRing
{
    private readonly unsafe VirtqDescriptor* _descriptors;
    private readonly unsafe VirtqRingHeader* _available;
    private readonly unsafe VirtqRingHeader* _used;

    private unsafe SplitRing(ushort size, byte* descriptors, byte* available, byte* used)
    {
        Size = size;
        _descriptors = (VirtqDescriptor*)descriptors;
        _available = (VirtqRingHeader*)available;
        _used = (VirtqRingHeader*)used;
    }

    /// <summary>Descriptors, and slots of each ring; a power of two. 0 for the default value, which has no memory.</summary>
    public ushort Size { get; }

    /// <summary>avail.flags.</summary>
    public unsafe ushort AvailableFlags
    {
        get => Volatile.Read(ref _available->Flags);
        set => Volatile.Write(ref _available->Flags, value);
    }

    /// <summary>avail.idx: what the driver has published, free-running.</summary>
    public unsafe ushort AvailableIndex
    {
        get => Volatile.Read(ref _available->Idx);
        set => Volatile.Write(ref _available->Idx, value);
    }

    /// <summary>used.flags.</summary>
    public unsafe ushort UsedFlags
    {
        get => Volatile.Read(ref _used->Flags);
        set => Volatile.Write(ref _used->Flags, value);
    }

    /// <summary>used.idx: what the device has published, free-running.</summary>
    public unsafe ushort UsedIndex
    {
        get => Volatile.Read(ref _used->Idx);
        set => Volatile.Write(ref _used->Idx, value);
    }

    /// <summary>avail.used_event: the driver wants an interrupt when used.idx passes it.</summary>
    public unsafe ushort UsedEvent
    {
        get => Volatile.Read(ref *UsedEventWord);
        set => Volatile.Write(ref *UsedEventWord, value);
    }

    /// <summary>used.avail_event: the device wants a notification when avail.idx passes it.</summary>
    public unsafe ushort AvailableEvent
    {
        get => Volatile.Read(ref *AvailableEventWord);
        set => Volatile.Write(ref *AvailableEventWord, value);
    }

    // Sound, as are the accessors above: TryMap checked that the three parts, event words included, lie in mapped memory.
    private unsafe ushort* AvailableSlots => (ushort*)(_available + 1);

    private unsafe VirtqUsedElement* UsedSlots => (VirtqUsedElement*)(_used + 1);

    private unsafe ushort* UsedEventWord => AvailableSlots + Size;

    private unsafe ushort* AvailableEventWord => (ushort*)(UsedSlots + Size);

    private int Mask => Size - 1;

    /// <summary>The ring at these guest addresses. False where the size is none, a part is misaligned or not all in one region.</summary>
    public static unsafe bool TryMap(GuestMemory memory, int size, VirtqueueAddresses at, out SplitRing ring)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ring = default;
        if (!VirtqueueLayout.IsValidSize(size)
            || !TryMap(memory, at.Descriptors, new VirtqueueLayout(size).DescriptorBytes, VirtqueueLayout.Alignment, out byte* descriptors)
            || !TryMap(memory, at.Available, new VirtqueueLayout(size).AvailableBytes, VirtqueueLayout.AvailableAlignment, out byte* available)
            || !TryMap(memory, at.Used, new VirtqueueLayout(size).UsedBytes, VirtqueueLayout.UsedAlignment, out byte* used))
        {
            return false;
        }

        ring = new SplitRing((ushort)size, descriptors, available, used);
        return true;
    }

    /// <summary>The EVENT_IDX rule (2.7.7.2, 2.7.10): whether a move of an index from <paramref name="from"/> to
    /// <paramref name="to"/> passes the event. All three wrap at 2^16.</summary>
    public static bool Passes(ushort eventIndex, ushort to, ushort from) =>
        unchecked((ushort)(to - eventIndex - 1) < (ushort)(to - from));

    /// <summary>One descriptor of a table, each of its two words fetched once. (A copy of the struct, put together field by field and read whole, would
    /// wait for its own stores each time.)</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe VirtqDescriptor Read(VirtqDescriptor* descriptor)
    {
        ulong address = Volatile.Read(ref descriptor->Addr);
        ulong rest = Volatile.Read(ref *(ulong*)&descriptor->Len);
        return new VirtqDescriptor
        {
            Addr = address,
            Len = unchecked((uint)rest),
            Flags = unchecked((ushort)(rest >> 32)),
            Next = unchecked((ushort)(rest >> 48)),
        };
    }

    /// <summary>Writes one descriptor of a table, as two words.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Write(VirtqDescriptor* descriptor, ulong address, uint length, DescriptorFlags flags, ushort next)
    {
        descriptor->Addr = address;
        *(ulong*)&descriptor->Len = length | ((ulong)(ushort)flags << 32) | ((ulong)next << 48);
    }

    /// <summary>One descriptor of the queue's own table; the index wraps at the table's size, so it never leaves it.</summary>
    public unsafe VirtqDescriptor ReadDescriptor(int index) => Read(_descriptors + (index & Mask));

    /// <summary>Writes one descriptor of the queue's own table.</summary>
    public unsafe void WriteDescriptor(int index, ulong address, uint length, DescriptorFlags flags, ushort next) =>
        Write(_descriptors + (index & Mask), address, length, flags, next);

    /// <summary>The chain head in the slot of an available index.</summary>
    public unsafe ushort ReadAvailable(ushort index) => Volatile.Read(ref AvailableSlots[index & Mask]);

    /// <summary>Writes the slot of an available index.</summary>
    public unsafe void WriteAvailable(ushort index, ushort head) => AvailableSlots[index & Mask] = head;

    /// <summary>The element in the slot of a used index.</summary>
    public unsafe VirtqUsedElement ReadUsed(ushort index)
    {
        VirtqUsedElement* slot = UsedSlots + (index & Mask);
        return new VirtqUsedElement { Id = Volatile.Read(ref slot->Id), Len = Volatile.Read(ref slot->Len) };
    }

    /// <summary>Writes the slot of a used index.</summary>
    public unsafe void WriteUsed(ushort index, uint id, uint length)
    {
        VirtqUsedElement* slot = UsedSlots + (index & Mask);
        slot->Id = id;
        slot->Len = length;
    }

    /// <summary>Both rings empty, all indexes and events 0: what a queue is before the device sees it.</summary>
    public unsafe void Clear()
    {
        VirtqueueLayout layout = new(Size);
        new Span<byte>(_descriptors, layout.DescriptorBytes).Clear();
        new Span<byte>(_available, layout.AvailableBytes).Clear();
        new Span<byte>(_used, layout.UsedBytes).Clear();
    }

    private static unsafe bool TryMap(GuestMemory memory, ulong address, int bytes, int alignment, out byte* host) =>
        memory.TryTranslate(address, (ulong)bytes, out host)
        && address % (ulong)alignment == 0
        && (nuint)host % (nuint)alignment == 0;
}
