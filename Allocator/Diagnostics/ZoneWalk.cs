using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Pages of a zone by owner, as the struct pages say.</summary>
internal struct ZoneTally
{
    public ulong Free;
    public ulong FreeOnIsolate;
    public ulong Cached;
    public ulong InReactor;
    public ulong Quarantined;
    public ulong Inflated;
    public ulong User;
    public ulong IsolatedPageblocks;
    public ulong HighAtomicPages;
}

/// <summary>Walks a zone from head to head: each page belongs to exactly one block, each struct page inside a block is all-zero, no
/// two buddies are free and unmerged.</summary>
internal readonly struct ZoneWalk
{
    private readonly PageArena _arena;
    private readonly Zone _zone;

    public ZoneWalk(PageArena arena, Zone zone)
    {
        _arena = arena;
        _zone = zone;
    }

    /// <summary>The whole zone; throws where a struct page is out of place.</summary>
    public unsafe ZoneTally Run()
    {
        ZoneTally tally = default;
        ulong pfn = _zone.Start.Value;
        while (pfn < _zone.ReachedPfn)
        {
            Pfn at = new((uint)pfn);
            Page* head = _arena.Map[at];
            ArenaVerifier.Require(head->State != 0, $"{at} heads the block that follows the one before", 0, 1);
            uint pages = PageMap.PagesOf(head);
            Count(ref tally, head, at, pages);
            VerifyInterior(at, pages);
            pfn += pages;
        }

        ArenaVerifier.Require(pfn == _zone.ReachedPfn, "blocks end where the reached pages end", pfn, _zone.ReachedPfn);
        CountPageblocks(ref tally);
        return tally;
    }

    private unsafe void Count(ref ZoneTally tally, Page* head, Pfn pfn, uint pages)
    {
        bool range = (head->Flags & PageFlags.Head) != 0;
        if (head->State is PageState.User or PageState.Heap)
        {
            ArenaVerifier.Require(range == (head->Private == Zone.RangeOrder), $"{pfn}: Head exactly on ranges", head->Private, (ulong)head->Flags);
            tally.User += pages;
            return;
        }

        PageType type = head->PageType;
        int owners = (type.IsBuddy ? 1 : 0) + (type.IsCached ? 1 : 0) + (type.IsInReactor ? 1 : 0) + (type.IsInflated ? 1 : 0) + (type.IsQuarantined ? 1 : 0);
        ArenaVerifier.Require(owners == 1 && head->Refcount == 0 && !range, $"{pfn} has exactly one owner", head->State, (ulong)head->Flags);
        ArenaVerifier.Require(pfn.IsAligned(new Order((int)head->Private)), $"{pfn} is aligned to its order", pfn.Value, head->Private);
        if (type.IsBuddy)
        {
            tally.Free += pages;
            tally.FreeOnIsolate += head->Index == (ulong)MigrateType.Isolate ? pages : 0;
            VerifyFree(head, pfn);
        }

        tally.Cached += type.IsCached ? pages : 0;
        tally.InReactor += type.IsInReactor ? pages : 0;
        tally.Inflated += type.IsInflated ? pages : 0;
        tally.Quarantined += type.IsQuarantined ? pages : 0;
    }

    private unsafe void VerifyFree(Page* head, Pfn pfn)
    {
        Order order = new((int)head->Private);
        bool isolated = _arena.Map.TypeOf(pfn) == MigrateType.Isolate;
        bool fits = isolated == (head->Index == (ulong)MigrateType.Isolate);
        ArenaVerifier.Require(fits, $"{pfn} is on Isolate's list exactly if its pageblock is isolated", head->Index, isolated ? 1u : 0u);
        if (order == Order.Max)
        {
            return;
        }

        Pfn buddy = pfn.Buddy(order);
        Page* other = _arena.Map[buddy];
        bool unmerged = other->PageType.IsBuddy && other->Private == (ulong)order.Value;
        bool border = order == Order.Pageblock && (isolated || _arena.Map.TypeOf(buddy) == MigrateType.Isolate);
        bool apart = order < Order.Pageblock && head->PageType.IsTreated != other->PageType.IsTreated
            && (_arena.Map.Block(pfn.Pageblock)->Flags & PageblockFlags.Small) != 0;
        ArenaVerifier.Require(!unmerged || border || apart, $"{pfn} and its buddy of order {order.Value} are not both free", pfn.Value, buddy.Value);
    }

    private unsafe void VerifyInterior(Pfn head, uint pages)
    {
        Page* first = _arena.Map[head];
        for (uint i = 1; i < pages; i++)
        {
            ulong any = Words(first + i, first);
            any = any == 0 ? 0 : Words(first + i, first); // it may have become a slab, or ceased to be one, between two words
            ArenaVerifier.Require(any == 0, $"{head + i} inside the block at {head} is all-zero", any, 0);
        }
    }

    /// <summary>What must be zero of a struct page inside a block. A slab keeps its free bits in lru, freed_at, index and private: what they say
    /// is its heap's to verify. The heap says Slab before it writes them, and takes it back when they are zero again.</summary>
    private static unsafe ulong Words(Page* page, Page* head)
    {
        ulong* words = (ulong*)page;
        ulong bits = words[1] | words[2] | words[3] | words[4] | words[5];
        bool isSlab = bits != 0 && (Volatile.Read(ref *(ulong*)&head->Flags) & (ulong)PageFlags.Slab) != 0;
        return words[0] | words[6] | words[7] | (isSlab ? 0 : bits);
    }

    private void CountPageblocks(ref ZoneTally tally)
    {
        uint end = (uint)(_zone.ReachedPfn / PageblockLimits.PagesPerPageblock);
        for (uint block = _zone.Start.Pageblock; block < end; block++)
        {
            MigrateType type = _arena.Map.Pageblocks.Get(block);
            tally.IsolatedPageblocks += type == MigrateType.Isolate ? 1u : 0u;
            tally.HighAtomicPages += type == MigrateType.HighAtomic ? (uint)PageblockLimits.PagesPerPageblock : 0u;
        }
    }
}
