using System;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What the fast path leaves: batches between sheaves and slabs, blocks given out whole, and bad pointers.</summary>
public sealed partial class NativeHeap
{
    /// <summary>A thread's sheaf is filled to this part, and emptied by it.</summary>
    private const int BatchDivisor = 2;

    /// <summary>How often an allocation that found nothing drains all sheaves and looks again.</summary>
    private const int ReclaimTries = 4;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private unsafe void* AllocateSlow(nuint bytes, nuint alignment, AllocationFlags flags)
    {
        CheckAlignment(alignment);
        return _debug is null ? AllocateUnchecked(bytes, alignment, flags) : AllocateChecked(bytes, alignment, flags);
    }

    private unsafe void* AllocateUnchecked(nuint bytes, nuint alignment, AllocationFlags flags)
    {
        if (IsWhole(bytes, alignment))
        {
            return AllocateWhole(bytes, alignment, flags);
        }

        int sizeClass = SizeClasses.For(Math.Max((int)bytes, 1), (int)Math.Max(alignment, DefaultAlignment));
        ThreadSheavesData* mine = ThreadSheaves.Mine;
        return mine != null && ThreadSheaves.TryPop(mine, _quickGate, (uint)sizeClass, out void* address) ? address : AllocateMissed(sizeClass);
    }

    /// <summary>One batch from the slabs: its first object for the caller, the rest for the thread's sheaf.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private unsafe void* AllocateMissed(int sizeClass)
    {
        ThreadSheaves? mine = MySheaves();
        if (mine is not null && ThreadSheaves.TryPop(ThreadSheaves.Mine, Id, (uint)sizeClass, out void* address))
        {
            return address; // it was only that the thread had used another heap before
        }

        int wanted = mine is null ? 1 : SizeClasses.SheafEntries(sizeClass) / BatchDivisor;
        ulong* batch = stackalloc ulong[wanted];
        int taken = _slabs.Take(sizeClass, batch, wanted);
        for (int i = 0; taken == 0 && i < ReclaimTries; i++)
        {
            // What the threads keep may fill slabs of any class; another thread may be faster, but not for ever.
            bool any = DrainAll();
            taken = _slabs.Take(sizeClass, batch, wanted);
            i = any ? i : ReclaimTries;
        }

        if (taken == 0)
        {
            ThrowOutOfMemory((nuint)SizeClasses.Bytes(sizeClass));
        }

        if (taken > 1)
        {
            Keep(mine!, sizeClass, batch + 1, taken - 1);
        }

        return (void*)batch[0];
    }

    /// <summary>The thread's sheaf gets objects in such an order that the first is given out first; what does not fit goes back.</summary>
    private unsafe void Keep(ThreadSheaves mine, int sizeClass, ulong* objects, int count)
    {
        if (mine.TryEnter())
        {
            Sheaf* sheaf = mine.Of(sizeClass);
            int kept = Math.Min(count, sheaf->High - sheaf->Count);
            count -= kept;
            Span<ulong> last = new(objects + count, kept);
            last.Reverse(); // a sheaf is popped from its end
            last.CopyTo(new Span<ulong>(sheaf->Entries + sheaf->Count, kept));
            sheaf->Count += kept;
            mine.Exit();
        }

        if (count != 0)
        {
            _slabs.Give(sizeClass, objects, count);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private unsafe void FreeSlow(void* block)
    {
        if (block == null)
        {
            return;
        }

        if (!TryFind(block, out Slab slab))
        {
            ThrowNotABlock(block);
        }

        if (_debug is not null)
        {
            FreeChecked(block, slab);
            return;
        }

        int sizeClass = (int)slab.Head->SizeClass;
        if (sizeClass == SizeClasses.Whole)
        {
            FreeWhole(slab.Head, block);
            return;
        }

        ZeroFreed(block, 0, (nuint)SizeClasses.Bytes(sizeClass));

        ThreadSheavesData* data = ThreadSheaves.Mine;
        if (data != null && ThreadSheaves.TryPush(data, _quickGate, ThreadSheavesData.Sheaves(data, 0) + sizeClass, block))
        {
            return; // a wide slab's, behind its first 64 KiB
        }

        ulong address = (ulong)block;
        ThreadSheaves? mine = MySheaves();
        if (mine is null || !mine.TryEnter())
        {
            if (_slabs.Give(sizeClass, &address, 1) != 0)
            {
                ThrowNotABlock(block);
            }

            return;
        }

        FreeToSheaf(mine, sizeClass, address);
    }

    /// <summary>A full sheaf first makes room: its oldest half goes to the slabs. The owner is busy.</summary>
    private unsafe void FreeToSheaf(ThreadSheaves mine, int sizeClass, ulong address)
    {
        Sheaf* sheaf = mine.Of(sizeClass);
        int moved = sheaf->Count >= sheaf->High ? sheaf->High / BatchDivisor : 0;
        ulong* batch = stackalloc ulong[moved];
        if (sheaf->Entries[sheaf->Count - 1] == address)
        {
            mine.Exit();
            ThrowNotABlock((void*)address);
        }

        if (moved != 0)
        {
            ThreadSheaves.MoveOldest(sheaf, batch, moved);
        }

        sheaf->Entries[sheaf->Count++] = address;
        mine.Exit();
        if (moved != 0 && _slabs.Give(sizeClass, batch, moved) is ulong twice and not 0)
        {
            throw new InvalidOperationException(string.Create(
                CultureInfo.InvariantCulture,
                $"0x{twice:x}, {SizeClasses.Bytes(sizeClass)} bytes, was freed twice some time ago. The block that is freed now is free."));
        }
    }

    /// <summary>The calling thread's sheaves; null in debug mode and where freed memory is zeroed: there every
    /// object comes from its slab and goes back to it.</summary>
    private ThreadSheaves? MySheaves()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        if (_quickGate != Id)
        {
            return null;
        }

        ThreadSheaves? mine = _sheaves.GetOrCreate();
        ObjectDisposedException.ThrowIf(mine is null, this);
        return mine;
    }

    private unsafe void* AllocateWhole(nuint bytes, nuint alignment, AllocationFlags flags)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        void* block;
        try
        {
            block = TakeWhole(bytes, alignment, flags);
        }
        catch (OutOfMemoryException) when (DrainAll())
        {
            block = TakeWhole(bytes, alignment, flags);
        }

        Own(block, _map[Pfn.FromByteOffset((nuint)((byte*)block - _base))]);
        return block;
    }

    /// <summary>A block where the pages are as many as one has, else a range, whose unused tail is freed. The arena's blocks lie at multiples
    /// of their size, and all that is larger than 32 KiB, or aligned to more, at multiples of 64 KiB.</summary>
    private unsafe void* TakeWhole(nuint bytes, nuint alignment, AllocationFlags flags)
    {
        if (bytes > _arena.SizeBytes)
        {
            ThrowOutOfMemory(bytes);
        }

        nuint pages = Math.Max((bytes + PageblockLimits.PageSize - 1) >> PageblockLimits.PageShift, 1);
        Order least = Order.ForPages(alignment >> PageblockLimits.PageShift);
        Order order = Order.ForPages(pages);
        void* block = order <= Order.Max && order.Pages == pages && order >= least
            ? _arena.AllocatePages(order.Value, MigrateType.Unmovable, flags)
            : _arena.AllocateAlignedRange(pages << PageblockLimits.PageShift, least, flags);
        if (!_arena.Contains(block))
        {
            // CapPolicy.FallBack: what comes from outside has no struct page to say whose it is.
            _arena.FreeQuietly(block);
            ThrowOutOfMemory(bytes);
        }

        return block;
    }

    private unsafe void FreeWhole(Page* head, void* block)
    {
        if (!TryDisown(head))
        {
            ThrowNotABlock(block);
        }

        _arena.FreeQuietly(block);
    }

    /// <summary>Makes a block that was given out whole, and is to stay so, longer or shorter where it lies. Meanwhile it is the arena's user's
    /// and no heap's, as while it is allocated: no lock is held while the arena drains its threads' pages.</summary>
    private unsafe bool TryResizeWhole(void* block, nuint bytes)
    {
        Page* head = _map[Pfn.FromByteOffset((nuint)((byte*)block - _base))];
        if (!IsWhole(bytes, DefaultAlignment) || bytes > _arena.SizeBytes || head->SizeClass != SizeClasses.Whole || !TryDisown(head))
        {
            return false;
        }

        bool done = false;
        try
        {
            done = _arena.TryResize(block, bytes);
        }
        finally
        {
            Own(block, head);
        }

        return done;
    }

    private unsafe bool TryDisown(Page* head)
    {
        lock (_wholeLock)
        {
            bool isMine = head->Heap == Id && head->SizeClass == SizeClasses.Whole;
            if (isMine)
            {
                _wholeBytes -= (long)PageMap.PagesOf(head) << PageblockLimits.PageShift;
                DisownWhole(head);
            }

            return isMine;
        }
    }

    /// <summary>The user's block becomes the heap's; where the heap has ended meanwhile, it goes back, as everything that the heap had.</summary>
    private unsafe void Own(void* block, Page* head)
    {
        lock (_wholeLock)
        {
            if (!IsDisposed)
            {
                head->SizeClass = SizeClasses.Whole;
                head->Heap = Id;
                head->State = PageState.Heap;
                _wholeBytes += (long)PageMap.PagesOf(head) << PageblockLimits.PageShift;
                return;
            }
        }

        _arena.FreeQuietly(block);
        throw new ObjectDisposedException(nameof(NativeHeap));
    }

    private static unsafe void DisownWhole(Page* head)
    {
        head->MemCgroup = 0;
        head->State = PageState.User;
    }

    /// <summary>Every block that is the heap's, found by the struct pages: heads lie at multiples of 64 KiB. Nobody else is inside.</summary>
    private unsafe void ReleaseEverything()
    {
        lock (_wholeLock)
        {
            HeapWalk.Run(_arena, Id, slab =>
            {
                Page* head = slab.Head;
                if (head->SizeClass == SizeClasses.Whole)
                {
                    DisownWhole(head);
                }
                else
                {
                    head->Lru = default;
                    SlabLists.Disown(slab, SizeClasses.Capacity((int)head->SizeClass));
                }

                _arena.FreeQuietly(_base + _map.PfnOf(head).ByteOffset);
            });
            _wholeBytes = 0;
        }
    }

    [DoesNotReturn]
    private void ThrowOutOfMemory(nuint bytes)
    {
        ArenaStatistics now = _arena.GetStatistics();
        throw new OutOfMemoryException(string.Create(
            CultureInfo.InvariantCulture,
            $"no room for {bytes} bytes: the arena has {now.AllocatedBytes} of {now.CapBytes} bytes taken and {now.ReservedBytes} reserved."));
    }

    [DoesNotReturn]
    private unsafe void ThrowNotABlock(void* block)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        nuint offset = unchecked((nuint)block - (nuint)_base);
        string why = block == null ? "null is no block"
            : offset >= _arena.SizeBytes ? "it lies outside the arena"
            : TryFind(block, out _) ? "it is free already"
            : "no block of this heap begins there";
        throw new ArgumentException(
            string.Create(CultureInfo.InvariantCulture, $"0x{(nuint)block:x} is not the head of a live block: {why}. Nothing was freed.")
            + _arena.Debug?.Stacks.Describe((nuint)block), nameof(block));
    }
}
