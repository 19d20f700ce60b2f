using System;
using System.Diagnostics.Tracing;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Batches between a thread's pages and the zones: one hold of a zone lock for as many blocks as lie in that zone.</summary>
internal static class ThreadDrain
{
    /// <summary>Gives the oldest blocks of a stack back to their zones. The stack is frozen, or its owner busy.</summary>
    /// <returns>A zone that reached its high-water mark; the caller tells the aerator once it is out of the thread's pages.</returns>
    public static unsafe Zone? Oldest(PageArena arena, ThreadBin* bin, Order order, MigrateType type, int count)
    {
        Zone? signalled = null;
        Zone? zone = null;
        for (int i = 0; i < count; i++)
        {
            Pfn pfn = new(bin->Entries[i]);
            Zone owner = arena.ZoneOf(pfn);
            if (owner != zone)
            {
                signalled = Leave(zone) ?? signalled;
                zone = owner;
                zone.Enter();
            }

            zone!.FreeLocked(pfn, order, type, BlockMarks.Of(arena.Map[pfn]));
        }

        ThreadPages.DropOldest(bin, count);
        signalled = Leave(zone) ?? signalled;
        arena.Budget.Release((ulong)count << order.Value);
        if (ArenaEvents.Log.IsEnabled(EventLevel.Verbose, ArenaEvents.Keywords.Allocation))
        {
            ArenaEvents.Log.Drain(order.Value, count);
        }

        return signalled;
    }

    /// <summary>Fills an empty stack from a zone, one batch under one lock hold. The owner is busy. Budget for the batch was taken by
    /// the caller, who gives back what is left over.</summary>
    /// <returns>Blocks that came.</returns>
    public static unsafe int Refill(PageArena arena, Zone zone, ThreadBin* bin, Order order, MigrateType type, int count, AllocFlags flags)
    {
        int taken = 0;
        ulong epoch = arena.Epoch;
        zone.Enter();
        while (taken < count && zone.TryTakeLocked(order, type, flags, out Pfn pfn, out BlockMarks marks))
        {
            // Being refilled is a use: the rest of the batch rests from now on, or the next pass would take it away again.
            Page* head = arena.Map[pfn];
            head->FreedAt = epoch;
            head->State = PageState.Of(marks.On(PageType.None.WithCached()));
            bin->Entries[taken++] = pfn.Value;
        }

        // The zone gave its best block first; a stack is popped from its end.
        new Span<uint>(bin->Entries, taken).Reverse();
        bin->Count = (ushort)taken;
        zone.ExitQuietly();
        if (ArenaEvents.Log.IsEnabled(EventLevel.Verbose, ArenaEvents.Keywords.Allocation))
        {
            ArenaEvents.Log.Refill(order.Value, taken);
        }

        return taken;
    }

    private static Zone? Leave(Zone? zone) => zone is not null && zone.Exit() ? zone : null;
}
