using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Treatment below the pageblock. Free blocks smaller than a pageblock lie in pageblocks that are in use as well (mixed ones).
/// They are found by pageblock and not by list: what decides is how much of one pageblock can be dropped at once, because the first drop
/// splits its huge page, and what is dropped from one pageblock at once lies side by side.</summary>
internal sealed partial class Zone
{
    /// <summary>Raw pages from which it pays to drop the holes of a pageblock that may be one huge page: a quarter of it. Below, the huge
    /// page is worth more than its holes.</summary>
    public const uint HolesThatPay = PageblockLimits.PagesPerPageblock / 4;

    // What one call looks at under the lock: as many pageblocks as fit into 64 cache lines, and the heads of a few mixed ones.
    private const int LooksPerCall = 1024;
    private const int WalksPerCall = 16;

    private ulong _reused;

    /// <summary>Pages handed out since the last call that had been in use before. First touches of fresh memory do not count. Any thread;
    /// a block more or less does not matter.</summary>
    public ulong TakeReused()
    {
        ulong pages = _reused;
        _reused = 0;
        return pages;
    }

    /// <summary>Age in epochs from which a hole of a mixed pageblock counts as rested: half a delay more than whole pageblocks, because it
    /// costs more to drop and more to touch again.</summary>
    private ulong RestEpochsOfHoles => RestEpochs + (RestEpochs / 2);

    /// <summary>Takes the holes of mixed pageblocks for the reactor, pageblock by pageblock from where the scan is. Lock held.</summary>
    /// <param name="batch">The blocks, appended; the pageblocks whose huge page is to be split are noted in it.</param>
    /// <param name="restedOnly">Only what has rested; else everything raw.</param>
    /// <param name="scan">Where to go on; moved.</param>
    public unsafe void FillMixedLocked(Batch batch, bool restedOnly, ref MixedScan scan)
    {
        int walks = WalksPerCall;
        uint end = (uint)(ReachedPfn >> PageblockLimits.PageblockOrder);
        for (int looks = LooksPerCall; looks > 0 && walks > 0 && scan.Left > 0 && !batch.IsFull; looks--)
        {
            uint block = scan.Next < end && scan.Next >= Start.Pageblock ? scan.Next : Start.Pageblock;
            PageblockData* data = _map.Block(block);
            bool isSmall = (data->Flags & PageblockFlags.Small) != 0;
            if (data->Raw >= (isSmall || !IsHugeBacked ? 1 : HolesThatPay) && _map.Pageblocks.Get(block) != MigrateType.Isolate)
            {
                walks--;
                if (!TakeHolesLocked(batch, block, restedOnly))
                {
                    break; // the batch is full, the rest of this pageblock comes into the next one
                }
            }
            else if (isSmall && data->Raw == 0)
            {
                TakeWholeAgainLocked(batch, block);
            }

            scan.Next = block + 1;
            scan.Left--;
        }
    }

    private unsafe bool TakeHolesLocked(Batch batch, uint block, bool restedOnly)
    {
        bool mayBeHuge = IsHugeBacked && (_map.Block(block)->Flags & PageblockFlags.Small) == 0;
        if (mayBeHuge && CountHoles(block, restedOnly) < HolesThatPay)
        {
            return true;
        }

        Pfn? resident = null;
        int before = batch.Count;
        bool done = true;
        uint pages;
        for (uint at = HeadFrom(block, 0); at < PageblockLimits.PagesPerPageblock; at = HeadFrom(block, at + pages))
        {
            Pfn pfn = Pfn.FromPageblock(block) + at;
            Page* head = _map[pfn];
            pages = PageMap.PagesOf(head);
            if (!IsHole(head, restedOnly))
            {
                // In use is best; a young free block will do. What is treated or with the device has no page left.
                bool inUse = head->State is PageState.User or PageState.Heap || head->PageType.IsCached;
                resident = inUse || (resident is null && head->PageType.IsBuddy && !head->PageType.IsTreated) ? pfn : resident;
                continue;
            }

            if (batch.IsFull || batch.Allowance <= 0 || !MayLeave(new Order((int)head->Private)))
            {
                done = false;
                break;
            }

            TakeForReactorLocked(batch, head);
        }

        if (mayBeHuge && batch.Count > before)
        {
            batch.Divide(this, block, resident);
        }

        return done;
    }

    /// <summary>A pageblock whose parts were dropped one by one and that is free as a whole by now goes round once more, so that it may be
    /// backed by a huge page again; there is nothing left to drop.</summary>
    private unsafe void TakeWholeAgainLocked(Batch batch, uint block)
    {
        Page* head = _map[Pfn.FromPageblock(block)];
        if (head->PageType.IsBuddy && head->PageType.IsTreated && head->Private >= (ulong)PageblockLimits.PageblockOrder
            && head->Index != (ulong)MigrateType.Isolate && MayLeave(new Order((int)head->Private)))
        {
            TakeForReactorLocked(batch, head);
        }
    }

    private unsafe void TakeForReactorLocked(Batch batch, Page* head)
    {
        Order order = new((int)head->Private);
        BlockMarks marks = RemoveLocked(head);
        head->State = PageState.Of(PageType.None.WithInReactor());
        _data->NrInReactor += order.Pages;
        batch.Add(_map.PfnOf(head), order, marks, this);
        batch.Allowance -= marks.Treated ? 0 : order.Pages;
    }

    private unsafe uint CountHoles(uint block, bool restedOnly)
    {
        uint holes = 0;
        uint pages;
        for (uint at = HeadFrom(block, 0); at < PageblockLimits.PagesPerPageblock; at = HeadFrom(block, at + pages))
        {
            Page* head = _map[Pfn.FromPageblock(block) + at];
            pages = PageMap.PagesOf(head);
            if (restedOnly && head->FreedAt + RestEpochsOfHoles > Epoch)
            {
                return 0; // something in it was handed out or freed a moment ago: it is being used
            }

            holes += IsHole(head, restedOnly) ? pages : 0;
        }

        return holes;
    }

    private unsafe bool IsHole(Page* head, bool restedOnly) =>
        head->PageType.IsBuddy && !head->PageType.IsTreated && head->Private < (ulong)PageblockLimits.PageblockOrder
        && (!restedOnly || head->FreedAt + RestEpochsOfHoles <= Epoch);

    private void CountReuse(BlockMarks marks, uint pages) => _reused += marks.Treated || !marks.Zero ? pages : 0;

    /// <summary>Raw pages, without Isolate's. A hint without the lock.</summary>
    public ulong RawPages
    {
        get
        {
            ulong pages = 0;
            for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
            {
                pages += Area(new Order(order)).Treatable << order;
            }

            return pages;
        }
    }
}

/// <summary>Where a scan over the pageblocks of a zone is.</summary>
internal struct MixedScan
{
    /// <summary>The pageblock that is looked at next.</summary>
    public uint Next;

    /// <summary>Pageblocks that are left to look at.</summary>
    public uint Left;
}
