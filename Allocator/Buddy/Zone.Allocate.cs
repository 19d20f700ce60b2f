using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The allocation path: smallest fit, whole pageblocks of other types, pages never used, parts of other types.</summary>
internal sealed partial class Zone
{
    /// <summary>The errno of the last growth that the OS refused; <see cref="Errno.None"/> where none was.</summary>
    public Errno GrowthError { get; private set; }

    /// <summary>Whether a block may be taken: what stays free is not below the floor of the watermark (zone_watermark_ok: what was
    /// never reached counts as free, what is free of the HighAtomic reserve only for those who may use it; v5.2 sets aside its used
    /// pages as well and can fail with as much memory unused). Lock held.</summary>
    private bool WatermarkAllows(Order order, AllocFlags flags) => Affordable(order, flags) != 0;

    /// <summary>How many blocks may be taken. Lock held.</summary>
    private unsafe ulong Affordable(Order order, AllocFlags flags)
    {
        ulong free = _data->NrFree + UnreachedPages;
        ulong reserved = (flags & (AllocFlags.Harder | AllocFlags.Oom)) != 0 ? 0 : FreeHighAtomicPages();
        ulong kept = Watermarks.Floor(Watermark(WatermarkLevel.Min), flags) + reserved;
        return free <= kept ? 0 : (free - kept) >> order.Value;
    }

    private unsafe ulong FreeHighAtomicPages()
    {
        ulong pages = 0;
        for (int order = 0; order <= PageblockLimits.MaxOrder && _data->NrReservedHighatomic != 0; order++)
        {
            FreeArea area = Area(new Order(order));
            pages += (ulong)(area.RawOf(MigrateType.HighAtomic) + area.TreatedOf(MigrateType.HighAtomic)) << order;
        }

        return pages;
    }

    /// <summary>Takes a block off the free lists. Its struct page says afterwards that it heads a block of this order and is owned by
    /// nobody yet: the caller writes the owner under the same lock. Lock held.</summary>
    public unsafe bool TryTakeLocked(Order order, MigrateType type, AllocFlags flags, out Pfn pfn, out BlockMarks marks)
    {
        pfn = default;
        marks = default;
        if (!WatermarkAllows(order, flags))
        {
            return false;
        }

        return ((flags & AllocFlags.Harder) != 0 && TakeLocked(First(order, MigrateType.HighAtomic), order, MigrateType.HighAtomic, type, out pfn, out marks))
            || TakeOwnLocked(order, type, out pfn, out marks)
            || (StealLocked(order, type, flags | AllocFlags.NoFragment) && TakeOwnLocked(order, type, out pfn, out marks))
            || GrowLocked(order, type, out pfn, out marks)
            || TakeLocked(First(order, type), order, type, type, out pfn, out marks)
            || ((flags & AllocFlags.NoFragment) == 0 && StealLocked(order, type, flags)
                && TakeLocked(First(order, type), order, type, type, out pfn, out marks));
    }

    private unsafe bool TakeOwnLocked(Order order, MigrateType type, out Pfn pfn, out BlockMarks marks) =>
        TakeLocked(CheapestOwn(order, type), order, type, type, out pfn, out marks);

    /// <summary>The cheapest of a type's own blocks, null where there is none: what is resident, smallest fit; then what was treated. There, where
    /// huge pages are, whole pageblocks come first, which come back with one fault; the holes of mixed ones come back with a fault for each
    /// page, and while they are left alone they cost nothing (see <see cref="HolesFirst"/>).</summary>
    private unsafe Page* CheapestOwn(Order order, MigrateType type)
    {
        Page* head = FirstRaw(order, type);
        if (head != null)
        {
            return head;
        }

        Order least = order < Order.Pageblock && IsHugeBacked && !HolesFirst ? Order.Pageblock : order;
        return FirstTreated(least, Order.Max, type);
    }

    /// <summary>Whether dropped holes are to be filled before another whole pageblock is cut: they are more than four times the pages in use
    /// (each mixed pageblock costs some KiB of struct pages and page tables), or whole pageblocks are running short (less than a quarter
    /// of the zone).</summary>
    private unsafe bool HolesFirst
    {
        get
        {
            ulong holes = 0;
            for (int order = 0; order < PageblockLimits.PageblockOrder; order++)
            {
                holes += Area(new Order(order)).Treated << order;
            }

            ulong inUse = ReachedPfn - Start.Value - _data->NrFree - _data->NrIsolated;
            ulong whole = UnreachedPages + (Area(Order.Pageblock).Treated << PageblockLimits.PageblockOrder) + (Area(Order.Max).Treated << PageblockLimits.MaxOrder);
            return holes > 4 * inUse || whole < SpannedPages / 4;
        }
    }

    /// <summary>Smallest fit among the raw (resident) blocks; null where there is none.</summary>
    private unsafe Page* FirstRaw(Order order, MigrateType list)
    {
        Page* head = null;
        for (int from = order.Value; head == null && from <= PageblockLimits.MaxOrder; from++)
        {
            head = Area(new Order(from)).FirstRaw(list);
        }

        return head;
    }

    /// <summary>Smallest fit among the treated blocks of some orders; null where there is none.</summary>
    private unsafe Page* FirstTreated(Order least, Order most, MigrateType list)
    {
        Page* head = null;
        for (int from = least.Value; head == null && from <= most.Value; from++)
        {
            head = Area(new Order(from)).FirstTreated(list);
        }

        return head;
    }

    /// <summary>Raw before treated, smallest fit in each.</summary>
    private unsafe Page* First(Order order, MigrateType list)
    {
        Page* head = FirstRaw(order, list);
        return head != null ? head : FirstTreated(order, Order.Max, list);
    }

    /// <summary>Takes what was found; false where that is nothing.</summary>
    private unsafe bool TakeLocked(Page* head, Order order, MigrateType list, MigrateType owner, out Pfn pfn, out BlockMarks marks)
    {
        if (head == null)
        {
            (pfn, marks) = (default, default);
            return false;
        }

        Order from = new((int)head->Private);
        pfn = _map.PfnOf(head);
        marks = RemoveLocked(head);
        CountReuse(marks, order.Pages);
        SplitLocked(pfn, from, order, list, marks);
        Own(pfn, order, owner);
        return true;
    }

    /// <summary>Keeps the lowest part of a block and puts the upper halves back, largest first; they keep the block's marks (patch 5). Of a
    /// pageblock that one huge page will back, the first touch makes all resident: what is left of it is raw from now on, and rests from now
    /// on. It still reads zero if it did.</summary>
    private unsafe void SplitLocked(Pfn head, Order from, Order to, MigrateType list, BlockMarks marks)
    {
        bool cutsHugePage = from >= Order.Pageblock;
        while (from > to)
        {
            from = new Order(from.Value - 1);
            Page* upper = _map[head + from.Pages];
            AddLocked(upper, from, list, cutsHugePage ? MarksOfPart(from, marks) : marks, Placement.Head);
        }
    }

    /// <summary>The marks of a part of a block that was a whole pageblock or more.</summary>
    private BlockMarks MarksOfPart(Order part, BlockMarks whole) =>
        IsHugeBacked && part < Order.Pageblock ? whole with { Treated = false, FreedAt = Epoch } : whole;

    /// <summary>Takes pages that were never used: 4 MiB at a time, whose pageblocks become the caller's type. They read zero, were
    /// never resident and need no treatment until somebody has used them.</summary>
    private unsafe bool GrowLocked(Order order, MigrateType type, out Pfn pfn, out BlockMarks marks)
    {
        pfn = default;
        marks = BlockMarks.Fresh;
        if (UnreachedPages < PageblockLimits.PagesPerMaxBlock)
        {
            return false;
        }

        pfn = new Pfn((uint)_data->ReachedPfn);
        if (!OpenLocked(pfn, PageblockLimits.PagesPerMaxBlock))
        {
            return false;
        }

        _data->ReachedPfn += PageblockLimits.PagesPerMaxBlock;
        SetTypes(pfn, Order.Max, type);
        SplitLocked(pfn, Order.Max, order, type, marks);
        Own(pfn, order, type);
        return true;
    }

    private bool OpenLocked(Pfn from, ulong pages)
    {
        GrowthError = _memory.Open(from, pages);
        return GrowthError == Errno.None;
    }

    /// <summary>Opens what a range will probably grow into, without the lock: that may be many calls. What it misses, growing does.</summary>
    public void OpenAhead(ulong pages)
    {
        ulong from = ReachedPfn;
        if (pages <= End - from)
        {
            _ = _memory.Open(new Pfn((uint)from), pages);
        }
    }

    /// <summary>Takes never-used pages for a range; the caller owns them as one head afterwards. Lock held.</summary>
    public unsafe bool TryGrowRangeLocked(ulong pages, AllocFlags flags, out Pfn pfn)
    {
        pfn = default;
        ulong whole = (pages + PageblockLimits.PagesPerMaxBlock - 1) & ~(ulong)(PageblockLimits.PagesPerMaxBlock - 1);
        ulong left = _data->NrFree + UnreachedPages;
        if (UnreachedPages < whole || whole > uint.MaxValue || left < whole + Watermarks.Floor(Watermark(WatermarkLevel.Min), flags))
        {
            return false; // a range has fewer than 2^32 pages: who walks the struct pages counts in 32 bits
        }

        pfn = new Pfn((uint)_data->ReachedPfn);
        if (!OpenLocked(pfn, whole))
        {
            return false;
        }

        _data->ReachedPfn += whole;
        OwnRange(pfn, whole);
        return true;
    }

    /// <summary>Writes the head of a block that leaves the free lists: order and type stay readable in the user's hands, and the
    /// owner is the user unless the caller, still under the lock, says otherwise.</summary>
    private unsafe void Own(Pfn pfn, Order order, MigrateType type)
    {
        Page* head = _map[pfn];
        head->Lru = default;
        head->Private = (ulong)order.Value;
        head->Index = (ulong)type;
        head->FreedAt = Epoch;
        head->State = PageState.User;
    }

    /// <summary>Writes the head of a range above order 10.</summary>
    private unsafe void OwnRange(Pfn pfn, ulong pages)
    {
        Page* head = _map[pfn];
        *head = default;
        head->Flags = PageFlags.Head;
        head->Private = RangeOrder;
        head->Index = pages;
        head->State = PageState.User;
    }

    /// <summary>What a range's head has for its order: larger than any order, so that no other path takes it for a block.</summary>
    public const ulong RangeOrder = 255;

    /// <summary>Gives all pageblocks of a block a type.</summary>
    private void SetTypes(Pfn pfn, Order order, MigrateType type)
    {
        uint blocks = order > Order.Pageblock ? order.Pages / PageblockLimits.PagesPerPageblock : 1;
        for (uint i = 0; i < blocks; i++)
        {
            SetTypeLocked(pfn.Pageblock + i, type);
        }
    }

    /// <summary>The one place where a pageblock changes its type: the counts of reserved and isolated ones follow what it says.</summary>
    private unsafe void SetTypeLocked(uint block, MigrateType type)
    {
        MigrateType old = _map.Pageblocks.Get(block);
        _map.Pageblocks.Set(block, type);
        _data->NrReservedHighatomic -= old == MigrateType.HighAtomic ? (ulong)PageblockLimits.PagesPerPageblock : 0;
        _data->NrReservedHighatomic += type == MigrateType.HighAtomic ? (ulong)PageblockLimits.PagesPerPageblock : 0;
        _data->NrIsolatePageblock -= old == MigrateType.Isolate ? 1ul : 0;
        _data->NrIsolatePageblock += type == MigrateType.Isolate ? 1ul : 0;
    }
}
