using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Fallback and stealing: a type that has run dry takes from another one, whole pageblocks where it can, so that types stay
/// apart. The reserve of HighAtomic pageblocks. (mm/page_alloc.c v5.2: __rmqueue_fallback, steal_suitable_fallback,
/// reserve_highatomic_pageblock. Watermark boost is not mirrored: it speaks to kswapd.)</summary>
internal sealed partial class Zone
{
    private const int PartialStealOrder = PageblockLimits.PageblockOrder / 2;
    private const uint HalfPageblock = PageblockLimits.PagesPerPageblock / 2;

    /// <summary>Makes a block of another type available on the wanted type's lists. Largest first, to move as much as possible at
    /// once; a Movable request that cannot have the pageblock takes the smallest instead. Lock held.</summary>
    private unsafe bool StealLocked(Order order, MigrateType type, AllocFlags flags)
    {
        bool wholeBlocksOnly = (flags & AllocFlags.NoFragment) != 0;
        int least = wholeBlocksOnly && order < Order.Pageblock ? PageblockLimits.PageblockOrder : order.Value;
        for (int from = PageblockLimits.MaxOrder; from >= least; from--)
        {
            Page* head = FirstOfFallback(new Order(from), type);
            if (head == null)
            {
                continue;
            }

            bool canSteal = CanStealPageblock(new Order(from), type);
            if (!canSteal && type == MigrateType.Movable && from > order.Value)
            {
                head = SmallestOfFallback(order, type);
            }

            TakeOverLocked(head, type, canSteal);
            return true;
        }

        return false;
    }

    private unsafe Page* FirstOfFallback(Order order, MigrateType type)
    {
        FreeArea area = Area(order);
        foreach (MigrateType other in Fallbacks.Of(type))
        {
            Page* head = area.First(other);
            if (head != null)
            {
                return head;
            }
        }

        return null;
    }

    private unsafe Page* SmallestOfFallback(Order order, MigrateType type)
    {
        Page* head = null;
        for (int from = order.Value; head == null && from <= PageblockLimits.MaxOrder; from++)
        {
            head = FirstOfFallback(new Order(from), type);
        }

        return head;
    }

    /// <summary>Whether a request may have the whole pageblock that a free block of this order lies in.</summary>
    private static bool CanStealPageblock(Order order, MigrateType type) =>
        order >= Order.Pageblock
        || order.Value >= PartialStealOrder
        || type is MigrateType.Reclaimable or MigrateType.Unmovable;

    /// <summary>Moves a free block, and with it all free blocks of its pageblock where allowed, to the lists of a type; the pageblock
    /// itself changes its type when at least half of it is free or held by a like-minded type.</summary>
    private unsafe void TakeOverLocked(Page* head, MigrateType type, bool wholeBlock)
    {
        Pfn pfn = _map.PfnOf(head);
        Order order = new((int)head->Private);
        if (order >= Order.Pageblock)
        {
            SetTypes(pfn, order, type);
            MoveLocked(head, type);
            return;
        }

        MigrateType blockType = _map.TypeOf(pfn);
        if (!wholeBlock || blockType is MigrateType.HighAtomic or MigrateType.Isolate)
        {
            MoveLocked(head, type);
            return;
        }

        uint block = pfn.Pageblock;
        uint alike = AlikePages(block, type);
        uint moved = MoveFreeBlocksLocked(block, type);
        if (moved + alike >= HalfPageblock)
        {
            SetTypeLocked(block, type);
        }
    }

    /// <summary>Moves all free blocks of a pageblock to a type's lists; how many pages that were. At most 512 heads are looked at.</summary>
    private unsafe uint MoveFreeBlocksLocked(uint block, MigrateType type)
    {
        uint moved = 0;
        uint pages;
        for (uint at = HeadFrom(block, 0); at < PageblockLimits.PagesPerPageblock; at = HeadFrom(block, at + pages))
        {
            Page* head = _map[Pfn.FromPageblock(block) + at];
            pages = PageMap.PagesOf(head);
            if (head->PageType.IsBuddy)
            {
                MoveLocked(head, type);
                moved += pages;
            }
        }

        return moved;
    }

    /// <summary>Pages of a pageblock in the hands of users (or their threads' pages) that asked for this type. Owners may change
    /// meanwhile, heads and orders do not: those change under the lock only.</summary>
    private unsafe uint AlikePages(uint block, MigrateType type)
    {
        uint alike = 0;
        uint pages;
        for (uint at = HeadFrom(block, 0); at < PageblockLimits.PagesPerPageblock; at = HeadFrom(block, at + pages))
        {
            Page* head = _map[Pfn.FromPageblock(block) + at];
            pages = PageMap.PagesOf(head);
            if (!head->PageType.IsBuddy && head->Private <= PageblockLimits.MaxOrder && head->Index == (ulong)type)
            {
                alike += pages;
            }
        }

        return alike;
    }

    /// <summary>Where in a pageblock the first head at or after an offset is; the end where there is none. Pages are skipped only
    /// where the pageblock begins inside a larger block: a range may end in the middle of it.</summary>
    private unsafe uint HeadFrom(uint block, uint at)
    {
        while (at < PageblockLimits.PagesPerPageblock && _map[Pfn.FromPageblock(block) + at]->State == 0)
        {
            at++;
        }

        return at;
    }

    /// <summary>Keeps the pageblock of a block that an atomic request was given for the next ones: it becomes HighAtomic, its free
    /// blocks with it. At most a hundredth of the zone's reached pages and one pageblock more. Lock held.</summary>
    public unsafe void ReserveHighAtomicLocked(Pfn pfn)
    {
        ulong limit = ((ReachedPfn - Start.Value) / 100) + PageblockLimits.PagesPerPageblock;
        MigrateType type = _map.TypeOf(pfn);
        if (_data->NrReservedHighatomic >= limit
            || type is MigrateType.HighAtomic or MigrateType.Isolate or MigrateType.Cma)
        {
            return;
        }

        SetTypeLocked(pfn.Pageblock, MigrateType.HighAtomic);
        MoveFreeBlocksLocked(pfn.Pageblock, MigrateType.HighAtomic);
    }

    /// <summary>Gives one reserved pageblock that has free pages to a type before an allocation fails. False: there is none. Lock held.</summary>
    public unsafe bool UnreserveHighAtomicLocked(MigrateType type)
    {
        for (int order = PageblockLimits.MaxOrder; order >= 0; order--)
        {
            Page* head = Area(new Order(order)).First(MigrateType.HighAtomic);
            if (head == null)
            {
                continue;
            }

            Pfn pfn = _map.PfnOf(head);
            if (order >= PageblockLimits.PageblockOrder)
            {
                UnreserveTypes(pfn, new Order(order), type);
                MoveLocked(head, type);
                return true;
            }

            // A free block may lie on this list although its pageblock has another type by now; then only the block moves.
            UnreserveTypes(pfn, new Order(order), type);
            MoveFreeBlocksLocked(pfn.Pageblock, type);
            return true;
        }

        return false;
    }

    private unsafe void UnreserveTypes(Pfn pfn, Order order, MigrateType type)
    {
        uint blocks = order > Order.Pageblock ? order.Pages / PageblockLimits.PagesPerPageblock : 1;
        for (uint i = 0; i < blocks; i++)
        {
            if (_map.Pageblocks.Get(pfn.Pageblock + i) == MigrateType.HighAtomic)
            {
                SetTypeLocked(pfn.Pageblock + i, type);
            }
        }
    }
}
