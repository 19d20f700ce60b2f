using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Batches between a thread's pages and the zones: one hold of a zone lock for as many blocks as lie in that zone.</summary>
internal static class ThreadDrain
{
    /// <summary>Gives the oldest blocks of a stack back to their zones. Its gate is shut, or its owner busy.</summary>
    /// <returns>A zone that reached its high-water mark; the caller tells the aerator once it is out of the thread's pages.</returns>
    public static unsafe Zone? Oldest(PageArena arena, ThreadBin* bin, Order order, MigrateType type, int count)
    {
        Zone? signalled = null;
        int done = 0;
        int bound = ThreadPagesLimits.MaxBatch(order.Value); // also where a pass takes a whole stack: nobody waits for long
        while (done < count)
        {
            Zone zone = arena.ZoneOf(new Pfn(bin->Entries[done]));
            int next = done + 1;
            while (next < count && next - done < bound && zone.Contains(new Pfn(bin->Entries[next])))
            {
                next++;
            }

            zone.Enter();
            zone.FreeManyLocked(bin->Entries + done, next - done, order, type);
            signalled = zone.Exit() ? zone : signalled;
            done = next;
        }

        ThreadPages.DropOldest(bin, count);
        arena.Budget.Release((ulong)count << order.Value);
        return signalled;
    }

    /// <summary>Makes room in a full stack: it grows where the thread has turned from taking to giving, else its next batch goes to the
    /// zones. Where the zone's lock is held and the stack may still grow, it grows by one small batch instead and the owner goes on: a
    /// holder that has lost its processor then keeps nobody waiting who only frees. The owner is busy.</summary>
    /// <param name="arena">The arena.</param>
    /// <param name="bin">The stack.</param>
    /// <param name="order">Its order.</param>
    /// <param name="type">Its type.</param>
    /// <param name="note">What was done, for the tracer; told when the owner is out of its pages.</param>
    public static unsafe Zone? MakeRoom(PageArena arena, ThreadBin* bin, Order order, MigrateType type, ref BatchNote note)
    {
        ulong share = ThreadPagesLimits.SharePages(arena.Budget.CapPages);
        if (ThreadPagesLimits.TryGrowAtTurn(bin, order.Value, arena.Epoch, share))
        {
            return null;
        }

        int least = ThreadPagesLimits.Batch(order.Value);
        if (bin->High + least <= ThreadPagesLimits.MaxHigh(order.Value, share) && arena.ZoneOf(new Pfn(bin->Entries[0])).LooksHeld)
        {
            bin->High += least;
            return null;
        }

        note = BatchNote.Begin(arena.ZoneOf(new Pfn(bin->Entries[0])));
        int count = ThreadPagesLimits.NextBatch(bin, order.Value, arena.Epoch, isRefill: false);
        note.Count = count;
        return Oldest(arena, bin, order, type, count);
    }

    /// <summary>Fills an empty stack from a zone, one batch under one lock hold. The owner is busy. Budget for the batch was taken by
    /// the caller, who gives back what is left over.</summary>
    /// <returns>Blocks that came.</returns>
    public static unsafe int Refill(PageArena arena, Zone zone, ThreadBin* bin, Order order, MigrateType type, int count, AllocFlags flags)
    {
        // Being refilled is a use: the rest of the batch rests from now on, or the next pass would take it away again.
        zone.Enter();
        int taken = zone.TakeManyLocked(bin->Entries, count, order, type, flags, arena.Epoch);
        zone.ExitQuietly();

        // The zone gave its best block first; a stack is popped from its end.
        new Span<uint>(bin->Entries, taken).Reverse();
        bin->Count = taken;
        return taken;
    }
}
