using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

public sealed partial class PageArena
{
    /// <summary>Makes a block or range of <see cref="AllocatePages"/> or <see cref="AllocateRange"/> longer or shorter where it lies, to
    /// whole pages. It is a range afterwards, which any length of pages may have. A shorter one always succeeds, its tail is free at
    /// once; a longer one takes the free memory right behind it.</summary>
    /// <param name="block">Its head; nobody frees or resizes it meanwhile.</param>
    /// <param name="bytes">1 and above.</param>
    /// <param name="flags">Zeroed and Populate are about what is added.</param>
    /// <returns>False: what lies behind is in use, the cap forbids it, or the block came from outside of the arena
    /// (<see cref="CapPolicy.FallBack"/>); nothing has changed.</returns>
    /// <exception cref="System.ObjectDisposedException">It is to become longer, and the arena was disposed.</exception>
    internal unsafe bool TryResize(void* block, nuint bytes, AllocationFlags flags = AllocationFlags.None)
    {
        if (!TryFindBlock(block, out Pfn pfn, out Page* head))
        {
            if (Outside.TryGetBytes((nuint)block, out nuint has))
            {
                return bytes <= has; // a mapping of its own stays as it is
            }

            ThrowNotABlock(block);
        }

        ulong pages = (bytes - 1 >> PageblockLimits.PageShift) + 1;
        ulong now = PageMap.PagesOf(head);
        if (pages == now)
        {
            return true;
        }

        Zone zone = ZoneOf(pfn);
        if (pages < now)
        {
            // Without a pin: the block is the caller's and keeps the mappings, after Dispose too.
            MakeRange(zone, head, now);
            Shorten(zone, pfn, pages);
            return true;
        }

        Pin();
        try
        {
            MakeRange(zone, head, now);
            return TryLengthen(zone, pfn, now, pages, flags) || (_threads.DrainAll() && TryLengthen(zone, pfn, now, pages, flags));
        }
        finally
        {
            Unpin();
        }
    }

    private static unsafe void MakeRange(Zone zone, Page* head, ulong pages)
    {
        if (head->Private != Zone.RangeOrder)
        {
            zone.Enter();
            head->Flags = PageFlags.Head;
            head->Private = Zone.RangeOrder;
            head->Index = pages;
            zone.ExitQuietly();
        }
    }

    private unsafe void Shorten(Zone zone, Pfn pfn, ulong keep)
    {
        if (_fill is uint value)
        {
            ulong start = pfn.ByteOffset + (keep << PageblockLimits.PageShift);
            Pattern.Fill(_base + start, (nuint)(pfn.ByteOffset + (Held(pfn) << PageblockLimits.PageShift) - start), value);
        }

        uint freed;
        do
        {
            zone.Enter();
            freed = zone.ShrinkRangeLocked(pfn, keep, MarksOfFreed(_seldom.ZeroesFreed));
            bool signalled = zone.Exit();
            Budget.Release(freed);
            if (signalled)
            {
                Tell(zone);
            }
        }
        while (freed != 0);
    }

    /// <summary>Takes block after block, a lock hold each, and gives all back when one of them is not to be had.</summary>
    private unsafe bool TryLengthen(Zone zone, Pfn pfn, ulong now, ulong pages, AllocationFlags flags)
    {
        AllocFlags alloc = (flags & AllocationFlags.Atomic) != 0 ? AllocFlags.Harder | AllocFlags.High : default;
        if (pages > uint.MaxValue || pfn.Value + pages > zone.End || !Budget.TryTake(pages - now, alloc))
        {
            return false;
        }

        bool zero = true;
        bool fine = true;
        for (ulong held = now; fine && held < pages;)
        {
            zone.Enter();
            uint taken = zone.ExtendRangeLocked(pfn, pages - held, alloc, out bool reads);
            zone.ExitQuietly();
            held += taken;
            zero &= reads;
            fine = taken != 0;
        }

        void* added = _base + pfn.ByteOffset + (now << PageblockLimits.PageShift);
        nuint bytes = (nuint)(pages - now) << PageblockLimits.PageShift;
        fine = fine && ((flags & AllocationFlags.Populate) == 0 || Populate(added, bytes) == Errno.None);
        if (!fine)
        {
            FreeTail(zone, pfn, now, BlockMarks.Raw(Epoch), releaseBudget: false);
            Budget.Release(pages - now);
        }
        else if ((flags & AllocationFlags.Zeroed) != 0 && !zero)
        {
            NativeMemory.Clear(added, bytes);
        }

        return fine;
    }
}
