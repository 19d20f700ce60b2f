using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>A freed object that is held back.</summary>
internal readonly record struct HeldObject(nuint Address, int SizeClass, BlockRecord Record)
{
    /// <summary>Its bytes.</summary>
    public nuint Bytes => (nuint)SizeClasses.Bytes(SizeClass);
}

/// <summary>What a heap has for <see cref="PageArenaOptions.DebugChecks"/>: who asked for how much, a canary behind each block (and so before the
/// next object of the slab), and the freed objects that are held back, filled, first in first out. The book is kept here, out of reach of
/// whoever writes past an object.
/// <code>
/// | the bytes asked for | canary, 16 bytes at least, to the end of the object |
/// held bytes = sum over the objects held back &lt;= HeapBytesMax,  objects &lt;= ObjectsMax
/// objects out of their slabs + blocks given out whole &gt;= live + held      (equal at rest)
/// </code>
/// Any thread. Under the lock nothing else is called.</summary>
internal sealed class HeapDebug
{
    /// <summary>Bytes of a canary at least.</summary>
    public const int CanaryBytesMin = 16;

    /// <summary>How many objects that may be.</summary>
    public const int ObjectsMax = 4096;

    private const byte Canary = 0xca;
    private const int CanaryBytesMax = 4096; // behind a block given out whole: to the end of its last page

    private readonly ArenaDebug _arena;
    private readonly uint _fill;
    private readonly Lock _lock = new();
    private readonly Dictionary<nuint, (nuint Asked, nuint Room)> _live = [];
    private readonly HashSet<nuint> _heldNow = [];
    private readonly Queue<HeldObject> _held = new();
    private nuint _liveBytes;
    private nuint _heldBytes;

    /// <summary>Nothing yet.</summary>
    /// <param name="arena">Where reports and stacks are kept.</param>
    /// <param name="fill">What freed objects are filled with.</param>
    public HeapDebug(ArenaDebug arena, uint fill) => (_arena, _fill) = (arena, fill);

    /// <summary>What must be asked for so that there is room for the canary.</summary>
    public static nuint Padded(nuint bytes) => bytes > nuint.MaxValue - CanaryBytesMin ? nuint.MaxValue : bytes + CanaryBytesMin;

    /// <summary>Bytes in users' hands and bytes held back.</summary>
    public (long Live, long Held) Count()
    {
        lock (_lock)
        {
            return ((long)_liveBytes, (long)_heldBytes);
        }
    }

    /// <summary>Live and held blocks.</summary>
    public ulong Blocks
    {
        get
        {
            lock (_lock)
            {
                return (ulong)(_live.Count + _heldNow.Count);
            }
        }
    }

    /// <summary>A block goes to its user.</summary>
    /// <param name="block">Its first byte.</param>
    /// <param name="asked">Bytes asked for.</param>
    /// <param name="room">Bytes that it has.</param>
    public unsafe void GivenOut(void* block, nuint asked, nuint room)
    {
        // Sound: the block has so much room, and the caller has it alone.
        CanaryOf((nuint)block, asked, room).Fill(Canary);
        _arena.Stacks.Allocated((nuint)block);
        lock (_lock)
        {
            _live[(nuint)block] = (asked, room);
            _liveBytes += asked;
        }
    }

    /// <summary>Bytes that were asked for; false where the block is not live.</summary>
    public bool TryGetAsked(nuint block, out nuint asked)
    {
        lock (_lock)
        {
            bool isLive = _live.TryGetValue(block, out (nuint Asked, nuint Room) found);
            asked = found.Asked;
            return isLive;
        }
    }

    /// <summary>A block is freed: of those who free it one gets through. Its canary is looked at, and that of the object before it.</summary>
    /// <param name="block">Its first byte.</param>
    /// <param name="sizeClass">Its class; <see cref="SizeClasses.Whole"/> is not held back here.</param>
    public unsafe bool TryEnd(nuint block, int sizeClass)
    {
        (nuint Asked, nuint Room) it;
        lock (_lock)
        {
            if (!_live.Remove(block, out it))
            {
                return false;
            }

            _liveBytes -= it.Asked;
            if (sizeClass != SizeClasses.Whole)
            {
                _heldNow.Add(block);
                _heldBytes += it.Room;
            }

            if (FindDamage(block, it) is string found)
            {
                _arena.Reports.Add(found);
            }

            nuint front = block - it.Room;
            if (_live.TryGetValue(front, out (nuint Asked, nuint Room) before) && before.Room == it.Room && FindDamage(front, before) is string damage)
            {
                _arena.Reports.Add(damage);
                CanaryOf(front, before.Asked, before.Room).Fill(Canary); // told once
            }
        }

        BlockRecord record = _arena.Stacks.Freed(block);
        if (sizeClass != SizeClasses.Whole)
        {
            // Sound: nobody's object; its heap holds it back until it is let go below.
            Pattern.Fill((void*)block, it.Room, _fill);
            lock (_lock)
            {
                _held.Enqueue(new HeldObject(block, sizeClass, record));
            }
        }

        return true;
    }

    /// <summary>The object that has been held back longest, looked at; false where none is to go. The caller gives it to its slab.</summary>
    /// <param name="all">Whether it goes although there is room.</param>
    /// <param name="oldest">The object.</param>
    public bool TryTakeOldest(bool all, out HeldObject oldest)
    {
        lock (_lock)
        {
            if (!_held.TryPeek(out oldest) || !(all || _heldBytes > _arena.HeapBytesMax || _held.Count > ObjectsMax))
            {
                return false;
            }

            _held.Dequeue();
            _heldNow.Remove(oldest.Address);
            _heldBytes -= oldest.Bytes;
            Look(oldest);
            return true;
        }
    }

    /// <summary>Looks at every canary and all that is held back.</summary>
    public unsafe void Look()
    {
        lock (_lock)
        {
            foreach ((nuint block, (nuint Asked, nuint Room) it) in _live)
            {
                if (FindDamage(block, it) is string found)
                {
                    _arena.Reports.Add(found);
                    CanaryOf(block, it.Asked, it.Room).Fill(Canary);
                }
            }

            foreach (HeldObject held in _held)
            {
                Look(held);
            }
        }
    }

    private unsafe void Look(HeldObject held)
    {
        // Sound: held back, and so mapped and nobody's.
        long changed = Pattern.FindOther((void*)held.Address, held.Bytes, _fill);
        if (changed >= 0)
        {
            _arena.ReportWrite(held.Address, held.Bytes, changed, held.Record);
            Pattern.Fill((void*)held.Address, held.Bytes, _fill);
        }
    }

    private string? FindDamage(nuint block, (nuint Asked, nuint Room) it)
    {
        int wrong = CanaryOf(block, it.Asked, it.Room).IndexOfAnyExcept(Canary);
        return wrong < 0
            ? null
            : string.Create(
                CultureInfo.InvariantCulture,
                $"write past the end: 0x{block:x}, {it.Asked} bytes, was written to at offset {it.Asked + (nuint)wrong} (or before the block behind it).")
                + _arena.Stacks.Describe(block);
    }

    // Sound: a live block's room ends where its object or its last page does.
    private static unsafe Span<byte> CanaryOf(nuint block, nuint asked, nuint room) => new((void*)(block + asked), (int)Math.Min(room - asked, CanaryBytesMax));
}
