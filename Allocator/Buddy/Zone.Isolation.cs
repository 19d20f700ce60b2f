using System;
using System.Numerics;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Isolation of pageblocks and ranges above order 10 (mm/page_isolation.c, alloc_contig_range).</summary>
internal sealed partial class Zone
{
    /// <summary>Takes a pageblock out of circulation: its free blocks move to Isolate's lists, and what is freed into it later goes
    /// there too. Blocks in threads' pages stay where they are; the caller drains those. False: it is isolated already, or was never
    /// reached. Lock held.</summary>
    public unsafe bool IsolateLocked(uint block)
    {
        Pfn start = Pfn.FromPageblock(block);
        if (start.Value >= ReachedPfn || start < Start || _map.Pageblocks.Get(block) == MigrateType.Isolate)
        {
            return false;
        }

        // A free block of order 10 spans this pageblock and its neighbour: only one half goes, so it is split first.
        SplitSpanningLocked(start);
        SetTypeLocked(block, MigrateType.Isolate);
        MoveFreeBlocksLocked(block, MigrateType.Isolate);
        return true;
    }

    /// <summary>A block of two pageblocks that is in use and of which this is the second becomes a range of as many pages: as a block it
    /// would be kept by the thread that frees it, which looks at its first pageblock only, and be handed out again. Lock held, and all
    /// threads' pages shut.</summary>
    public unsafe void MakeSpanningRangeLocked(uint block)
    {
        Page* head = _map[Pfn.FromPageblock(block).AlignDown(Order.Max)];
        if (head->State is PageState.User or PageState.Heap && head->Private == (ulong)Order.Max.Value)
        {
            head->Index = Order.Max.Pages;
            head->Flags |= PageFlags.Head;
            head->Private = RangeOrder;
        }
    }

    /// <summary>Gives an isolated pageblock a type again; its free blocks merge with their neighbours. False: it is not isolated.</summary>
    public unsafe bool UnisolateLocked(uint block, MigrateType type)
    {
        if (_map.Pageblocks.Get(block) != MigrateType.Isolate)
        {
            return false;
        }

        SplitSpanningLocked(Pfn.FromPageblock(block));
        SetTypeLocked(block, type);
        uint pages;
        for (uint at = HeadFrom(block, 0); at < PageblockLimits.PagesPerPageblock; at = HeadFrom(block, at + pages))
        {
            Pfn pfn = Pfn.FromPageblock(block) + at;
            Page* head = _map[pfn];
            pages = PageMap.PagesOf(head);
            if (head->PageType.IsBuddy)
            {
                // Freed again rather than moved: a neighbour of order 9 may be free now, and only merging finds it.
                Order order = new((int)head->Private);
                BlockMarks marks = RemoveLocked(head);
                FreeLocked(pfn, order, type, marks);
            }
        }

        return true;
    }

    private unsafe void SplitSpanningLocked(Pfn inside)
    {
        Pfn start = inside.AlignDown(Order.Max);
        Page* head = _map[start];
        if (!head->PageType.IsBuddy || head->Private != (ulong)Order.Max.Value)
        {
            return;
        }

        MigrateType list = (MigrateType)head->Index;
        BlockMarks marks = RemoveLocked(head);
        AddLocked(head, Order.Pageblock, list, marks, Placement.Head);
        AddLocked(_map[start + PageblockLimits.PagesPerPageblock], Order.Pageblock, list, marks, Placement.Head);
    }

    /// <summary>Whether a pageblock is wholly free at this instant and in circulation (neither isolated nor in the HighAtomic reserve);
    /// without the lock a hint.</summary>
    public unsafe bool LooksFree(uint block)
    {
        Pfn start = Pfn.FromPageblock(block);
        Page* head = _map[start];
        Page* spanning = _map[start.AlignDown(Order.Max)];
        return (IsFreeInCirculation(head) && head->Private >= (ulong)Order.Pageblock.Value)
            || (IsFreeInCirculation(spanning) && spanning->Private == (ulong)Order.Max.Value);
    }

    private static unsafe bool IsFreeInCirculation(Page* head) =>
        head->PageType.IsBuddy && head->Index < (ulong)MigrateTypes.PcpTypes;

    /// <summary>Takes the whole isolated pageblock off its list and puts it at the end of the range that <paramref name="head"/> heads
    /// (or makes it that head). False: not all of it is free. Lock held.</summary>
    public unsafe bool ClaimIsolatedLocked(uint block, Pfn head)
    {
        Pfn start = Pfn.FromPageblock(block);
        SplitSpanningLocked(start);
        Page* page = _map[start];
        if (!page->PageType.IsBuddy || page->Private != (ulong)Order.Pageblock.Value || page->Index != (ulong)MigrateType.Isolate)
        {
            return false;
        }

        RemoveLocked(page);
        *page = default;
        if (start == head)
        {
            OwnRange(start, PageblockLimits.PagesPerPageblock);
        }
        else
        {
            _map[head]->Index += PageblockLimits.PagesPerPageblock;
        }

        return true;
    }

    /// <summary>Frees the last part of a range, down to <paramref name="keep"/> pages, at most one block of order 10 at a time; how
    /// many pages that were, 0 when there is nothing left to do. <paramref name="keep"/> of 0 ends the range. Lock held.</summary>
    public unsafe uint ShrinkRangeLocked(Pfn head, ulong keep, BlockMarks marks)
    {
        Page* page = _map[head];
        ulong pages = page->Index;
        if (pages <= keep)
        {
            return 0;
        }

        // The largest aligned block that ends where the range ends.
        ulong end = head.Value + pages;
        int order = 0;
        while (order < PageblockLimits.MaxOrder
            && (end & ((2ul << order) - 1)) == 0
            && pages - keep >= (2ul << order))
        {
            order++;
        }

        Order freed = new(order);
        Pfn start = new((uint)(end - freed.Pages));
        if (start == head)
        {
            *page = default;
        }
        else
        {
            page->Index = pages - freed.Pages;
        }

        FreeLocked(start, freed, _map.TypeOf(start), marks);
        return freed.Pages;
    }

    /// <summary>Puts the free block that begins right behind a range at its end, as much of it as is wanted; never-used pages where the
    /// range ends at them. 0: what lies there is in use, isolated, reserved or another zone's, or the watermark forbids it. Lock held.</summary>
    public unsafe uint ExtendRangeLocked(Pfn head, ulong wanted, AllocFlags flags, out bool zero)
    {
        ulong end = head.Value + _map[head]->Index;
        Order most = new(Math.Min(PageblockLimits.MaxOrder, BitOperations.Log2(wanted)));
        zero = true;
        if (end >= End || !WatermarkAllows(most, flags))
        {
            return 0;
        }

        if (end == _data->ReachedPfn)
        {
            return GrowLocked(most, MigrateType.Unmovable, out Pfn fresh, out _) ? Append(head, fresh, most) : 0;
        }

        Page* next = _map[new Pfn((uint)end)];
        if (!IsFreeInCirculation(next))
        {
            return 0;
        }

        // Of a block that began before the range's end, a part would be the range's: it begins here.
        Order found = new((int)next->Private);
        Order taken = found < most ? found : most;
        MigrateType list = (MigrateType)next->Index;
        BlockMarks marks = RemoveLocked(next);
        CountReuse(marks, taken.Pages);
        SplitLocked(new Pfn((uint)end), found, taken, list, marks);
        zero = marks.Zero;
        return Append(head, new Pfn((uint)end), taken);
    }

    private unsafe uint Append(Pfn head, Pfn block, Order order)
    {
        *_map[block] = default; // interior from now on
        _map[head]->Index += order.Pages;
        return order.Pages;
    }
}
