using System.Collections.Generic;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>A freed block that is held back. Its struct page goes on saying that it is a user's, so that nothing else of the arena minds.</summary>
internal sealed record HeldBlock(Pfn Pfn, uint Pages, BlockRecord Record)
{
    /// <summary>Filled and in the queue.</summary>
    public bool IsReady { get; set; }

    /// <summary>Out of the queue, on its way to the free lists.</summary>
    public bool IsLeaving { get; set; }

    /// <summary>That it was written to has been reported.</summary>
    public bool IsTold { get; set; }

    /// <summary>Its pages are inaccessible.</summary>
    public bool IsGuarded { get; set; }
}

/// <summary>The freed blocks that debug mode holds back, first in first out, bounded in number and pages. While a block is here nobody can have
/// it, so whoever frees it again, or writes to it, is found out.
/// <code>
/// pages  = sum over the blocks that are not leaving
/// pages &lt;= PagesMax,  blocks &lt;= BlocksMax              but for those that are just being put in
/// each has one head, which says User, of as many pages
/// </code>
/// Any thread. The lock is the innermost of all: nothing is called under it but this.</summary>
internal sealed class BlockQuarantine
{
    /// <summary>Blocks held back at most: each may cost two mappings of the 65530 that a process has.</summary>
    public const int BlocksMax = 1024;

    private readonly IOperatingSystem _os;
    private readonly nint _base;
    private readonly Lock _lock = new();
    private readonly Queue<HeldBlock> _queue = new();
    private readonly Dictionary<uint, HeldBlock> _held = []; // by first page; those that are leaving too, until they have
    private ulong _pages;

    /// <summary>Empty.</summary>
    /// <param name="os">Makes pages inaccessible.</param>
    /// <param name="start">The arena's first byte.</param>
    /// <param name="pagesMax">At least 1.</param>
    public BlockQuarantine(IOperatingSystem os, nint start, ulong pagesMax) => (_os, _base, PagesMax) = (os, start, pagesMax);

    /// <summary>Pages held back at most; a larger block is not.</summary>
    public ulong PagesMax { get; }

    /// <summary>Pages held back.</summary>
    public ulong Pages => Volatile.Read(ref _pages);

    /// <summary>Whether a block was freed and is here.</summary>
    public bool Holds(Pfn pfn)
    {
        lock (_lock)
        {
            return _held.ContainsKey(pfn.Value);
        }
    }

    /// <summary>Makes a block nobody's: of those who free it, one gets through. Null: it was freed before.</summary>
    public HeldBlock? TryClaim(Pfn pfn, uint pages, BlockRecord record)
    {
        HeldBlock held = new(pfn, pages, record);
        lock (_lock)
        {
            if (!_held.TryAdd(pfn.Value, held))
            {
                return null;
            }

            Volatile.Write(ref _pages, _pages + pages);
            return held;
        }
    }

    /// <summary>The block, filled by now, is closed where the kernel allows it (it may have too many mappings), and waits its turn.</summary>
    public void Enqueue(HeldBlock held)
    {
        held.IsGuarded = _os.Protect(AddressOf(held), BytesOf(held), MemoryProtection.None) == Errno.None;
        lock (_lock)
        {
            held.IsReady = true;
            _queue.Enqueue(held);
        }
    }

    /// <summary>The block that has been here longest, opened again; false where none is to go. The caller looks at it, frees it, and calls
    /// <see cref="Forget"/>.</summary>
    /// <param name="all">Whether it goes although there is room.</param>
    /// <param name="closed">Whether it goes although it cannot be opened: nobody will use it any more.</param>
    /// <param name="oldest">The block.</param>
    public bool TryTakeOldest(bool all, bool closed, out HeldBlock oldest)
    {
        lock (_lock)
        {
            if (!_queue.TryPeek(out oldest!) || !(all || _pages > PagesMax || _queue.Count > BlocksMax))
            {
                return false;
            }

            _queue.Dequeue();
            oldest.IsLeaving = true;
            Volatile.Write(ref _pages, _pages - oldest.Pages);
        }

        if (!oldest.IsGuarded || _os.Protect(AddressOf(oldest), BytesOf(oldest), MemoryProtection.ReadWrite) == Errno.None)
        {
            oldest.IsGuarded = false;
            return true;
        }

        if (closed)
        {
            return true;
        }

        lock (_lock)
        {
            // The kernel has no mapping left to cut this one out with: it stays, the youngest, until another try.
            oldest.IsLeaving = false;
            Volatile.Write(ref _pages, _pages + oldest.Pages);
            _queue.Enqueue(oldest);
            return false;
        }
    }

    /// <summary>A block has left; or, where its address was given out meanwhile, the new one is not taken for it.</summary>
    public void Forget(HeldBlock left)
    {
        lock (_lock)
        {
            if (_held.TryGetValue(left.Pfn.Value, out HeldBlock? known) && ReferenceEquals(known, left))
            {
                _held.Remove(left.Pfn.Value);
            }
        }
    }

    /// <summary>A block is given out: what was here at its address has left.</summary>
    public void GivenOut(Pfn pfn)
    {
        lock (_lock)
        {
            _held.Remove(pfn.Value);
        }
    }

    /// <summary>The blocks that can be written to, for a look at them; the others cannot have been.</summary>
    public List<HeldBlock> Open()
    {
        List<HeldBlock> open = [];
        lock (_lock)
        {
            foreach (HeldBlock held in _queue)
            {
                if (!held.IsGuarded)
                {
                    open.Add(held);
                }
            }
        }

        return open;
    }

    /// <summary>Recomputes the equations above. The caller holds every zone lock.</summary>
    public unsafe void Verify(PageMap map)
    {
        lock (_lock)
        {
            ulong pages = 0;
            foreach (HeldBlock held in _held.Values)
            {
                if (held.IsLeaving)
                {
                    continue; // its head may be on a free list by now
                }

                Page* head = map[held.Pfn];
                bool whole = head->State == PageState.User && PageMap.PagesOf(head) == held.Pages;
                ArenaVerifier.Require(whole, $"{held.Pfn}, held back, heads a user's block of as many pages", head->State, held.Pages);
                pages += held.Pages;
            }

            ArenaVerifier.Require(pages == _pages, "pages held back == sum over the blocks held back", _pages, pages);
        }
    }

    private nint AddressOf(HeldBlock held) => _base + (nint)held.Pfn.ByteOffset;

    private static nuint BytesOf(HeldBlock held) => (nuint)held.Pages << PageblockLimits.PageShift;
}
