using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Debug mode: what is freed is held back for a while, see <see cref="PageArenaOptions.DebugChecks"/>. Nothing of it is on the way of an arena
/// without.</summary>
public sealed partial class PageArena
{
    /// <summary>Null but in debug mode.</summary>
    internal ArenaDebug? Debug => _seldom.Debug;

    /// <summary>What freed memory is filled with; 0 where nothing is.</summary>
    internal uint FreedFill => _fill ?? 0;

    /// <summary>Whether freed memory is overwritten with zeros, that of heaps too.</summary>
    internal bool ZeroesFreed => _seldom.ZeroesFreed;

    /// <summary>Frees what a heap or a finalizer gives back. What debug mode finds out on this occasion is told by the next who frees.</summary>
    internal unsafe void FreeQuietly(void* block)
    {
        if (Debug is null)
        {
            FreePages(block);
        }
        else
        {
            FreeWiped(block);
        }
    }

    /// <summary>Pages that were freed and are held back: no longer a user's, and nobody else's yet.</summary>
    private ulong HeldBackPages => Debug?.Quarantine?.Pages ?? 0;

    /// <summary>Whether a live-looking block was freed before. Its struct page does not say so.</summary>
    private bool IsHeldBack(Pfn pfn) => Debug?.Quarantine is BlockQuarantine quarantine && quarantine.Holds(pfn);

    /// <summary>A block goes to its user.</summary>
    private unsafe void GivenOut(void* block)
    {
        if (Debug is ArenaDebug debug)
        {
            if (Contains(block))
            {
                debug.Quarantine?.GivenOut(Pfn.FromByteOffset((nuint)((byte*)block - _base)));
            }

            debug.Stacks.Allocated((nuint)block);
        }
    }

    /// <summary>Holds a block back. False: it is too large, or somebody waits for memory, or nothing is held back any more.</summary>
    private unsafe bool TryHoldBack(ArenaDebug debug, Page* head, Pfn pfn, void* block)
    {
        uint pages = PageMap.PagesOf(head);
        if (debug.Quarantine is not BlockQuarantine quarantine)
        {
            debug.Stacks.Freed((nuint)block);
            return false;
        }

        if (quarantine.Holds(pfn))
        {
            ThrowNotABlock(block);
        }

        BlockRecord record = debug.Stacks.Freed((nuint)block);
        if (pages > quarantine.PagesMax || IsDisposed || Budget.HasWaiters)
        {
            return false;
        }

        HeldBlock? held = quarantine.TryClaim(pfn, pages, record);
        if (held is null)
        {
            ThrowNotABlock(block);
        }

        Pattern.Fill(block, (nuint)pages << PageblockLimits.PageShift, _fill!.Value);
        quarantine.Enqueue(held);

        // Asked again behind that: whoever disposed or began to wait meanwhile has not seen it.
        DrainQuarantine(all: IsDisposed || Budget.HasWaiters);
        return true;
    }

    /// <summary>Lets blocks go that were held back: all, or those for which there is no room. True: there was one.</summary>
    private bool DrainQuarantine(bool all)
    {
        bool any = false;
        while (Debug?.Quarantine is BlockQuarantine quarantine && quarantine.TryTakeOldest(all, closed: IsDisposed, out HeldBlock oldest))
        {
            Release(quarantine, oldest);
            any = true;
        }

        return any;
    }

    private unsafe void Release(BlockQuarantine quarantine, HeldBlock held)
    {
        // Sound: the block is open again, unless the arena has ended, and nobody else's until FreeNow.
        byte* block = _base + held.Pfn.ByteOffset;
        nuint bytes = (nuint)held.Pages << PageblockLimits.PageShift;
        long changed = held.IsGuarded ? -1 : Pattern.FindOther(block, bytes, _fill!.Value);
        if (changed >= 0)
        {
            Tell(held, block, bytes, changed);
            Pattern.Fill(block, bytes, _fill!.Value); // what is called zero, or poisoned, is so
        }

        FreeNow(_map[held.Pfn], held.Pfn, block, _seldom.ZeroesFreed);
        quarantine.Forget(held);
    }

    /// <summary>Looks at what is held back and can be written to.</summary>
    private unsafe void CheckQuarantine()
    {
        if (Debug?.Quarantine is not BlockQuarantine quarantine)
        {
            return;
        }

        foreach (HeldBlock held in quarantine.Open())
        {
            // Sound: its pages are the arena's, mapped while it is pinned. One that leaves meanwhile may read differently and be told
            // wrongly, so it is asked again whether it is still here.
            byte* block = _base + held.Pfn.ByteOffset;
            nuint bytes = (nuint)held.Pages << PageblockLimits.PageShift;
            long changed = Pattern.FindOther(block, bytes, _fill!.Value);
            if (changed >= 0 && !held.IsLeaving)
            {
                Tell(held, block, bytes, changed);
            }
        }
    }

    private unsafe void Tell(HeldBlock held, byte* block, nuint bytes, long offset)
    {
        if (!held.IsTold)
        {
            held.IsTold = true;
            Debug!.ReportWrite((nuint)block, bytes, offset, held.Record);
        }
    }
}
