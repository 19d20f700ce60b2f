using System;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>One buffer of a request: readable ones come before those that the device writes.</summary>
internal readonly record struct QueueBuffer(ulong Address, uint Length, bool DeviceWrites);

/// <summary>A request that came back: the caller's token, and the bytes that the device says it wrote.</summary>
internal readonly record struct UsedRequest(ulong Token, uint Length);

/// <summary>What a device did that no device may do. The queue stops at the first and stays stopped until it is cleared.</summary>
internal enum DriverQueueFault
{
    /// <summary>Nothing wrong.</summary>
    None,

    /// <summary>used.idx runs ahead of what was published: a request completed twice, or never made.</summary>
    UsedIndexAhead,

    /// <summary>A used element's id is no descriptor.</summary>
    UsedIdOutOfRange,

    /// <summary>A used element's id heads no published request.</summary>
    UsedIdNotOutstanding,

    /// <summary>A used element's length exceeds what the request lets the device write.</summary>
    UsedLengthTooLong,
}

/// <summary>The driver's side of a split virtqueue. What it knows (free descriptors, chains, requests, indexes) lies in private
/// memory and is never read back from the ring, so whatever the device writes can stop the queue but not confuse it. Not
/// thread-safe: its owner calls from one thread at a time; an interrupt only wakes that owner up.</summary>
internal sealed class DriverQueue
{
    private readonly SplitRing _ring;
    private readonly bool _eventIndex;
    private readonly IndirectTables? _tables;
    private readonly ushort[] _next;
    private readonly Request[] _requests;
    private readonly ushort[] _unpublished;
    private int _unpublishedCount;
    private int _publishedCount;
    private ushort _firstFree;
    private ushort _availableIndex;
    private ushort _usedIndex;
    private bool _wantsInterrupts = true;

    /// <summary>An empty queue over a ring, which is cleared.</summary>
    /// <param name="ring">The shared memory.</param>
    /// <param name="eventIndex">EVENT_IDX was negotiated.</param>
    /// <param name="tables">Indirect tables where INDIRECT_DESC was negotiated; else null.</param>
    public DriverQueue(SplitRing ring, bool eventIndex, IndirectTables? tables = null)
    {
        ArgumentOutOfRangeException.ThrowIfZero(ring.Size, nameof(ring));
        _ring = ring;
        _eventIndex = eventIndex;
        _tables = tables;
        _next = new ushort[ring.Size];
        _requests = new Request[ring.Size];
        _unpublished = new ushort[ring.Size];
        Clear();
    }

    private enum RequestState : byte
    {
        None,
        Added,
        Published,
    }

    /// <summary>Descriptors of the queue.</summary>
    public int Size => _ring.Size;

    /// <summary>Descriptors that no request uses.</summary>
    public int FreeDescriptors { get; private set; }

    /// <summary>Requests added and not yet reaped.</summary>
    public int Outstanding => _publishedCount + _unpublishedCount;

    /// <summary>Why the queue has stopped.</summary>
    public DriverQueueFault Fault { get; private set; }

    /// <summary>Whether the device has published something to reap; may be asked while stopped.</summary>
    public bool HasUsed => _ring.UsedIndex != _usedIndex;

    /// <summary>Whether <see cref="TryAdd"/> would take a request of so many buffers.</summary>
    public bool CanAdd(int buffers) => Fault == DriverQueueFault.None && Needed(buffers) <= FreeDescriptors;

    /// <summary>Adds a request; the device sees it after <see cref="Publish"/>. False, and nothing changed, where descriptors are
    /// short or the queue has stopped.</summary>
    /// <exception cref="ArgumentException">The buffers can be no request: none, more than the queue's size, an empty one, a
    /// readable one behind a writable one, more than 2^32 bytes.</exception>
    public bool TryAdd(ReadOnlySpan<QueueBuffer> buffers, ulong token)
    {
        ulong writable = Check(buffers);
        if (!CanAdd(buffers.Length))
        {
            return false;
        }

        ushort head = _firstFree;
        int needed = Needed(buffers.Length);
        bool indirect = IsIndirect(buffers.Length);
        short table = indirect ? WriteTable(buffers) : (short)-1;
        ushort last = indirect ? head : WriteChain(buffers);
        FreeDescriptors -= needed;
        _requests[head] = new Request
        {
            Token = token,
            WritableBytes = writable,
            Descriptors = (ushort)needed,
            Last = last,
            Table = table,
            State = RequestState.Added,
        };
        _ring.WriteAvailable(unchecked((ushort)(_availableIndex + _unpublishedCount)), head);
        _unpublished[_unpublishedCount++] = head;
        return true;
    }

    /// <summary>Lets the device see what was added. True: the device must be notified.</summary>
    public bool Publish()
    {
        if (_unpublishedCount == 0 || Fault != DriverQueueFault.None)
        {
            return false;
        }

        ushort from = _availableIndex;
        foreach (ushort head in _unpublished.AsSpan(0, _unpublishedCount))
        {
            _requests[head].State = RequestState.Published;
        }

        _availableIndex = unchecked((ushort)(from + _unpublishedCount));
        _publishedCount += _unpublishedCount;
        _unpublishedCount = 0;
        _ring.AvailableIndex = _availableIndex;

        // The index must be out before suppression is read: the device does it the other way round before it sleeps (2.7.13.3.1).
        Interlocked.MemoryBarrier();
        return _eventIndex
            ? SplitRing.Passes(_ring.AvailableEvent, _availableIndex, from)
            : (_ring.UsedFlags & RingFlags.NoNotify) == 0;
    }

    /// <summary>Takes one request back, in the device's order. False: none has come back, or the queue has stopped.</summary>
    public bool TryReap(out UsedRequest request)
    {
        request = default;
        int pending = unchecked((ushort)(_ring.UsedIndex - _usedIndex));
        if (pending == 0 || Fault != DriverQueueFault.None)
        {
            return false;
        }

        VirtqUsedElement used = _ring.ReadUsed(_usedIndex);
        Fault = Judge(pending, used);
        if (Fault != DriverQueueFault.None)
        {
            return false;
        }

        ushort head = (ushort)used.Id;
        request = new UsedRequest(_requests[head].Token, used.Len);
        Release(head);
        _publishedCount--;
        _usedIndex = unchecked((ushort)(_usedIndex + 1));
        if (_eventIndex && _wantsInterrupts)
        {
            _ring.UsedEvent = _usedIndex;
        }

        return true;
    }

    /// <summary>Asks the device to be quiet; it may interrupt nevertheless.</summary>
    public void DisableInterrupts()
    {
        _wantsInterrupts = false;
        if (_eventIndex)
        {
            // An event just passed comes round again only after 2^16 requests.
            _ring.UsedEvent = unchecked((ushort)(_usedIndex - 1));
        }
        else
        {
            _ring.AvailableFlags = RingFlags.NoInterrupt;
        }
    }

    /// <summary>Asks for an interrupt when requests have come back: with EVENT_IDX when so many have, else at the next.</summary>
    /// <param name="requests">At least 1; no more than are outstanding.</param>
    /// <returns>True: one has come back already, and there may be no interrupt for it, so reap again before sleeping.</returns>
    public bool EnableInterrupts(int requests = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(requests, 1);
        _wantsInterrupts = true;
        if (_eventIndex)
        {
            _ring.UsedEvent = unchecked((ushort)(_usedIndex + requests - 1));
        }
        else
        {
            _ring.AvailableFlags = 0;
        }

        Interlocked.MemoryBarrier();
        return HasUsed;
    }

    /// <summary>Forgets every request and clears the ring; only while the device cannot touch it (before DRIVER_OK or after an
    /// acknowledged reset).</summary>
    public void Clear()
    {
        _ring.Clear();
        Array.Clear(_requests);
        _tables?.Clear();
        for (int i = 0; i < Size; i++)
        {
            _next[i] = (ushort)(i + 1);
        }

        _firstFree = 0;
        FreeDescriptors = Size;
        _availableIndex = _usedIndex = 0;
        _unpublishedCount = _publishedCount = 0;
        _wantsInterrupts = true;
        Fault = DriverQueueFault.None;
    }

    private bool IsIndirect(int buffers) => _tables is { Any: true } && buffers > 1 && buffers <= _tables.Entries;

    private int Needed(int buffers) => IsIndirect(buffers) ? 1 : buffers;

    private ulong Check(ReadOnlySpan<QueueBuffer> buffers)
    {
        if (buffers.IsEmpty || buffers.Length > Size)
        {
            throw new ArgumentException($"{buffers.Length} buffers; a request has 1 to {Size}, the queue's size", nameof(buffers));
        }

        ulong all = 0;
        ulong writable = 0;
        foreach (QueueBuffer buffer in buffers)
        {
            if (buffer.Length == 0 || (!buffer.DeviceWrites && writable != 0))
            {
                throw new ArgumentException($"{buffer}: a buffer has a length, and readable ones come first", nameof(buffers));
            }

            all += buffer.Length;
            writable += buffer.DeviceWrites ? buffer.Length : 0u;
        }

        return all <= 1ul << 32 ? writable : throw new ArgumentException($"{all} bytes; a request has at most 2^32", nameof(buffers));
    }

    /// <summary>Of a buffer that another follows.</summary>
    private static DescriptorFlags FlagsOf(in QueueBuffer buffer) => DescriptorFlags.Next | LastFlagsOf(buffer);

    private static DescriptorFlags LastFlagsOf(in QueueBuffer buffer) => buffer.DeviceWrites ? DescriptorFlags.Write : 0;

    /// <summary>Takes free descriptors, as many as there are buffers, and says which is the last.</summary>
    private ushort WriteChain(ReadOnlySpan<QueueBuffer> buffers)
    {
        ushort at = _firstFree;
        foreach (ref readonly QueueBuffer buffer in buffers[..^1])
        {
            ushort next = _next[at];
            _ring.WriteDescriptor(at, buffer.Address, buffer.Length, FlagsOf(buffer), next);
            at = next;
        }

        ref readonly QueueBuffer last = ref buffers[^1];
        _ring.WriteDescriptor(at, last.Address, last.Length, LastFlagsOf(last), 0);
        _firstFree = _next[at];
        return at;
    }

    /// <summary>Takes a table and one free descriptor, and says which table.</summary>
    private short WriteTable(ReadOnlySpan<QueueBuffer> buffers)
    {
        short table = _tables!.Take();
        for (int i = 0; i < buffers.Length - 1; i++)
        {
            _tables.Write(table, i, buffers[i].Address, buffers[i].Length, FlagsOf(buffers[i]), (ushort)(i + 1));
        }

        ref readonly QueueBuffer last = ref buffers[^1];
        _tables.Write(table, buffers.Length - 1, last.Address, last.Length, LastFlagsOf(last), 0);
        _ring.WriteDescriptor(_firstFree, _tables.Address(table), (uint)IndirectTables.Bytes(1, buffers.Length), DescriptorFlags.Indirect, 0);
        _firstFree = _next[_firstFree];
        return table;
    }

    private DriverQueueFault Judge(int pending, VirtqUsedElement used)
    {
        if (pending > _publishedCount)
        {
            return DriverQueueFault.UsedIndexAhead;
        }

        if (used.Id >= (uint)Size)
        {
            return DriverQueueFault.UsedIdOutOfRange;
        }

        ref readonly Request request = ref _requests[used.Id];
        if (request.State != RequestState.Published)
        {
            return DriverQueueFault.UsedIdNotOutstanding;
        }

        return used.Len > request.WritableBytes ? DriverQueueFault.UsedLengthTooLong : DriverQueueFault.None;
    }

    private void Release(ushort head)
    {
        ref Request request = ref _requests[head];
        if (request.Table >= 0)
        {
            _tables!.Give(request.Table);
        }

        // The chain is linked as it was when it was taken.
        _next[request.Last] = _firstFree;
        _firstFree = head;
        FreeDescriptors += request.Descriptors;
        request = default;
    }

    private struct Request
    {
        public ulong Token;
        public ulong WritableBytes;
        public ushort Descriptors;
        public ushort Last;
        public short Table;
        public RequestState State;
    }
}
