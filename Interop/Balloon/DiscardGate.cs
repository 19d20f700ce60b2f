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

    /// <summary>The system refused, the range or a part of it.</summary>
    Failed,

    /// <summary>The range is not the device's to drop, or is no longer; nothing was called.</summary>
    Refused,
}

/// <summary>What became of the ranges of one wish.</summary>
internal record struct DiscardTotals
{
    /// <summary>Bytes dropped.</summary>
    public ulong DroppedBytes { get; set; }

    /// <summary>Ranges that the system refused, wholly or in part.</summary>
    public int Failed { get; set; }

    /// <summary>Ranges that were not the device's to drop.</summary>
    public int Refused { get; set; }
}

/// <summary>The one way by which a device reaches guest memory.</summary>
internal interface IDiscardPort
{
    /// <summary>Drops ranges of whole pages, those that may be.</summary>
    DiscardTotals Discard(ReadOnlySpan<GuestRange> ranges);
}

/// <summary>The gate between an in-process device and the arena, owned by the driver. The driver opens it for the blocks of one
/// request; the device goes through it, one call at a time, each time claiming the request that is open and only for ranges
/// inside it, many under one claim; the driver closes it before any of the blocks is handed out again, and closing waits for the call that is under
/// way. So a device that is slow, dead or lying (answers first and drops later, answers twice) may cost the report, and
/// never touches memory that has an owner.
/// <code>
/// state = request number * 4 + busy * 2 + open
/// open     driver: all stored, then state := (number + 1, open)
/// claim    device: looks whether the first range is inside, then compare-exchange (n, open) to (n, open, busy); anything else
///          refuses. The look needs no claim: whoever saw the blocks of another request than n does not get through.
/// leave    device: clear busy; closed meanwhile: wake the driver
/// close    driver: clear open; while busy: wait
/// </code></summary>
internal sealed class DiscardGate
{
    private const ulong Open = 1;
    private const ulong Busy = 2;
    private const ulong Step = 4;

    private readonly IGuestBacking _backing;
    private readonly GuestRange[] _ranges;
    private readonly bool[] _dropped;
    private readonly ulong[] _droppedOfRange;
    private readonly Signal _left = new();
    private ulong _state;
    private int _count;
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
        _droppedOfRange = new ulong[capacity];
    }

    /// <summary>The most blocks of one request.</summary>
    public int Capacity => _ranges.Length;

    /// <summary>Ranges that the system refused, wholly or in part, since the start. Any thread.</summary>
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

    /// <summary>Drops the first of these ranges and those after it that are inside the request too, under one claim.</summary>
    /// <returns>How many ranges those are; 0 where the first is not inside, or the request is closed or claimed.</returns>
    public int TryDiscard(ReadOnlySpan<GuestRange> ranges, ref DiscardTotals totals)
    {
        ulong state = Volatile.Read(ref _state);
        if ((state & (Open | Busy)) != Open || ranges.IsEmpty || !IsInside(ranges[0])
            || Interlocked.CompareExchange(ref _state, state | Busy, state) != state)
        {
            return 0;
        }

        try
        {
            int run = 1;
            while (run < ranges.Length && run < Capacity && IsInside(ranges[run]))
            {
                run++;
            }

            DiscardClaimed(ranges[..run], ref totals);
            return run;
        }
        finally
        {
            if ((Interlocked.And(ref _state, ~Busy) & Open) == 0)
            {
                _left.Set();
            }
        }
    }

    private void DiscardClaimed(ReadOnlySpan<GuestRange> ranges, ref DiscardTotals totals)
    {
        Span<ulong> dropped = _droppedOfRange.AsSpan(0, ranges.Length);
        dropped.Clear();
        Errno error = _backing.Discard(ranges, dropped);
        ulong bytes = 0;
        int failed = 0;
        for (int i = 0; i < ranges.Length; i++)
        {
            bytes += dropped[i];
            failed += dropped[i] == ranges[i].Bytes ? 0 : 1;
            Mark(ranges[i] with { Bytes = dropped[i] });
        }

        totals.DroppedBytes += bytes;
        Interlocked.Add(ref _droppedBytes, (long)bytes);
        if (failed != 0)
        {
            totals.Failed += failed;
            Interlocked.Add(ref _failed, failed);
            Volatile.Write(ref _lastError, (int)error);
        }
    }

    /// <summary>Marks the blocks that lie wholly in what was dropped. A block of which only a part was stays unmarked: it must not
    /// pass for zero.</summary>
    private void Mark(GuestRange dropped)
    {
        for (int i = FirstFrom(dropped.Address); i < _count && _ranges[i].End <= dropped.End; i++)
        {
            _dropped[i] = true;
        }
    }

    /// <summary>Whether the blocks of the request, which may lie side by side, cover the range. Ends whatever it reads.</summary>
    private bool IsInside(GuestRange range)
    {
        if (range.Bytes == 0 || range.Bytes > ulong.MaxValue - range.Address)
        {
            return false;
        }

        int count = Math.Min(_count, Capacity);
        int first = FirstFrom(range.Address);
        if (first == count || _ranges[first].Address != range.Address)
        {
            first--; // the block before it may reach into the range
        }

        ulong covered = range.Address;
        for (int i = Math.Max(first, 0); i < count && _ranges[i].Address <= covered; i++)
        {
            covered = Math.Max(covered, _ranges[i].End);
            if (covered >= range.End)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Index of the first block at or behind an address; the blocks are sorted.</summary>
    private int FirstFrom(ulong address)
    {
        int from = 0;
        int to = Math.Min(_count, Capacity);
        while (from < to)
        {
            int middle = (from + to) / 2;
            if (_ranges[middle].Address < address)
            {
                from = middle + 1;
            }
            else
            {
                to = middle;
            }
        }

        return from;
    }
}
