using System.Collections.Generic;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Takes the map of one zone, pageblock by pageblock, in short holds of the zone lock. Under it heads and orders stand still (a
/// block may go from a user to a thread's pages and back meanwhile), so that each cell is true of an instant.
/// <para>Only heads are read, and nothing beyond what was reached: a struct page inside a block may be dropped, and reading it would map a
/// page of zeros. A pageblock that begins inside a block of order 10 is found by the block's head; one that begins inside a range by the
/// range's head, which the walk has passed and which is asked again under each hold.</para></summary>
internal sealed class MapWalk(PageMap map, Zone zone)
{
    // What one hold looks at: about what the largest batch costs.
    private const int CellsPerHold = 64;
    private const int HeadsPerHold = 512;

    private readonly List<PageblockCell> _cells = new((int)(zone.ReachedPfn / PageblockLimits.PagesPerPageblock) - (int)zone.Start.Pageblock);
    private Pfn _last = zone.Start; // the last head that was passed
    private int _heads;

    /// <summary>The whole zone.</summary>
    public MapSection Run()
    {
        uint first = zone.Start.Pageblock;
        while (!Look(first))
        {
            // A range came into being behind the walk meanwhile: it is looked for without the lock and asked again under it.
            uint block = first + (uint)_cells.Count;
            if (block < End && !Covers(_last, Pfn.FromPageblock(block)))
            {
                _last = HeadBefore(block);
            }
        }

        return new MapSection(zone.Number, (int)first, (int)(zone.SpannedPages / PageblockLimits.PagesPerPageblock), _cells);
    }

    private uint End => (uint)(zone.ReachedPfn / PageblockLimits.PagesPerPageblock);

    /// <summary>One hold. True: the whole zone was seen.</summary>
    private bool Look(uint first)
    {
        zone.Enter();
        _heads = 0;
        uint block = first + (uint)_cells.Count;
        for (int looks = 0; looks < CellsPerHold && _heads < HeadsPerHold && block < End; looks++)
        {
            if (!TryLookLocked(block))
            {
                break;
            }

            block++;
        }

        bool done = block >= End;
        zone.ExitQuietly();
        return done;
    }

    /// <summary>Adds the cell of a pageblock. False: it begins inside a range whose head is not known.</summary>
    private unsafe bool TryLookLocked(uint block)
    {
        Pfn start = Pfn.FromPageblock(block);
        Pfn head = Covers(_last, start) ? _last : start.AlignDown(Order.Max);
        if (!Covers(head, start))
        {
            head = start;
            if (map[start]->State == 0)
            {
                return false;
            }
        }

        Shares shares = default;
        Pfn end = start + (PageblockLimits.PagesPerPageblock - 1); // the last page: the one behind it may be 2^32
        for (ulong at = head.Value; at <= end.Value;)
        {
            _last = new Pfn((uint)at);
            Page* page = map[_last];
            ulong from = at > start.Value ? at : start.Value;
            at += PageMap.PagesOf(page);
            shares.Add(page, (int)((at <= end.Value ? at : end.Value + 1ul) - from));
            _heads++;
        }

        _cells.Add(shares.Cell(map.Pageblocks.Get(block) == MigrateType.Isolate));
        return true;
    }

    /// <summary>Whether a page heads a block that reaches over another page. Exact under the lock.</summary>
    private unsafe bool Covers(Pfn head, Pfn page) =>
        head <= page && map[head]->State != 0 && head.Value + (ulong)PageMap.PagesOf(map[head]) > page.Value;

    /// <summary>The nearest head at the start of an earlier pageblock: what is longer than a pageblock begins there. A hint.</summary>
    private unsafe Pfn HeadBefore(uint block)
    {
        while (block > zone.Start.Pageblock && map[Pfn.FromPageblock(block)]->State == 0)
        {
            block--;
        }

        return Pfn.FromPageblock(block);
    }

    /// <summary>Pages of a pageblock by owner.</summary>
    private struct Shares
    {
        private int _taken;
        private int _cached;
        private int _raw;
        private int _treated;
        private int _inReactor;
        private int _inflated;
        private int _quarantined;

        public unsafe void Add(Page* head, int pages)
        {
            PageType type = head->PageType;
            bool held = type.IsCached || type.IsBuddy || type.IsInReactor || type.IsInflated || type.IsQuarantined;
            _taken += held ? 0 : pages;
            _cached += type.IsCached ? pages : 0;
            _raw += type.IsBuddy && !type.IsTreated ? pages : 0;
            _treated += type.IsBuddy && type.IsTreated ? pages : 0;
            _inReactor += type.IsInReactor ? pages : 0;
            _inflated += type.IsInflated ? pages : 0;
            _quarantined += type.IsQuarantined ? pages : 0;
        }

        public readonly PageblockCell Cell(bool isolated) =>
            PageblockCell.Of(isolated, _taken, _cached, _raw, _treated, _inReactor, _inflated, _quarantined);
    }
}
