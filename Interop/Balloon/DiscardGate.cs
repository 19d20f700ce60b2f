using System;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;

namespace LowLevel.Interop.Balloon;

/// <summary>A range of guest memory, bytes.</summary>
internal readonly record struct GuestRange(ulong Address, ulong Bytes) : IComparable<GuestRange>
{
    /// <summary>First byte behind it; the caller knows that it does not wrap.</summary>
    public ulong End => Address + Bytes;

    /// <inheritdoc/>
    public int CompareTo(GuestRange other) => Address.CompareTo(other.Address);
}

/// <summary>What became of one wish to drop memory.</summary>
internal enum DiscardOutcome
{
    /// <summary>The range was dropped.</summary>
    Dropped,

    /// <summary>The system refused; the range is as it was.</summary>
    Failed,

    /// <summary>The range is not the device's to drop, or is no longer; nothing was called.</summary>
    Refused,
}

/// <summary>The one way by which a device reaches guest memory.</summary>
internal interface IDiscardPort
{
    /// <summary>Drops a range of whole pages, if that may be.</summary>
    DiscardOutcome Discard(ulong address, ulong bytes);
}

/// <summary>The gate between an in-process device and the arena, owned by the driver. The driver opens it for the blocks of one
/// request; the device goes through it, one call at a time, each time claiming the request that is open and only for ranges
/// inside it; the driver closes it before any of the blocks is handed out again, and closing waits for the call that is under
/// way. So a device that is slow, dead or lying (answers first and drops later, answers twice) may cost the report, and
/// never touches memory that has an owner.
/// <code>
/// state = request number * 4 + busy * 2 + open
/// open     driver: all stored, then state := (number + 1, open)
/// claim    device: compare-exchange (n, open) to (n, open, busy); anything else refuses
/// leave    device: clear busy; closed meanwhile: wake the driver
/// close    driver: clear open; while busy: wait
/// </code></summary>
internal sealed class DiscardGate : IDiscardPort
{
    private const ulong Open = 1;
    private const ulong Busy = 2;
    private const ulong Step = 4;

    private readonly IGuestBacking _backing;
    private readonly GuestRange[] _ranges;
    private readonly bool[] _dropped;
    private readonly Signal _left = new();
    private ulong _state;
    private int _count;
    private long _refused;
    private long _failed;
    private long _droppedBytes;
    private int _lastError;

    /// <summary>A closed gate.</summary>
    /// <param name="backing">What it leads to.</param>
    /// <param name="capacity">The most blocks of one request.</param>
    public DiscardGate(IGuestBacking backing, int capacity)
    {
        ArgumentNullException.ThrowIfNull(backing);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        _backing = backing;
        _ranges = new GuestRange[capacity];
        _dropped = new bool[capacity];
    }

    /// <summary>The most blocks of one request.</summary>
    public int Capacity => _ranges.Length;

    /// <summary>Wishes refused since the start. Any thread.</summary>
    public long Refused => Interlocked.Read(ref _refused);

    /// <summary>Calls that the system refused since the start. Any thread.</summary>
    public long Failed => Interlocked.Read(ref _failed);

    /// <summary>Bytes dropped since the start. Any thread.</summary>
    public long DroppedBytes => Interlocked.Read(ref _droppedBytes);

    /// <summary>The last error of the system; None before the first.</summary>
    public Errno LastError => (Errno)Volatile.Read(ref _lastError);

    /// <summary>Whether what goes through reads zero afterwards.</summary>
    public bool LeavesZero => _backing.LeavesZero;

    /// <summary>Whether the system dropped every block of the last request. The driver asks after it has closed the gate.</summary>
    public bool DroppedAll => _count > 0 && !_dropped.AsSpan(0, _count).Contains(false);

    /// <summary>The driver opens the gate for a request's blocks, which do not overlap. False: a call of an earlier request is
    /// still under way, and nothing changed.</summary>
    public bool TryOpen(ReadOnlySpan<GuestRange> blocks)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(blocks.Length, Capacity, nameof(blocks));
        ulong state = Volatile.Read(ref _state);
        if ((state & (Open | Busy)) != 0)
        {
            return false;
        }

        // Nobody reads these while the gate is closed and not busy; the write of the state publishes them.
        blocks.CopyTo(_ranges);
        _ranges.AsSpan(0, blocks.Length).Sort();
        _dropped.AsSpan(0, blocks.Length).Clear();
        _count = blocks.Length;
        Volatile.Write(ref _state, unchecked(state + Step) | Open);
        return true;
    }

    /// <summary>The driver closes the gate. True: nothing goes through any more, and no call is under way. False: one still is;
    /// no new one begins, and the call may be repeated.</summary>
    public bool TryClose(in Deadline deadline)
    {
        Interlocked.And(ref _state, ~Open);
        while ((Volatile.Read(ref _state) & Busy) != 0)
        {
            if (!_left.Wait(deadline))
            {
                return (Volatile.Read(ref _state) & Busy) == 0;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public DiscardOutcome Discard(ulong address, ulong bytes)
    {
        ulong state = Volatile.Read(ref _state);
        if ((state & (Open | Busy)) != Open || Interlocked.CompareExchange(ref _state, state | Busy, state) != state)
        {
            Interlocked.Increment(ref _refused);
            return DiscardOutcome.Refused;
        }

        try
        {
            return DiscardClaimed(new GuestRange(address, bytes));
        }
        finally
        {
            if ((Interlocked.And(ref _state, ~Busy) & Open) == 0)
            {
                _left.Set();
            }
        }
    }

    private DiscardOutcome DiscardClaimed(GuestRange range)
    {
        if (!IsInside(range))
        {
            Interlocked.Increment(ref _refused);
            return DiscardOutcome.Refused;
        }

        Errno error = _backing.Discard(range.Address, range.Bytes);
        if (error != Errno.None)
        {
            Interlocked.Increment(ref _failed);
            Volatile.Write(ref _lastError, (int)error);
            return DiscardOutcome.Failed;
        }

        Interlocked.Add(ref _droppedBytes, (long)range.Bytes);
        for (int i = 0; i < _count; i++)
        {
            // A block of which only a part was dropped stays unmarked: it must not pass for zero.
            _dropped[i] |= _ranges[i].Address >= range.Address && _ranges[i].End <= range.End;
        }

        return DiscardOutcome.Dropped;
    }

    /// <summary>Whether the blocks of the request, which may lie side by side, cover the range.</summary>
    private bool IsInside(GuestRange range)
    {
        if (range.Bytes == 0 || range.Bytes > ulong.MaxValue - range.Address)
        {
            return false;
        }

        ulong covered = range.Address;
        foreach (GuestRange block in _ranges.AsSpan(0, _count))
        {
            if (block.Address <= covered && covered < block.End)
            {
                covered = block.End;
            }

            if (covered >= range.End)
            {
                return true;
            }
        }

        return false;
    }
}
