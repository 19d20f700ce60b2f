using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What the reactor and the balloon take from a zone and give back.</summary>
internal sealed partial class Zone
{
    private int _typeCursor;

    /// <summary>Whether this zone is over the high-water mark (one of the reactor's references). Changed under the lock.</summary>
    public unsafe bool IsOverHighWaterMark
    {
        get => (_data->Flags & 1) != 0;
        set => _data->Flags = value ? _data->Flags | 1 : _data->Flags & ~1ul;
    }

    /// <summary>Raw blocks on the lists of the orders that are treated, without Isolate's. A hint without the lock.</summary>
    public ulong RawBlocks(Order least)
    {
        ulong raw = 0;
        for (int order = least.Value; order <= PageblockLimits.MaxOrder; order++)
        {
            raw += Area(new Order(order)).Treatable;
        }

        return raw;
    }

    /// <summary>Takes raw blocks for the reactor (patch 7): from each list upward from the membrane, oldest first, the largest order
    /// first, each call beginning with another migratetype, never Isolate. Work is bounded by the room in the batch: a list is left
    /// after twice as many looks. What stays free is at least the min watermark. Lock held.</summary>
    /// <param name="batch">The blocks, appended.</param>
    /// <param name="least">The least order treated.</param>
    /// <param name="restedOnly">Only what has rested; else everything raw.</param>
    /// <returns>How many blocks were taken.</returns>
    public int FillLocked(Batch batch, Order least, bool restedOnly)
    {
        int before = batch.Count;
        int first = _typeCursor;
        _typeCursor = (_typeCursor + 1) % (int)MigrateType.Isolate;
        for (int order = PageblockLimits.MaxOrder; order >= least.Value && !batch.IsFull; order--)
        {
            for (int i = 0; i < (int)MigrateType.Isolate && !batch.IsFull; i++)
            {
                FillFromList(batch, new Order(order), (MigrateType)((first + i) % (int)MigrateType.Isolate), restedOnly);
            }
        }

        return batch.Count - before;
    }

    private unsafe void FillFromList(Batch batch, Order order, MigrateType type, bool restedOnly)
    {
        FreeArea area = Area(order);
        int looks = 2 * batch.Capacity;
        Page* head = area.LastRaw(type);
        while (head != null && looks-- > 0 && !batch.IsFull && batch.Allowance > 0 && MayLeave(order))
        {
            Page* above = area.RawAbove(head);
            if (!restedOnly || IsRested(BlockMarks.Of(head)))
            {
                BlockMarks marks = RemoveLocked(head);
                head->State = PageState.Of(PageType.None.WithInReactor());
                _data->NrInReactor += order.Pages;
                Pfn pfn = _map.PfnOf(head);
                batch.Add(pfn, order, marks, this);
                batch.Allowance -= order.Pages;
                if (IsHugeBacked && order < Order.Pageblock && (_map.Block(pfn.Pageblock)->Flags & PageblockFlags.Small) == 0)
                {
                    // The buddy's page heads a block: were it inside one, this block would be too.
                    batch.Divide(this, pfn.Pageblock, pfn.Buddy(order));
                }
            }

            head = above;
        }
    }

    /// <summary>Whether the min watermark stays outside the reactor (the series could take 128 MiB at once and cause false shortage).</summary>
    private unsafe bool MayLeave(Order order) =>
        _data->NrFree + UnreachedPages >= Watermark(WatermarkLevel.Min) + order.Pages;

    /// <summary>Gives a block back from the reactor, to the list that its pageblock belongs to now. Lock held.</summary>
    public unsafe void DecantLocked(Pfn pfn, Order order, BlockMarks marks)
    {
        _data->NrInReactor -= order.Pages;
        MigrateType list = (MigrateType)_map[pfn]->Index;
        FreeLocked(pfn, order, ListFor(pfn, list), marks);
    }

    /// <summary>Holds a block back because a lost device may still touch it. Lock held.</summary>
    public unsafe void QuarantineLocked(Pfn pfn, Order order)
    {
        _map[pfn]->State = PageState.Of(PageType.None.WithQuarantined());
        _data->NrInReactor -= order.Pages;
        _data->NrQuarantined += order.Pages;
    }

    /// <summary>Frees a block from quarantine, as raw. Lock held.</summary>
    public unsafe void ReleaseQuarantinedLocked(Pfn pfn, Order order, BlockMarks marks)
    {
        _data->NrQuarantined -= order.Pages;
        FreeLocked(pfn, order, ListFor(pfn, (MigrateType)_map[pfn]->Index), marks with { Treated = false, Zero = false });
    }

    /// <summary>Takes a block for the balloon. Lock held.</summary>
    public unsafe bool TryInflateLocked(Order order, out Pfn pfn)
    {
        if (!TryTakeLocked(order, MigrateType.Movable, AllocFlags.NoFragment, out pfn, out _))
        {
            return false;
        }

        _map[pfn]->State = PageState.Of(PageType.None.WithInflated());
        _data->NrInflated += order.Pages;
        return true;
    }

    /// <summary>Takes a block back from the balloon. The host may have dropped it or not: it is raw. Lock held.</summary>
    public unsafe void DeflateLocked(Pfn pfn, Order order, BlockMarks marks)
    {
        _data->NrInflated -= order.Pages;
        FreeLocked(pfn, order, _map.TypeOf(pfn), marks);
    }

    /// <summary>The list that a block goes back to: its pageblock's. (A block whose list and pageblock differed by law was a BUG in
    /// the series; with a membrane for each list any list will do, and the counters follow the list that is written on the page.)</summary>
    private MigrateType ListFor(Pfn pfn, MigrateType takenFrom)
    {
        MigrateType now = _map.TypeOf(pfn);
        return now == MigrateType.HighAtomic || takenFrom == MigrateType.HighAtomic ? now : takenFrom == MigrateType.Isolate ? now : takenFrom;
    }
}
