using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>The device's side of a ring, whose driver is the input. The ring's parts end where inaccessible memory begins; only the used ring can be
/// written by the code under attack. What it takes is compared with a walk of the same memory by <see cref="RingView"/>.</summary>
internal sealed class DeviceQueueTarget : IRacingTarget
{
    private const int PageBytes = 4096;
    private const int SizesLog = 5;
    private const int TableEntries = 24;
    private const ulong ArenaAddress = 0;
    private const ulong DescriptorPage = 0x10000;
    private const ulong TablePage = DescriptorPage + PageBytes; // beside it by guest address, far from it in the process
    private const ulong AvailablePage = 0x20000;
    private const ulong UsedPage = 0x30000;
    private const byte Canary = 0xcd;

    private readonly FuzzMemory _memory = new();
    private readonly GuestMemory _guest;
    private readonly nint _table;
    private readonly nint _usedPage;
    private readonly RingView[] _views = new RingView[SizesLog];
    private readonly SplitRing[] _rings = new SplitRing[SizesLog];
    private readonly DescriptorChain[] _chains = new DescriptorChain[SizesLog];
    private readonly Queue<ushort> _taken = new();
    private readonly byte[] _expectedUsed = new byte[4 + (8 << SizesLog)];
    private RingScribbler? _scribbler;
    private RingView _view;
    private DeviceQueue _queue;
    private DescriptorChain _chain;
    private FuzzMap _map = new();
    private bool _indirect;
    private bool _eventIndex;
    private ushort _available;
    private ushort _used;
    private ushort _signalled;

    public DeviceQueueTarget()
    {
        FuzzMemory.Part arena = _memory.Add(ArenaAddress, 2, MemoryProtection.Read);
        _memory.Add(DescriptorPage, 1, MemoryProtection.Read);
        _table = _memory.Add(TablePage, 1, MemoryProtection.Read).Input + PageBytes - (TableEntries * VirtqDescriptor.SizeInBytes);
        _memory.Add(AvailablePage, 1, MemoryProtection.Read);
        _usedPage = _memory.Add(UsedPage, 1, MemoryProtection.ReadWrite).Input;
        _guest = _memory.ToGuestMemory();
        for (int i = 0; i < SizesLog; i++)
        {
            VirtqueueLayout layout = new(1 << i);
            VirtqueueAddresses at = new(
                DescriptorPage + PageBytes - (ulong)layout.DescriptorBytes,
                AvailablePage + PageBytes - (ulong)layout.AvailableBytes,
                UsedPage + PageBytes - (ulong)((layout.UsedBytes + 3) & -4));
            _views[i] = new RingView(_memory, 1 << i, at);
            _rings[i] = SplitRing.TryMap(_guest, 1 << i, at, out SplitRing ring) ? ring : throw new MeasurementException("no ring");
            _chains[i] = new DescriptorChain(1 << i);
        }

        for (int i = 0; i < 2 * PageBytes; i++)
        {
            Byte(arena.Input, i) = unchecked((byte)(i * 7));
        }

        (_view, _chain, _queue) = (_views[0], _chains[0], new DeviceQueue(_guest, _rings[0], false, false));
    }

    public string Name => "device-queue";

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

    private unsafe Span<byte> UsedPageBytes => new((void*)_usedPage, PageBytes);

    private unsafe Span<VirtqDescriptor> Table => new((void*)_table, TableEntries);

    public void Run(ReadOnlySpan<byte> input, FuzzMap map)
    {
        FuzzReader reader = new(input);
        Begin(ref reader, map);
        while (reader.HasMore)
        {
            Step(ref reader);
        }

        // A driver that has said all this now waits: whatever is there is taken, and that ends by itself.
        for (int i = 0; i <= _view.Size && Take(); i++)
        {
            FuzzFinding.Require(i < _view.Size, "more requests than the queue's size were taken in one go");
        }

        _scribbler?.Rest();
        if (!IsRacing)
        {
            // The other thread of a race changes the one, and perhaps still a byte of the ring before, which was longer.
            FuzzFinding.Require(_view.Used.SequenceEqual(_expectedUsed.AsSpan(0, _view.UsedBytes)), "the used ring is not what was completed");
            Span<byte> before = UsedPageBytes[..^((_view.UsedBytes + 3) & -4)];
            FuzzFinding.Require(!before[^64..].ContainsAnyExcept(Canary), "memory before the used ring was written");
        }
    }

    public void Dispose()
    {
        _scribbler?.Dispose();
        _memory.Dispose();
    }

    private static unsafe ref byte Byte(nint at, int offset) => ref ((byte*)at)[offset];

    private void Begin(ref FuzzReader reader, FuzzMap map)
    {
        int kind = reader.Byte();
        int log = kind % SizesLog;
        _map = map;
        _eventIndex = (kind & 64) != 0;
        _indirect = (kind & 128) == 0;
        _view = _views[log];
        _chain = _chains[log];
        ushort start = (reader.Byte() % 4) switch { 0 => 0xfffe, 1 => 0x7fff, _ => 0 };
        _available = _used = _signalled = start;
        UsedPageBytes[^Math.Min(PageBytes, ((_view.UsedBytes + 3) & -4) + 64)..].Fill(Canary);
        _view.Clear();
        Table.Clear();
        _view.AvailableIndex = start;
        _view.UsedIndex = start;
        _view.Used.CopyTo(_expectedUsed);
        _taken.Clear();
        _queue = new DeviceQueue(_guest, _rings[log], _eventIndex, _indirect, start, start);
        _scribbler?.Begin(_view, _table, TableEntries * VirtqDescriptor.SizeInBytes);
    }

    private void Step(ref FuzzReader reader)
    {
        int step = reader.Below(18);
        switch (step)
        {
            case < 8:
                RingWriter.Write(step, ref reader, _view, Table, TablePage + PageBytes - (TableEntries * 16), _view.Size);
                break;
            case < 11:
                Take();
                break;
            case 11 or 12:
                Complete(ref reader);
                break;
            case 13:
                Interrupt();
                break;
            case 14:
                Enable();
                break;
            case 15:
                Disable();
                break;
            case 16:
                RingWriter.Scribble(ref reader, _view);
                break;
            default:
                // A driver that writes where only the device does; nobody reads it.
                int at = reader.Byte() % _view.UsedBytes;
                _view.Used[at] = _expectedUsed[at] = reader.Byte();
                break;
        }
    }

    private bool Take()
    {
        ChainFault before = _queue.Fault;
        if (IsRacing)
        {
            bool got = _queue.TryTake(_chain);
            _available = _queue.AvailableIndex;
            _map.Note(1, got ? 100 + _chain.Buffers.Length : (int)_queue.Fault);
            return Looks(got);
        }

        bool isPending = before == ChainFault.None && _view.AvailableIndex != _available;
        ChainFault expected = isPending ? _view.Walk(_available, _indirect) : before;
        bool taken = _queue.TryTake(_chain);
        FuzzFinding.Require(_queue.Fault == expected, $"the queue's fault is {_queue.Fault}, the ring's is {expected}");
        FuzzFinding.Require(taken == (isPending && expected == ChainFault.None), $"taken: {taken}, pending: {isPending}, {expected}");
        _map.Note(1, taken ? 100 + _chain.Buffers.Length : (int)_queue.Fault);
        if (taken)
        {
            ushort head = _view.AvailableSlot(_available);
            FuzzFinding.Require(_chain.Head == head, $"head {_chain.Head}, offered {head}");
            FuzzFinding.Require(_chain.Buffers.Length == _view.Found.Count, $"{_chain.Buffers.Length} buffers, offered {_view.Found.Count}");
            for (int i = 0; i < _view.Found.Count; i++)
            {
                ChainBuffer buffer = _chain.Buffers[i];
                RingView.Buffer offered = _view.Found[i];
                FuzzFinding.Require(new RingView.Buffer(buffer.Address, buffer.Length, buffer.DeviceWrites) == offered, $"{buffer}, offered {offered}");
            }

            _available = unchecked((ushort)(_available + 1));
            FuzzFinding.Require(_queue.AvailableIndex == _available, "the next request is not the next");
        }

        return Looks(taken);
    }

    /// <summary>What holds of a request whatever the memory does meanwhile.</summary>
    private bool Looks(bool taken)
    {
        if (!taken)
        {
            return false;
        }

        ulong readable = 0;
        ulong writable = 0;
        foreach (ChainBuffer buffer in _chain.Buffers)
        {
            bool found = _memory.TryFind(buffer.Address, buffer.Length, out FuzzMemory.Part part);
            FuzzFinding.Require(found && buffer.Host == part.Product + (nint)(buffer.Address - part.Address), $"{buffer} is not guest memory");
            FuzzFinding.Require(buffer.DeviceWrites || writable == 0, "a readable buffer behind a writable one");
            readable += buffer.DeviceWrites ? 0u : buffer.Length;
            writable += buffer.DeviceWrites ? buffer.Length : 0u;
        }

        FuzzFinding.Require((readable, writable) == (_chain.ReadableBytes, _chain.WritableBytes), "the sums of a chain are not those of its buffers");
        FuzzFinding.Require(_chain.Buffers.Length <= _view.Size && _chain.Head < _view.Size, "a chain longer than the queue");
        Span<byte> copy = stackalloc byte[96];
        int copied = _chain.CopyReadable(copy);
        FuzzFinding.Require(copied == (int)Math.Min(readable, (ulong)copy.Length), $"{copied} bytes copied of {readable}");
        if (_taken.Count < 64)
        {
            _taken.Enqueue(_chain.Head);
        }

        return true;
    }

    private void Complete(ref FuzzReader reader)
    {
        if (!_taken.TryDequeue(out ushort head))
        {
            return;
        }

        uint written = reader.Byte();
        _queue.Complete(head, written);
        int slot = 4 + (8 * (_used & (_view.Size - 1)));
        BitConverter.TryWriteBytes(_expectedUsed.AsSpan(slot), (uint)head);
        BitConverter.TryWriteBytes(_expectedUsed.AsSpan(slot + 4), written);
        _used = unchecked((ushort)(_used + 1));
        BitConverter.TryWriteBytes(_expectedUsed.AsSpan(2), _used);
        _map.Note(2, 0);
    }

    private void Interrupt()
    {
        bool expected = _used != _signalled
            && (_eventIndex ? RingView.Passes(_view.UsedEvent, _used, _signalled) : (_view.AvailableFlags & 1) == 0);
        bool must = _queue.MustInterrupt();
        FuzzFinding.Require(IsRacing || must == expected, $"interrupt: {must}, the driver's wish: {expected}");
        _signalled = _used;
        _map.Note(3, must ? 1 : 0);
    }

    private void Enable()
    {
        bool expected = _queue.Fault == ChainFault.None && _view.AvailableIndex != _available;
        bool more = _queue.EnableNotifications();
        FuzzFinding.Require(IsRacing || more == expected, $"there is more: {more}, it should be {expected}");
        if (_eventIndex)
        {
            BitConverter.TryWriteBytes(_expectedUsed.AsSpan(_view.UsedBytes - 2), _available);
        }
        else
        {
            BitConverter.TryWriteBytes(_expectedUsed.AsSpan(0), (ushort)0);
        }

        _map.Note(4, more ? 1 : 0);
    }

    private void Disable()
    {
        _queue.DisableNotifications();
        if (!_eventIndex)
        {
            BitConverter.TryWriteBytes(_expectedUsed.AsSpan(0), (ushort)1);
        }
    }
}
