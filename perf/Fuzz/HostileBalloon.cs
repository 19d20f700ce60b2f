using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>A balloon device that does what the input says whenever its driver says or asks anything: it answers, lies, drops, scribbles, breaks down,
/// is silent, calls again and again. With gates it is in the driver's process and may drop through them; without it is elsewhere.</summary>
internal sealed class HostileBalloon : IVirtioTransport, IBalloonLink, IGuestBacking
{
    private const int Queues = BalloonLimits.Queues;

    private const Feature Sound = Feature.Version1 | Feature.PageReporting | Feature.StatsQueue | Feature.DeflateOnOom | Feature.IndirectDescriptors | Feature.EventIndex;

    private readonly FuzzMemory.Part _control;
    private readonly (RingView? View, ushort Next)[] _queues = new (RingView?, ushort)[Queues];
    private readonly uint[] _config = new uint[4];
    private readonly FuzzMemory _memory;
    private readonly GuestBacking _backing;
    private readonly Func<GuestRange, bool> _isFree;
    private readonly BalloonGates? _gates;
    private readonly List<(ushort Head, GuestRange[] Ranges)> _claims = [];
    private byte[] _script = [];
    private int _at;
    private int _inside;
    private DeviceStatus _status;

    /// <summary>A device over an arena.</summary>
    /// <param name="arena">The arena.</param>
    /// <param name="options">What the driver is to ask for.</param>
    /// <param name="memory">Holds the control memory, which follows the arena.</param>
    /// <param name="isGated">Whether it is in this process.</param>
    /// <param name="isFree">Whether no user has any of a range.</param>
    public HostileBalloon(PageArena arena, BalloonDriverOptions options, FuzzMemory memory, bool isGated, Func<GuestRange, bool> isFree)
    {
        ArenaMemory at = arena.Memory;
        _memory = memory;
        _control = memory.Parts[0];
        _isFree = isFree;
        _backing = GuestBacking.Anonymous(LinuxSystem.Instance, at.Base, at.Bytes, DiscardMethod.DontNeed);
        GuestMemory guest = new(new GuestRegion(0, at.Bytes, at.Base), new GuestRegion(_control.Address, _control.Bytes, _control.Product));
        _gates = isGated
            ? new BalloonGates(new DiscardGates(this, options.WantedCapacity, options.ReportsInFlight), new DiscardGates(this, BalloonControl.PageNumbersMax))
            : null;
        Driver = new BalloonDriver(this, new BalloonControl(guest, _control.Address, options), new ArenaBalloonPages(arena, null), _gates, options);
        Driver.TryRestart();
    }

    public BalloonDriver Driver { get; }

    /// <summary>From now on it does what the standard says.</summary>
    public bool Behaves
    {
        get;
        set
        {
            field = value;
            OfferedFeatures = Sound;
        }
    }

    public ITreatmentDevice Device => Driver;

    public ulong InflatedPages => Driver.InflatedPages;

    public Action? WorkArrived { get; set; }

    public Action<int>? QueueInterrupt { get; set; }

    public Action? ConfigInterrupt { get; set; }

    public uint ConfigGeneration => 0;

    public ulong Bytes => _backing.Bytes;

    public bool LeavesZero => true;

    public Feature OfferedFeatures { get; private set; } = Sound;

    public DeviceStatus Status
    {
        get
        {
            Act();
            return _status;
        }
    }

    /// <summary>Begins to do what these bytes say.</summary>
    public void Follow(ReadOnlySpan<byte> script)
    {
        _script = script.ToArray();
        _at = 0;
        Behaves = false;
    }

    /// <summary>A few bytes' worth of whatever they say.</summary>
    public void Act()
    {
        if (Behaves || _inside != 0 || _at >= _script.Length)
        {
            return;
        }

        // What it does may have the driver call it again; one thing at a time, or a stack would be what ends.
        _inside++;
        try
        {
            FuzzReader reader = new(_script.AsSpan(_at, Math.Min(16, _script.Length - _at)));
            int what = reader.Byte();
            int used = 1;
            if (what >= 96)
            {
                used = 8;
                Do(what % 16, ref reader);
            }

            _at += used;
            LooksAtClaims();
        }
        finally
        {
            _inside--;
        }
    }

    public void AddStatus(DeviceStatus bits)
    {
        Act();
        _status |= bits;
    }

    public void AcceptFeatures(Feature features) => Act();

    public int QueueSizeMax(int queue)
    {
        Act();
        return Behaves || _at >= _script.Length ? 64 : _script[_at] switch { 0 => 0, 1 => 1, 2 => -1, 3 => int.MaxValue, 4 => 3, 5 => 2, _ => 64 };
    }

    public void SetQueue(int queue, int size, VirtqueueAddresses addresses)
    {
        _queues[queue] = (new RingView(_memory, size, addresses), 0);
        Act();
    }

    public void Notify(int queue)
    {
        if (queue == BalloonLimits.ReportingQueue && _gates is null)
        {
            Claim();
        }

        Act();
        if (Behaves)
        {
            while (Answer(queue, 0, drops: true))
            {
            }
        }
    }

    public uint ReadConfig(int offset)
    {
        Act();
        return _config[offset / sizeof(uint) & 3];
    }

    public void WriteConfig(int offset, uint value)
    {
        FuzzFinding.Require(offset is 4 or 12, $"the driver writes {value} at {offset} of the configuration");
        _config[offset / sizeof(uint)] = value;
        Act();
    }

    public bool TryReset(in Deadline deadline)
    {
        Act();
        bool acknowledges = Behaves || _at >= _script.Length || (_script[_at] & 3) != 0;
        if (acknowledges)
        {
            _status = 0;
            Array.Clear(_queues);
            _claims.Clear();
        }

        return acknowledges;
    }

    /// <summary>As an operating system: drops, unless it is memory that somebody has.</summary>
    public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped)
    {
        foreach (GuestRange range in ranges)
        {
            FuzzFinding.Require(_isFree(range), $"{range} is dropped, and a user has it");
        }

        return _backing.Discard(ranges, dropped);
    }

    /// <summary>What the host wants in the balloon.</summary>
    public void SetTarget(uint pages)
    {
        _config[0] = pages;
        ConfigInterrupt?.Invoke();
    }

    public void Service() => Driver.Service();

    public uint Deflate(uint pages) => InflatedPages == 0 ? 0 : Driver.Deflate(pages);

    public bool TryClose(TimeSpan bound) => Driver.TryShutDown(new Deadline(TimeProvider.System, bound));

    private void Do(int what, ref FuzzReader reader)
    {
        int queue = reader.Below(8) switch
        {
            < 4 => BalloonLimits.ReportingQueue,
            4 or 5 => BalloonLimits.InflateQueue,
            6 => BalloonLimits.DeflateQueue,
            _ => BalloonLimits.StatsQueue,
        };
        RingView? view = _queues[queue].View;
        switch (what)
        {
            case < 4:
                Answer(queue, reader.Below(16) == 0 ? reader.WildWord() : 0, drops: (reader.Byte() & 7) != 0);
                break;
            case 4 when view is not null:
                uint id = reader.Below(2) == 0 ? reader.Byte() : reader.WildWord();
                _claims.RemoveAll(one => one.Head == id);
                view.UsedSlot(view.UsedIndex) = new VirtqUsedElement { Id = id, Len = reader.WildWord() };
                RingView.Advance(ref view.UsedIndex);
                QueueInterrupt?.Invoke(queue);
                break;
            case 5 when view is not null:
                _claims.Clear(); // what stands in the slots is answers now
                view.UsedIndex = reader.Below(2) == 0 ? reader.WildShort() : unchecked((ushort)(view.UsedIndex + reader.Below(3) - 1));
                break;
            case 6 or 7:
                Drop(reader.Wild(), reader.Wild());
                break;
            case 8:
                _config[0] = reader.Below(4) switch { 0 => reader.WildWord(), 1 => 0, _ => reader.Byte() * 8u };
                ConfigInterrupt?.Invoke();
                break;
            case 9:
                Scribble(ref reader);
                break;
            case 10 when reader.Below(8) == 0:
                _status |= DeviceStatus.NeedsReset;
                ConfigInterrupt?.Invoke();
                break;
            case 11 when reader.Below(4) == 0:
                _status = (DeviceStatus)reader.Byte();
                break;
            case 12:
                OfferedFeatures = reader.Below(2) == 0 ? (Feature)reader.Wild() : OfferedFeatures | (Feature)(ulong)reader.Byte() | Feature.Version1;
                break;
            case 13 or 14:
                for (int i = reader.Below(8); i >= 0; i--)
                {
                    QueueInterrupt?.Invoke(i);
                    ConfigInterrupt?.Invoke();
                }

                break;
            default:
                break;
        }
    }

    /// <summary>The next request of a queue, as the standard wants it, but perhaps for the length.</summary>
    private bool Answer(int queue, uint length, bool drops)
    {
        if (_queues[queue].View is not RingView view || view.AvailableIndex == _queues[queue].Next)
        {
            return false;
        }

        ushort next = _queues[queue].Next;
        RingView.Advance(ref _queues[queue].Next);
        ushort head = view.AvailableSlot(next);
        if (drops)
        {
            DropRequest(queue, view.Descriptor(head));
        }

        _claims.RemoveAll(one => one.Head == head);
        view.UsedSlot(view.UsedIndex) = new VirtqUsedElement { Id = head, Len = length };
        RingView.Advance(ref view.UsedIndex);
        QueueInterrupt?.Invoke(queue);
        return true;
    }

    private unsafe void DropRequest(int queue, VirtqDescriptor first)
    {
        if (_gates is null || !_memory.TryFind(first.Addr, first.Len, out FuzzMemory.Part part))
        {
            if (queue == BalloonLimits.ReportingQueue)
            {
                Drop(first.Addr, first.Len);
            }

            return;
        }

        // Sound: the table, or the page numbers, were found in one part of the input's view.
        nint at = part.Input + (nint)(first.Addr - part.Address);
        List<GuestRange> ranges = [];
        for (uint i = 0; queue == BalloonLimits.ReportingQueue && i < first.Len / 16; i++)
        {
            VirtqDescriptor one = ((VirtqDescriptor*)at)[i];
            ranges.Add(new GuestRange(one.Addr, one.Len));
        }

        for (uint i = 0; queue == BalloonLimits.InflateQueue && i < first.Len / 4; i++)
        {
            ranges.Add(new GuestRange((ulong)((uint*)at)[i] << 12, 4096));
        }

        DiscardGates port = queue == BalloonLimits.ReportingQueue ? _gates.Reports : _gates.Inflates;
        port.Discard([.. ranges]);
    }

    /// <summary>A device elsewhere takes note of what it was told last, before anything is scribbled over: until it has answered or acknowledged a reset
    /// it may touch that, so nobody else may have it.</summary>
    private unsafe void Claim()
    {
        if (_queues[BalloonLimits.ReportingQueue].View is not RingView view || view.AvailableIndex == _queues[BalloonLimits.ReportingQueue].Next)
        {
            return;
        }

        ushort head = view.AvailableSlot(unchecked((ushort)(view.AvailableIndex - 1)));
        VirtqDescriptor one = view.Descriptor(head);
        List<GuestRange> ranges = [];
        if ((one.Flags & 4) == 0)
        {
            ranges.Add(new GuestRange(one.Addr, one.Len));
        }
        else if (_memory.TryFind(one.Addr, one.Len, out FuzzMemory.Part part))
        {
            // Sound: the table was found in one part of the input's view.
            for (uint i = 0; i < one.Len / 16; i++)
            {
                VirtqDescriptor entry = ((VirtqDescriptor*)(part.Input + (nint)(one.Addr - part.Address)))[i];
                ranges.Add(new GuestRange(entry.Addr, entry.Len));
            }
        }

        _claims.Add((head, [.. ranges]));
    }

    private void LooksAtClaims()
    {
        foreach ((ushort _, GuestRange[] ranges) in _claims)
        {
            foreach (GuestRange range in ranges)
            {
                FuzzFinding.Require(_isFree(range), $"{range} is with a device that has not let go of it, and a user has it");
            }
        }
    }

    /// <summary>A range of the input's choice; the gates alone stand before the arena.</summary>
    private void Drop(ulong address, ulong bytes)
    {
        if (_gates is not null)
        {
            _gates.Reports.Discard([new GuestRange(address, bytes)]);
            _gates.Inflates.Discard([new GuestRange(address & ~4095ul, bytes)]);
        }
    }

    private unsafe void Scribble(ref FuzzReader reader)
    {
        _claims.Clear(); // it may be an answer

        // Sound: inside the control memory.
        Span<byte> control = new((void*)_control.Input, (int)_control.Bytes);
        int start = reader.Short() % control.Length;
        for (int i = 0; i < 4 && start + i < control.Length; i++)
        {
            control[start + i] = reader.Byte();
        }
    }
}
