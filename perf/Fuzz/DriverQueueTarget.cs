using System;
using System.Collections.Generic;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>The driver's side of a ring, whose device is the input: it may write every byte that the two share. What the queue says is compared with
/// books that are kept here from what it was asked and what stood on the ring.</summary>
internal sealed class DriverQueueTarget : IRacingTarget
{
    private const int PageBytes = 4096;
    private const int SizesLog = 5;
    private const int Tables = 2;
    private const int TableEntries = 4;
    private const ulong DescriptorPage = 0x10000;
    private const ulong TablePage = DescriptorPage + PageBytes;
    private const ulong AvailablePage = 0x20000;
    private const ulong UsedPage = 0x30000;

    private readonly FuzzMemory _memory = new();
    private readonly nint _table;
    private readonly RingView[] _views = new RingView[SizesLog];
    private readonly SplitRing[] _rings = new SplitRing[SizesLog];
    private readonly DriverQueue[] _queues = new DriverQueue[SizesLog * 4];
    private readonly Dictionary<uint, Asked> _asked = [];
    private readonly List<uint> _unpublished = [];
    private readonly List<uint> _heads = [];
    private uint _inUse; // a bit for each descriptor
    private RingScribbler? _scribbler;
    private FuzzMap _map = new();
    private RingView _view;
    private DriverQueue _queue;
    private bool _eventIndex;
    private bool _indirect;
    private ulong _token;
    private ushort _available;
    private ushort _used;
    private int _free;
    private int _published;
    private DriverQueueFault _fault;

    public DriverQueueTarget()
    {
        _memory.Add(0, 2, MemoryProtection.None);
        _memory.Add(DescriptorPage, 1, MemoryProtection.ReadWrite);
        FuzzMemory.Part tables = _memory.Add(TablePage, 1, MemoryProtection.ReadWrite);
        _memory.Add(AvailablePage, 1, MemoryProtection.ReadWrite);
        _memory.Add(UsedPage, 1, MemoryProtection.ReadWrite);
        int tableBytes = IndirectTables.Bytes(Tables, TableEntries);
        _table = tables.Input + PageBytes - tableBytes;
        GuestMemory guest = _memory.ToGuestMemory();
        for (int i = 0; i < _queues.Length; i++)
        {
            int log = i % SizesLog;
            VirtqueueLayout layout = new(1 << log);
            VirtqueueAddresses at = new(
                DescriptorPage + PageBytes - (ulong)layout.DescriptorBytes,
                AvailablePage + PageBytes - (ulong)layout.AvailableBytes,
                UsedPage + PageBytes - (ulong)((layout.UsedBytes + 3) & -4));
            _views[log] = new RingView(_memory, 1 << log, at);
            IndirectTables? made = null;
            bool mapped = SplitRing.TryMap(guest, 1 << log, at, out _rings[log])
                && IndirectTables.TryMap(guest, TablePage + PageBytes - (ulong)tableBytes, Tables, TableEntries, out made);
            _queues[i] = mapped
                ? new DriverQueue(_rings[log], eventIndex: i / SizesLog % 2 != 0, i / (2 * SizesLog) != 0 ? made : null)
                : throw new MeasurementException("no ring");
        }

        (_view, _queue) = (_views[0], _queues[0]);
    }

    public string Name => "driver-queue";

    public int InputMax => 96;

    public int InputUsual => 32;

    public bool IsRacing
    {
        get => _scribbler is not null;
        set
        {
            _scribbler?.Dispose();
            _scribbler = value ? new RingScribbler() : null;
        }
    }

    private unsafe Span<VirtqDescriptor> Table => new((void*)_table, Tables * TableEntries);

    public void Run(ReadOnlySpan<byte> input, FuzzMap map)
    {
        FuzzReader reader = new(input);
        int kind = reader.Byte() % _queues.Length;
        _map = map;
        _queue = _queues[kind];
        _view = _views[kind % SizesLog];
        _eventIndex = kind / SizesLog % 2 != 0;
        _indirect = kind / (2 * SizesLog) != 0;
        Clear();
        _scribbler?.Begin(_view, _table, IndirectTables.Bytes(Tables, TableEntries));
        while (reader.HasMore)
        {
            Step(ref reader);
            FuzzFinding.Require(_queue.Fault == _fault || IsRacing, $"fault {_queue.Fault}, by the books {_fault}");
            FuzzFinding.Require(_queue.FreeDescriptors == _free, $"{_queue.FreeDescriptors} descriptors free, by the books {_free}");
            FuzzFinding.Require(_queue.Outstanding == _asked.Count, $"{_queue.Outstanding} requests outstanding, by the books {_asked.Count}");
        }

        _scribbler?.Rest();

        // Whatever it was: after a reset the queue is as good as new, and holds as many requests as it has descriptors.
        Clear();
        for (int i = 0; i < _view.Size && (input.Length & 7) == 0; i++)
        {
            FuzzFinding.Require(Add([new QueueBuffer(0, 1, DeviceWrites: true)]), "a cleared queue does not hold what it is made for");
        }

        FuzzFinding.Require((input.Length & 7) != 0 || (!_queue.CanAdd(1) && _queue.FreeDescriptors == 0), "a full queue is not full");
    }

    public void Dispose()
    {
        _scribbler?.Dispose();
        _memory.Dispose();
    }

    private void Clear()
    {
        _queue.Clear();
        _asked.Clear();
        _unpublished.Clear();
        _heads.Clear();
        (_available, _used, _free, _published, _fault, _inUse) = (0, 0, _view.Size, 0, DriverQueueFault.None, 0);
        FuzzFinding.Require(IsRacing || (!_view.Used.ContainsAnyExcept((byte)0) && !_view.Descriptors.ContainsAnyExcept((byte)0)), "a cleared ring is not clear");
    }

    private void Step(ref FuzzReader reader)
    {
        switch (reader.Below(16))
        {
            case < 3:
                AddSome(ref reader);
                break;
            case 3 or 4:
                Publish();
                break;
            case 5 or 6 or 7:
                Answer(ref reader);
                break;
            case 8:
                _view.UsedSlot(_used + reader.Below(4)) = new VirtqUsedElement { Id = reader.WildWord(), Len = reader.WildWord() };
                break;
            case 9:
                _view.UsedIndex = reader.Below(2) == 0 ? reader.WildShort() : unchecked((ushort)(_view.UsedIndex + reader.Below(4) - 1));
                break;
            case 10 or 11 or 12:
                Reap();
                break;
            case 13:
                Suppress(ref reader);
                break;
            case 14:
                Scribble(ref reader);
                break;
            default:
                Interrupts(ref reader);
                break;
        }
    }

    private void AddSome(ref FuzzReader reader)
    {
        int shape = reader.Byte();
        int count = Math.Min(1 + (shape & 7), _view.Size);
        int readable = (shape >> 3) & 7;
        Span<QueueBuffer> buffers = stackalloc QueueBuffer[8];
        for (int i = 0; i < count; i++)
        {
            buffers[i] = new QueueBuffer((ulong)reader.Byte() << 6, 1 + (uint)reader.Byte(), DeviceWrites: i >= readable);
        }

        bool added = Add(buffers[..count]);
        _map.Note(1, added ? 1 + count : 0);
        if (shape >= 224)
        {
            Publish();
        }
    }

    private bool Add(ReadOnlySpan<QueueBuffer> buffers)
    {
        bool can = _queue.CanAdd(buffers.Length);
        bool added = _queue.TryAdd(buffers, _token);
        FuzzFinding.Require(added == can && (!added || _fault == DriverQueueFault.None), $"added: {added}, said before: {can}, {_fault}");
        if (!added)
        {
            FuzzFinding.Require(_fault != DriverQueueFault.None || buffers.Length > _free, "refused although there are descriptors");
            return false;
        }

        int before = _free;
        _free = _queue.FreeDescriptors;
        uint head = _view.AvailableSlot(unchecked((ushort)(_available + _unpublished.Count)));
        uint ofThis = 0;
        if (IsRacing)
        {
            // What stands on the ring is anybody's; the books go by numbers alone.
            head = 1000 + (uint)_token;
        }
        else
        {
            ofThis = LooksAsAsked(head, buffers, before - _free);
            _inUse |= ofThis;
        }

        ulong writable = 0;
        foreach (QueueBuffer buffer in buffers)
        {
            writable += buffer.DeviceWrites ? buffer.Length : 0u;
        }

        FuzzFinding.Require(_asked.TryAdd(head, new Asked(_token++, writable, before - _free, ofThis, false)), $"head {head} is asked for twice");
        _unpublished.Add(head);
        _heads.Add(head);
        return true;
    }

    /// <summary>The request stands on the ring as it was asked for, in descriptors that no other has.</summary>
    private uint LooksAsAsked(uint head, ReadOnlySpan<QueueBuffer> buffers, int needed)
    {
        FuzzFinding.Require(head < _view.Size, $"head {head} of {_view.Size}");
        bool isTable = needed == 1 && buffers.Length > 1;
        FuzzFinding.Require(isTable ? _indirect && (_view.Descriptor((int)head).Flags & 4) != 0 : needed == buffers.Length, $"{needed} descriptors for {buffers.Length}");
        ulong at = unchecked(_view.Descriptor((int)head).Addr - (TablePage + PageBytes - (ulong)(Tables * TableEntries * 16)));
        uint index = head;
        uint inUse = 0;
        for (int i = 0; i < buffers.Length; i++)
        {
            FuzzFinding.Require(isTable || index < _view.Size, $"descriptor {index} of {_view.Size}");
            FuzzFinding.Require(!isTable || ((at / 16) + (ulong)buffers.Length <= (ulong)Table.Length && at % 16 == 0), "a table outside the tables");
            VirtqDescriptor one = isTable ? Table[(int)(at / 16) + i] : _view.Descriptor((int)index);
            bool last = i == buffers.Length - 1;
            FuzzFinding.Require(
                one.Addr == buffers[i].Address && one.Len == buffers[i].Length && one.Flags == ((buffers[i].DeviceWrites ? 2 : 0) | (last ? 0 : 1)),
                $"descriptor {index} is not {buffers[i]}");
            uint bit = 1u << (int)index;
            FuzzFinding.Require((i > 0 && isTable) || ((_inUse | inUse) & bit) == 0, $"descriptor {index} is in use twice");
            inUse |= bit;
            index = isTable ? index : one.Next;
        }

        return inUse;
    }

    private void Publish()
    {
        ushort from = _available;
        bool isDone = _unpublished.Count != 0 && _fault == DriverQueueFault.None;
        bool must = _queue.Publish();
        if (isDone)
        {
            _available = unchecked((ushort)(_available + _unpublished.Count));
            _published += _unpublished.Count;
            _unpublished.ForEach(head => _asked[head] = _asked[head] with { IsPublished = true });
            _unpublished.Clear();
        }

        bool expected = isDone && (_eventIndex ? RingView.Passes(_view.AvailableEvent, _available, from) : (_view.UsedFlags & 1) == 0);
        FuzzFinding.Require(IsRacing || must == expected, $"notify: {must}, the device's wish: {expected}");
        FuzzFinding.Require(IsRacing || !isDone || _view.AvailableIndex == _available, "the index is not what was published");
        _map.Note(2, (isDone ? 1 : 0) + (must ? 2 : 0));
    }

    /// <summary>An answer that may be true: to one of the requests, twice perhaps, with a length that is near what it lets the device write.</summary>
    private void Answer(ref FuzzReader reader)
    {
        int which = reader.Byte();
        uint head = _heads.Count == 0 ? (uint)which : _heads[which % _heads.Count];
        ulong writable = _asked.TryGetValue(head, out Asked asked) ? asked.Writable : 0;
        int length = reader.Byte();
        _view.UsedSlot(_view.UsedIndex) = new VirtqUsedElement
        {
            Id = IsRacing ? (uint)(which & (_view.Size - 1)) : head,
            Len = length < 192 ? (uint)Math.Min((ulong)length, writable) : unchecked((uint)(writable + (ulong)(length - 194))),
        };
        RingView.Advance(ref _view.UsedIndex);
    }

    private void Reap()
    {
        int pending = unchecked((ushort)(_view.UsedIndex - _used));
        VirtqUsedElement element = _view.UsedSlot(_used);
        bool isAsked = _asked.TryGetValue(element.Id, out Asked asked) && asked.IsPublished;
        if (_fault == DriverQueueFault.None && pending != 0 && !IsRacing)
        {
            _fault = pending > _published ? DriverQueueFault.UsedIndexAhead
                : element.Id >= _view.Size ? DriverQueueFault.UsedIdOutOfRange
                : !isAsked ? DriverQueueFault.UsedIdNotOutstanding
                : element.Len > asked.Writable ? DriverQueueFault.UsedLengthTooLong : DriverQueueFault.None;
        }

        bool expected = pending != 0 && _fault == DriverQueueFault.None;
        bool reaped = _queue.TryReap(out UsedRequest request);
        _map.Note(3, reaped ? 100 + _asked.Count : (int)_queue.Fault);
        if (IsRacing)
        {
            ForgetByToken(reaped, request);
            return;
        }

        FuzzFinding.Require(reaped == expected, $"reaped: {reaped}, by the books {expected} ({_fault}, the queue says {_queue.Fault})");
        if (reaped)
        {
            FuzzFinding.Require(request == new UsedRequest(asked.Token, element.Len), $"{request}, by the books token {asked.Token}");
            Forget(element.Id);
        }
    }

    private void ForgetByToken(bool reaped, UsedRequest request)
    {
        _fault = _queue.Fault;
        if (reaped)
        {
            uint key = 1000 + (uint)request.Token;
            FuzzFinding.Require(_asked.TryGetValue(key, out Asked asked) && asked.IsPublished, $"token {request.Token} came back and was not out");
            FuzzFinding.Require(request.Length <= asked.Writable, $"{request.Length} bytes written into {asked.Writable}");
            Forget(key);
        }
    }

    private void Forget(uint head)
    {
        _asked.Remove(head, out Asked asked);
        _free += asked.Descriptors;
        _inUse &= ~asked.InUse;
        _published--;
        _used = unchecked((ushort)(_used + 1));
    }

    private void Suppress(ref FuzzReader reader)
    {
        if (reader.Below(2) == 0)
        {
            _view.AvailableEvent = unchecked((ushort)(_available + reader.Below(16) - 8));
        }
        else
        {
            _view.UsedFlags = reader.WildShort();
        }
    }

    /// <summary>The device writes where it may not: into descriptors, tables and the available ring.</summary>
    private void Scribble(ref FuzzReader reader)
    {
        Span<byte> part = reader.Below(3) switch
        {
            0 => _view.Descriptors,
            1 => _view.Available,
            _ => System.Runtime.InteropServices.MemoryMarshal.AsBytes(Table),
        };
        for (int i = reader.Below(8); i >= 0; i--)
        {
            part[reader.Byte() % part.Length] = reader.Byte();
        }
    }

    private void Interrupts(ref FuzzReader reader)
    {
        if (reader.Below(2) == 0)
        {
            _queue.DisableInterrupts();
            _map.Note(4, 0);
        }
        else
        {
            bool some = _queue.EnableInterrupts(1 + reader.Below(4));
            FuzzFinding.Require(IsRacing || some == (_view.UsedIndex != _used), "an answer that is there is not seen, or one that is not is");
            _map.Note(4, some ? 1 : 2);
        }
    }

    private readonly record struct Asked(ulong Token, ulong Writable, int Descriptors, uint InUse, bool IsPublished);
}
