using System;
using System.Globalization;
using LowLevel.Native;

namespace LowLevel.Allocator;

public sealed partial class PageArena
{
    /// <summary>Allocates contiguous pages, as many as hold <paramref name="bytes"/>; above order 10 from contiguous free pageblocks
    /// (isolate, take, free the tail; mm/page_alloc.c, alloc_contig_range), else from pages never used. What the last pageblock has too
    /// much is freed at once.</summary>
    /// <param name="bytes">1 and above; rounded up to 4 KiB.</param>
    /// <param name="flags">How to go about it.</param>
    /// <returns>The first byte: aligned to 2 MiB above 4 MiB, else to the next power of two of the size.</returns>
    /// <exception cref="ArgumentOutOfRangeException">0 bytes, or unknown flags.</exception>
    /// <exception cref="OutOfMemoryException">No run of free pageblocks is long enough, or the cap forbids it, for as long as
    /// <see cref="PageArenaOptions.CapPolicy"/> lets it wait. Or Populate failed; the message names the errno.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public unsafe void* AllocateRange(nuint bytes, AllocationFlags flags = AllocationFlags.None) =>
        AllocateAlignedRange(bytes, new Order(0), flags);

    /// <summary>As above, aligned to a block of an order at least (up to order 9).</summary>
    internal unsafe void* AllocateAlignedRange(nuint bytes, Order least, AllocationFlags flags)
    {
        if (bytes == 0)
        {
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes, "allowed: 1 and above.");
        }

        CheckFlags(flags);
        Pin();
        try
        {
            ulong pages = (bytes - 1 >> PageblockLimits.PageShift) + 1;
            if (!Serve(new Demand(pages, MigrateType.Unmovable, flags, IsRange: true, least), out void* range, out string? failure))
            {
                throw new OutOfMemoryException(string.Create(CultureInfo.InvariantCulture, $"no range of {bytes} bytes: ") + failure + Inventory());
            }

            return range;
        }
        finally
        {
            Unpin();
        }
    }

    private bool TryTakeRange(ulong pages, Order least, AllocationFlags flags, out Pfn pfn, out bool zero)
    {
        Order order = Order.ForPages(Math.Max(pages, least.Pages));
        if (pages > _memory.Bytes >> PageblockLimits.PageShift)
        {
            pfn = default;
            zero = false;
            return false;
        }

        if (order > Order.Max)
        {
            return TryTakeLongRange(pages, flags, out pfn, out zero);
        }

        bool taken = TryTakeBlock(order, MigrateType.Unmovable, flags, out pfn, out BlockMarks marks)
            || TryTakeAfterReclaim(order, MigrateType.Unmovable, flags, out pfn, out marks);
        zero = marks.Zero;
        if (taken && pages < order.Pages)
        {
            ShortenBlock(pfn, order, pages, marks);
        }

        return taken;
    }

    /// <summary>Turns a block that is larger than asked for into a range and frees the rest.</summary>
    private unsafe void ShortenBlock(Pfn pfn, Order order, ulong pages, BlockMarks marks)
    {
        Zone zone = ZoneOf(pfn);
        zone.Enter();
        Page* head = Map[pfn];
        head->Flags = PageFlags.Head;
        head->Private = Zone.RangeOrder;
        head->Index = order.Pages;
        zone.ExitQuietly();
        FreeTail(zone, pfn, pages, marks);
    }

    private bool TryTakeLongRange(ulong pages, AllocationFlags flags, out Pfn pfn, out bool zero)
    {
        AllocFlags alloc = (flags & AllocationFlags.Atomic) != 0 ? AllocFlags.Harder | AllocFlags.High : default;
        ulong blocks = (pages + PageblockLimits.PagesPerPageblock - 1) / PageblockLimits.PagesPerPageblock;
        ulong whole = (blocks * PageblockLimits.PagesPerPageblock) + PageblockLimits.PagesPerPageblock; // growth is by order 10
        zero = false;
        for (int round = 0; round < 3; round++)
        {
            if (round > 0)
            {
                _ = round == 1
                    ? DrainQuarantine(all: true) | _threads.DrainAll() | Unreserve(MigrateType.Unmovable) | MergeApart()
                    : (flags & AllocationFlags.Atomic) == 0 && Aerator.WaitForReactor();
            }

            if (!Budget.TryTake(whole, alloc))
            {
                // Without the spare pageblock: runs of free pageblocks need none.
                whole = blocks * PageblockLimits.PagesPerPageblock;
                if (!Budget.TryTake(whole, alloc))
                {
                    continue;
                }
            }

            foreach (Zone zone in _zones)
            {
                if (TryTakeRun(zone, (uint)blocks, out pfn) || TryGrow(zone, pages, whole, alloc, out pfn, ref zero))
                {
                    ulong held = Held(pfn);
                    Budget.Release(whole - held);
                    FreeTail(zone, pfn, pages, zero ? BlockMarks.Fresh : BlockMarks.Raw(Epoch));
                    return true;
                }
            }

            Budget.Release(whole);
        }

        pfn = default;
        return false;
    }

    private unsafe ulong Held(Pfn head) => Map[head]->Index;

    private bool TryGrow(Zone zone, ulong pages, ulong budget, AllocFlags alloc, out Pfn pfn, ref bool zero)
    {
        ulong grown = (pages + PageblockLimits.PagesPerMaxBlock - 1) & ~(ulong)(PageblockLimits.PagesPerMaxBlock - 1);
        pfn = default;
        if (grown > budget)
        {
            return false;
        }

        zone.OpenAhead(grown);
        zone.Enter();
        zero = zone.TryGrowRangeLocked(pages, alloc, out pfn);
        zone.ExitQuietly();
        return zero;
    }

    /// <summary>Looks for free pageblocks side by side, without the lock, then isolates them one by one (a lock hold each, so that no
    /// one waits long), makes sure that each is still wholly free, and takes them.</summary>
    private bool TryTakeRun(Zone zone, uint blocks, out Pfn pfn)
    {
        uint first = zone.Start.Pageblock;
        uint end = (uint)(zone.ReachedPfn / PageblockLimits.PagesPerPageblock);
        uint length = 0;
        for (uint block = first; block < end; block++)
        {
            length = zone.LooksFree(block) ? length + 1 : 0;
            if (length == blocks)
            {
                uint start = block + 1 - blocks;
                if (TryClaimRun(zone, start, blocks))
                {
                    pfn = Pfn.FromPageblock(start);
                    return true;
                }

                length = 0;
            }
        }

        pfn = default;
        return false;
    }

    private bool TryClaimRun(Zone zone, uint start, uint blocks)
    {
        Pfn head = Pfn.FromPageblock(start);
        uint claimed = 0;
        bool fine = true;
        for (; claimed < blocks && fine; claimed += fine ? 1u : 0u)
        {
            zone.Enter();
            MigrateType before = Map.Pageblocks.Get(start + claimed);
            bool isolated = zone.IsolateLocked(start + claimed);
            fine = isolated && zone.ClaimIsolatedLocked(start + claimed, head);
            if (isolated)
            {
                // Its pages are on no list any more; what the pageblock is called is free to be the range's own type.
                zone.UnisolateLocked(start + claimed, fine ? MigrateType.Unmovable : before);
            }

            zone.ExitQuietly();
        }

        if (!fine && claimed != 0)
        {
            FreeTail(zone, head, 0, BlockMarks.Raw(Epoch), releaseBudget: false);
        }

        return fine;
    }

    private void FreeTail(Zone zone, Pfn head, ulong keep, BlockMarks marks, bool releaseBudget = true)
    {
        uint freed;
        bool gone;
        do
        {
            zone.Enter();
            freed = zone.ShrinkRangeLocked(head, keep, marks);
            gone = IsGone(head); // asked under the lock: a moment later the head may be somebody else's
            zone.ExitQuietly(); // the range's owner is past the point of waiting for anything; the next one to free tells of a mark
            if (releaseBudget)
            {
                Budget.Release(freed);
            }
        }
        while (freed != 0 && !gone);
    }

    private unsafe bool IsGone(Pfn head) => Map[head]->State != PageState.User || (Map[head]->Flags & PageFlags.Head) == 0;

    /// <summary>Takes a pageblock out of circulation (tests and later tenants): what is free of it moves aside, what comes back stays aside.</summary>
    internal bool IsolatePageblock(uint block)
    {
        // Shut: who frees meanwhile comes to the zone, and nobody is between looking at a block and keeping it.
        Zone zone = ZoneOf(Pfn.FromPageblock(block));
        _threads.Shut();
        zone.Enter();
        bool done = zone.IsolateLocked(block);
        if (done)
        {
            zone.MakeSpanningRangeLocked(block);
        }

        zone.ExitQuietly();
        _threads.Reopen();
        return done;
    }

    /// <summary>Brings an isolated pageblock back.</summary>
    internal bool UnisolatePageblock(uint block, MigrateType type)
    {
        Zone zone = ZoneOf(Pfn.FromPageblock(block));
        zone.Enter();
        bool done = zone.UnisolateLocked(block, type);
        bool signalled = zone.Exit();
        if (signalled)
        {
            Tell(zone);
        }

        return done;
    }
}
