using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Blocks that the reactor holds: taken together, told together, given back together. Used by the holder of the
/// treatment lock only; entries are added under the lock of their zone.</summary>
internal sealed class Batch
{
    private readonly PageRange[] _ranges;
    private readonly Entry[] _entries;
    private readonly Division[] _divisions;
    private int _divided;

    /// <summary>An empty batch for this many blocks.</summary>
    /// <param name="capacity">Blocks.</param>
    /// <param name="slot">Its number at the device.</param>
    public Batch(int capacity, int slot = 0)
    {
        Slot = slot;
        _ranges = new PageRange[capacity];
        _entries = new Entry[capacity];
        _divisions = new Division[capacity];
        Capacity = capacity;
    }

    /// <summary>Its number at the device, and in the reactor.</summary>
    public int Slot { get; }

    /// <summary>Whether its blocks are held back from a lost device.</summary>
    public bool IsQuarantined { get; set; }

    /// <summary>Blocks that fit; at most what the arrays were made for. The reactor lowers it to what the device takes.</summary>
    public int Capacity { get; private set; }

    /// <summary>Blocks in it.</summary>
    public int Count { get; private set; }

    /// <summary>Pages in it.</summary>
    public long Pages { get; private set; }

    /// <summary>A batch takes no further block from here on: 512 MiB, some milliseconds of the host.</summary>
    public const long PagesMax = 128 * PageblockLimits.PagesPerMaxBlock;

    /// <summary>Whether no further block fits, by number or by pages: what the reactor has nobody can be given.</summary>
    public bool IsFull => Count >= Capacity || Pages >= PagesMax;

    /// <summary>Pages that may still be taken in this pass; what is beyond stays resident for those who will want it. Set by the source.</summary>
    public long Allowance { get; set; } = long.MaxValue;

    /// <summary>Pageblocks of which a part is in the batch for the first time.</summary>
    public ReadOnlySpan<Division> Divisions => _divisions.AsSpan(0, _divided);

    /// <summary>Notes a pageblock whose huge page is to be split because only a part of it is dropped.</summary>
    /// <param name="zone">Its zone.</param>
    /// <param name="block">The pageblock.</param>
    /// <param name="resident">A page of it that stays; null where none is known.</param>
    public void Divide(Zone zone, uint block, Pfn? resident)
    {
        if (_divided == 0 || _divisions[_divided - 1].Block != block)
        {
            _divisions[_divided++] = new Division(zone, block, resident);
        }
    }

    /// <summary>The blocks as the device is told of them.</summary>
    public ReadOnlySpan<PageRange> Ranges => _ranges.AsSpan(0, Count);

    /// <summary>The blocks as the allocator knows them.</summary>
    public ReadOnlySpan<Entry> Entries => _entries.AsSpan(0, Count);

    /// <summary>Follows what the device takes, between batches.</summary>
    public void Limit(int capacity) => Capacity = Math.Min(capacity, _entries.Length);

    /// <summary>Adds a block that was just taken off its free list.</summary>
    public void Add(Pfn pfn, Order order, BlockMarks marks, Zone zone)
    {
        _ranges[Count] = new PageRange(pfn, order.Pages);
        _entries[Count] = new Entry(pfn, order, marks, zone);
        Count++;
        Pages += order.Pages;
    }

    /// <summary>Forgets the blocks; their owner has changed by now.</summary>
    public void Clear()
    {
        Count = 0;
        Pages = 0;
        _divided = 0;
        IsQuarantined = false;
    }

    /// <summary>One block, with the marks it came with.</summary>
    internal readonly record struct Entry(Pfn Pfn, Order Order, BlockMarks Marks, Zone Zone);

    /// <summary>A pageblock that is dropped in part, and a page of it that stays.</summary>
    internal readonly record struct Division(Zone Zone, uint Block, Pfn? Resident);
}
