using System;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

public sealed partial class PageArena
{
    /// <summary>Frees a block or range. Its size is known from its struct page. Any thread may free; after Dispose too.</summary>
    /// <param name="block">What <see cref="AllocatePages"/>, <see cref="TryAllocatePages"/> or <see cref="AllocateRange"/> returned, and has
    /// not been freed since. Nobody uses the memory any more.</param>
    /// <exception cref="ArgumentException">It is not the head of a live block of this arena: foreign, interior, misaligned, null, or
    /// freed already. Nothing changes. (Two threads that free one block at the same instant are told apart only with
    /// <see cref="PageArenaOptions.DebugChecks"/>.)</exception>
    /// <exception cref="InvalidOperationException">Debug mode has found that some other block was misused. This one is freed.</exception>
    public unsafe void FreePages(void* block)
    {
        ThreadPagesData* mine = ThreadPages.Mine; // first: it may be a call, and what lives across a call costs a push and a pop
        if (TryFindBlock(block, out Pfn pfn, out Page* head) && mine != null && ThreadPages.TryPush(mine, _quickGate, _map, head, pfn, _epoch))
        {
            return;
        }

        FreeSlow(block);
    }

    /// <summary>The struct page of a live block; false for what heads none. Turned right by the page's bits, an offset with any bit
    /// inside a page becomes larger than any arena: one comparison finds what is foreign and what is misaligned.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private unsafe bool TryFindBlock(void* block, out Pfn pfn, out Page* head)
    {
        nuint page = BitOperations.RotateRight(unchecked((nuint)block - (nuint)_base), PageblockLimits.PageShift);
        if (page >= _validPages)
        {
            pfn = default;
            head = null;
            return false;
        }

        // Sound: the page lies in the arena, and its struct page in the map, which is readable as long as a block is live.
        pfn = new Pfn((uint)page);
        head = _map[pfn];
        return head->State == PageState.User;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private unsafe void FreeSlow(void* block)
    {
        FreeWiped(block);
        Debug?.Reports.ThrowIfAny();
    }

    /// <summary>Writes over the block what the options want, and frees it, or holds it back.</summary>
    private unsafe void FreeWiped(void* block)
    {
        if (!TryFindBlock(block, out Pfn pfn, out Page* head))
        {
            FreeOutside(block);
            return;
        }

        if (Debug is ArenaDebug debug && TryHoldBack(debug, head, pfn, block))
        {
            return;
        }

        if (_fill is uint value)
        {
            Pattern.Fill(block, (nuint)PageMap.PagesOf(head) << PageblockLimits.PageShift, value);
        }

        FreeNow(head, pfn, block, _seldom.ZeroesFreed);
    }

    private unsafe void FreeOutside(void* block)
    {
        if (!_seldom.Outside.TryFree((nuint)block))
        {
            ThrowNotABlock(block);
        }

        Debug?.Stacks.Freed((nuint)block);
    }

    /// <summary>Gives back a block that no user has had: nothing is written to it, which might be what has failed.</summary>
    private unsafe void FreeUnused(void* block)
    {
        if (TryFindBlock(block, out Pfn pfn, out Page* head))
        {
            FreeNow(head, pfn, block, zero: false);
        }
        else
        {
            FreeOutside(block);
        }
    }

    /// <summary>To the thread's stack or the zone. No pin: the block that is being freed keeps the mappings until its budget is released, the last
    /// thing done with them.</summary>
    /// <param name="head">Its struct page.</param>
    /// <param name="pfn">Its first page.</param>
    /// <param name="block">Its first byte.</param>
    /// <param name="zero">Whether it reads zero.</param>
    private unsafe void FreeNow(Page* head, Pfn pfn, void* block, bool zero)
    {
        if (head->Private == Zone.RangeOrder)
        {
            FreeRange(head, pfn, block, zero);
            return;
        }

        ThreadPages? mine = _usesThreadPages && !IsDisposed ? _threads.GetOrCreate() : null;
        if (mine is null || !TryKeep(mine, head, pfn, block, zero, out Zone? signalled))
        {
            signalled = FreeToZone(head, pfn, block, zero);
        }

        if (signalled is not null)
        {
            Tell(signalled);
        }

        ZoneWaits.Tell();
    }

    private BlockMarks MarksOfFreed(bool zero) => new(Treated: false, zero, Epoch);

    /// <summary>Puts the block on the thread's stack; a full stack first makes room.</summary>
    private unsafe bool TryKeep(ThreadPages mine, Page* head, Pfn pfn, void* block, bool zero, out Zone? signalled)
    {
        signalled = null;
        if (!mine.TryEnter())
        {
            return false;
        }

        // Behind the open gate, as on the fast path.
        MigrateType type = Map.TypeOf(pfn);
        if ((uint)type >= MigrateTypes.PcpTypes || head->Private == Zone.RangeOrder)
        {
            mine.Exit();
            return false;
        }

        if (!Claim(head, zero ? ThreadPages.CachedZeroState : ThreadPages.CachedState))
        {
            mine.Exit();
            ThrowNotABlock(block);
        }

        Order order = new((int)head->Private);
        ThreadBin* bin = mine.Bin(order, type);
        head->FreedAt = Epoch;
        BatchNote note = default;
        if (bin->Count >= bin->High)
        {
            signalled = ThreadDrain.MakeRoom(this, bin, order, type, ref note);
        }

        // The entry before the count: whoever looks at the stack from outside, for a hint, must find nothing that was not written.
        bin->Entries[bin->Count] = pfn.Value;
        Volatile.Write(ref bin->Count, bin->Count + 1);
        mine.Exit();
        note.TellDrain(order, type);
        return true;
    }

    private unsafe Zone? FreeToZone(Page* head, Pfn pfn, void* block, bool zero)
    {
        Zone zone = ZoneOf(pfn);
        zone.Enter();
        if (head->Private == Zone.RangeOrder)
        {
            zone.ExitQuietly(); // it has become a range since the caller looked, see IsolatePageblock
            FreeRange(head, pfn, block, zero);
            return null;
        }

        if (!Claim(head, ThreadPages.CachedState))
        {
            zone.ExitQuietly();
            ThrowNotABlock(block);
        }

        Order order = new((int)head->Private);
        zone.FreeLocked(pfn, order, Map.TypeOf(pfn), MarksOfFreed(zero));
        Zone? signalled = zone.Exit() ? zone : null;
        Budget.Release(order.Pages);
        return signalled;
    }

    /// <summary>Frees a range piece by piece, a lock hold each. Locked says meanwhile that it is on its way: of two threads that free it
    /// one gets through, whoever comes while pieces of it are free already.</summary>
    private unsafe void FreeRange(Page* head, Pfn pfn, void* block, bool zero)
    {
        Zone zone = ZoneOf(pfn);
        zone.Enter();
        bool mine = head->State == PageState.User && head->Flags == PageFlags.Head;
        if (mine)
        {
            head->Flags |= PageFlags.Locked;
        }

        zone.ExitQuietly();
        if (!mine)
        {
            ThrowNotABlock(block);
        }

        bool done;
        do
        {
            zone.Enter();
            uint freed = zone.ShrinkRangeLocked(pfn, 0, MarksOfFreed(zero));
            done = head->State != PageState.User;
            bool signalled = zone.Exit();
            Budget.Release(freed);
            if (signalled)
            {
                Tell(zone);
            }
        }
        while (!done);
    }

    /// <summary>Tells the aerator of a high-water mark. The block that was freed keeps the mappings no longer, so the caller may have to
    /// do without: after Dispose there is nothing to treat.</summary>
    private void Tell(Zone zone)
    {
        Interlocked.Increment(ref _pins);
        try
        {
            if (!IsDisposed)
            {
                Aerator.OnHighWaterMark(zone);
            }
        }
        finally
        {
            Unpin();
        }
    }

    /// <summary>Makes the block nobody's before it goes on. Only with checks is that one interlocked step, so that of two threads that
    /// free one block at once exactly one gets through.</summary>
    private unsafe bool Claim(Page* head, ulong state)
    {
        if (_checks)
        {
            return Interlocked.CompareExchange(ref head->State, state, PageState.User) == PageState.User;
        }

        if (head->State != PageState.User)
        {
            return false;
        }

        head->State = state;
        return true;
    }

    [DoesNotReturn]
    private unsafe void ThrowNotABlock(void* block)
    {
        nuint offset = unchecked((nuint)((byte*)block - _base));
        string why = IsUnmapped ? "the arena was disposed and its last block has come back"
            : block == null ? "null is no block"
            : offset >= SizeBytes ? "it lies outside the arena"
            : (offset & (PageblockLimits.PageSize - 1)) != 0 ? "it is not aligned to a page"
            : Describe(Pfn.FromByteOffset(offset));
        string message = string.Create(CultureInfo.InvariantCulture, $"0x{(nuint)block:x} is not the head of a live block: {why}. Nothing was freed.");
        throw new ArgumentException(message + Debug?.Stacks.Describe((nuint)block), nameof(block));
    }

    private unsafe string Describe(Pfn pfn)
    {
        Page* page = Map[pfn];
        PageType type = page->PageType;
        return page->State switch
        {
            0 => "it is inside a block, or was never allocated",
            PageState.Heap => "a heap has it",
            PageState.User when IsHeldBack(pfn) => "it is free already (held back)",
            PageState.User => "another thread freed it at the same instant",
            _ when type.IsBuddy => "it is free already",
            _ when type.IsCached => "it is free already (in a thread's pages)",
            _ when type.IsInReactor => "it is free already (in the reactor)",
            _ when type.IsInflated => "the balloon holds it",
            _ => "it is free already (in quarantine)",
        };
    }
}
