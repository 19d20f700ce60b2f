using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The free path: merge upward, then insert.</summary>
internal sealed partial class Zone
{
    /// <summary>Age in epochs from which a block counts as rested; 0 with a delay of zero. Set by the aerator.</summary>
    public ulong RestEpochs { get; set; }

    /// <summary>The epoch that <see cref="RestEpochs"/> is counted from, advanced by the aerator under no lock: a hint that is
    /// at most one pass old.</summary>
    public ulong Epoch { get; set; }

    private bool _mergesAll;

    /// <summary>Whether the first touch of a free pageblock makes all of it resident. Set by the aerator.</summary>
    public bool IsHugeBacked { get; set; }

    /// <summary>Gives a block to the free lists. Its struct page heads the block and is on no list. Lock held.</summary>
    /// <param name="pfn">Head of the block.</param>
    /// <param name="order">Its order.</param>
    /// <param name="type">The list it is for; the pageblock's own type is asked again where any pageblock is isolated, because
    /// the caller may have read it before (mm/page_alloc.c, free_one_page).</param>
    /// <param name="marks">What is known of it.</param>
    public unsafe void FreeLocked(Pfn pfn, Order order, MigrateType type, BlockMarks marks)
    {
        if (_data->NrIsolatePageblock != 0 || type == MigrateType.Isolate)
        {
            if (order == Order.Max && SeparatedByIsolation(_map.TypeOf(pfn), pfn + PageblockLimits.PagesPerPageblock))
            {
                // One half was isolated while the block was in use: as a whole it would carry the other half to the wrong list.
                FreeLocked(pfn, Order.Pageblock, type, marks);
                FreeLocked(pfn + PageblockLimits.PagesPerPageblock, Order.Pageblock, type, marks);
                return;
            }

            type = _map.TypeOf(pfn);
        }

        while (order < Order.Max)
        {
            Pfn buddy = pfn.Buddy(order);
            Page* other = FreeBuddy(buddy, order);
            if (other == null || (order == Order.Pageblock && SeparatedByIsolation(type, buddy)) || StaysApart(pfn, order, marks, other))
            {
                break;
            }

            marks = marks.MergedWith(RemoveLocked(other));
            Pfn upper = pfn.Value > buddy.Value ? pfn : buddy;
            *_map[upper] = default; // interior from now on: all-zero
            pfn = pfn.Value < buddy.Value ? pfn : buddy;
            order = new Order(order.Value + 1);
        }

        Page* head = _map[pfn];
        AddLocked(head, order, type, marks, PlacementOf(pfn, order, type, marks));
        if (order.Value >= _leastListened && !marks.Treated && _listener!.IsReached(this, order, type))
        {
            _markReached = true;
        }
    }

    /// <summary>In a pageblock whose holes were dropped, what is resident and what is not stays apart until it is of one kind: a large "raw"
    /// block of which a few pages are resident would be handed out as resident memory, and come with a fault for each of its other pages.
    /// Treatment makes it of one kind; a request that would fail merges it (<see cref="MergeApartLocked"/>).</summary>
    private unsafe bool StaysApart(Pfn pfn, Order order, BlockMarks marks, Page* other) =>
        order < Order.Pageblock && marks.Treated != other->PageType.IsTreated && !_mergesAll
        && (_map.Block(pfn.Pageblock)->Flags & PageblockFlags.Small) != 0;

    /// <summary>Merges what stayed apart in a pageblock, whatever is resident of it. Lock held. True: something merged.</summary>
    public unsafe bool MergeApartLocked(uint block)
    {
        if ((_map.Block(block)->Flags & PageblockFlags.Small) == 0)
        {
            return false;
        }

        bool merged = false;
        _mergesAll = true;
        for (uint at = HeadFrom(block, 0); at < PageblockLimits.PagesPerPageblock;)
        {
            Pfn pfn = Pfn.FromPageblock(block) + at;
            Page* head = _map[pfn];
            Order order = new((int)head->Private);
            if (head->PageType.IsBuddy && order < Order.Pageblock && FreeBuddy(pfn.Buddy(order), order) != null)
            {
                // Freed again: that is what merges. It heads a larger block afterwards, or lies in one that begins further down.
                MigrateType list = (MigrateType)head->Index;
                FreeLocked(pfn, order, list, RemoveLocked(head));
                merged = true;
                at = 0;
            }
            else
            {
                at += PageMap.PagesOf(head);
            }

            at = HeadFrom(block, at);
        }

        _mergesAll = false;
        return merged;
    }

    /// <summary>Whether the raw block that rests longest in a list has rested long enough. Lock held.</summary>
    public unsafe bool OldestHasRested(Order order, MigrateType type)
    {
        Page* last = Area(order).LastRaw(type);
        return last != null && IsRested(BlockMarks.Of(last));
    }

    /// <summary>The struct page of a buddy that can be merged with; null where there is none. The buddy lies in this zone (zones
    /// are multiples of the largest block); one that was never reached reads zero and is no Buddy.</summary>
    private unsafe Page* FreeBuddy(Pfn buddy, Order order)
    {
        Page* page = _map[buddy];
        return page->PageType.IsBuddy && page->Private == (ulong)order.Value ? page : null;
    }

    /// <summary>Two pageblocks of which one is isolated are never merged; different other types are (kernel-facts of v5.2).</summary>
    private unsafe bool SeparatedByIsolation(MigrateType type, Pfn buddy) =>
        _data->NrIsolatePageblock != 0
        && (type == MigrateType.Isolate) != (_map.TypeOf(buddy) == MigrateType.Isolate);

    /// <summary>The one place where head or tail is decided (patch 2): the tail for a block that will probably merge with the next
    /// frees, for one that the shuffle sends there, and for one that has rested, which is to be treated and not handed out.</summary>
    private unsafe Placement PlacementOf(Pfn pfn, Order order, MigrateType type, BlockMarks marks)
    {
        bool tail = order < Order.Pageblock
            ? MergeIsLikely(pfn, order)
            : order == Order.Max && _shuffle is not null && _shuffle.NextBit();
        return (tail && MayGoLast(order, type, marks)) || IsRested(marks) ? Placement.Tail : Placement.Head;
    }

    /// <summary>In a list that is treated no block goes below an older one: a fill looks at the lowest few only, and young blocks
    /// that gather there would hide what has rested above them.</summary>
    private unsafe bool MayGoLast(Order order, MigrateType type, BlockMarks marks)
    {
        if (order.Value < _leastListened)
        {
            return true;
        }

        Page* last = Area(order).LastRaw(type);
        return last == null || last->FreedAt >= marks.FreedAt;
    }

    /// <summary>Whether the buddy of the next higher order is free with exactly that order: once this block's own buddy comes back,
    /// two merges follow.</summary>
    private unsafe bool MergeIsLikely(Pfn pfn, Order order)
    {
        Order higher = new(order.Value + 1);
        return FreeBuddy(pfn.AlignDown(higher).Buddy(higher), higher) != null;
    }

    /// <summary>Whether a block has rested long enough to be treated.</summary>
    private bool IsRested(BlockMarks marks) => marks.FreedAt + RestEpochs <= Epoch;
}
