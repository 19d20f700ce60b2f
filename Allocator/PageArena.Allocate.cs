using System;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

public sealed partial class PageArena
{
    /// <summary>Allocates a block of 2^<paramref name="order"/> pages, aligned to its size.</summary>
    /// <param name="order">0 (4 KiB) to 10 (4 MiB).</param>
    /// <param name="type">Unmovable, Movable or Reclaimable: keeps blocks of like lifetime together.</param>
    /// <param name="flags">How to go about it.</param>
    /// <returns>The block's first byte. Its contents are undefined unless <see cref="AllocationFlags.Zeroed"/> is given.</returns>
    /// <exception cref="ArgumentOutOfRangeException">Order, type or flags are none of the allowed.</exception>
    /// <exception cref="OutOfMemoryException">Nothing is free under the cap and the reserve even after draining, deflating and waiting for
    /// the reactor, and for as long as <see cref="PageArenaOptions.CapPolicy"/> lets it wait; the message names order, type and what is
    /// free. Or Populate failed; the message names the errno.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public unsafe void* AllocatePages(int order, MigrateType type = MigrateType.Unmovable, AllocationFlags flags = AllocationFlags.None)
    {
        if (!unchecked((uint)order > PageblockLimits.MaxOrder || (uint)type >= MigrateTypes.PcpTypes) && flags == AllocationFlags.None)
        {
            uint index = ThreadPages.IndexOf((uint)order, type); // both in one word before a call: what lives across it costs a push and a pop
            ThreadPagesData* mine = ThreadPages.Mine;
            return mine != null && ThreadPages.TryPop(mine, _quickGate, _map, index, out Pfn pfn)
                ? _base + pfn.ByteOffset
                : AllocateMissed(index);
        }

        return AllocateSlowOrThrow(order, type, flags);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private unsafe void* AllocateMissed(uint index) =>
        AllocateSlowOrThrow((int)index / MigrateTypes.PcpTypes, (MigrateType)((int)index % MigrateTypes.PcpTypes), AllocationFlags.None);

    /// <summary>As <see cref="AllocatePages"/>, but false instead of an <see cref="OutOfMemoryException"/>.</summary>
    /// <param name="order">0 (4 KiB) to 10 (4 MiB).</param>
    /// <param name="block">The block's first byte; null where there is none.</param>
    /// <param name="type">Unmovable, Movable or Reclaimable.</param>
    /// <param name="flags">How to go about it.</param>
    /// <exception cref="ArgumentOutOfRangeException">Order, type or flags are none of the allowed.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public unsafe bool TryAllocatePages(int order, out void* block, MigrateType type = MigrateType.Unmovable, AllocationFlags flags = AllocationFlags.None)
    {
        if (!unchecked((uint)order > PageblockLimits.MaxOrder || (uint)type >= MigrateTypes.PcpTypes) && flags == AllocationFlags.None)
        {
            ThreadPagesData* mine = ThreadPages.Mine;
            if (mine != null && ThreadPages.TryPop(mine, _quickGate, _map, ThreadPages.IndexOf((uint)order, type), out Pfn pfn))
            {
                block = _base + pfn.ByteOffset;
                return true;
            }
        }

        return AllocateSlow(order, type, flags, out block, out _);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private unsafe void* AllocateSlowOrThrow(int order, MigrateType type, AllocationFlags flags)
    {
        if (!AllocateSlow(order, type, flags, out void* block, out string? failure))
        {
            ThrowOutOfMemory(order, type, failure);
        }

        return block;
    }

    /// <summary>From the thread's pages where there is something left to do about the block, and from everywhere else.</summary>
    private unsafe bool AllocateSlow(int order, MigrateType type, AllocationFlags flags, out void* block, out string? failure)
    {
        if (unchecked((uint)order > PageblockLimits.MaxOrder || (uint)type >= MigrateTypes.PcpTypes))
        {
            ThrowBadArguments(order, type);
        }

        CheckFlags(flags);
        ThreadPagesData* mine = ThreadPages.Mine;
        uint index = ThreadPages.IndexOf((uint)order, type);
        if (mine != null && ThreadPages.TryPopMarked(mine, _quickGate, _map, index, out Pfn pfn, out BlockMarks marks))
        {
            block = _base + pfn.ByteOffset;
            return Furnish(ref block, new Order(order).Bytes, flags, marks.Zero, out failure);
        }

        if (mine != null && TryRefillMine(new Order(order), type, out pfn, out marks))
        {
            block = _base + pfn.ByteOffset;
            return Furnish(ref block, new Order(order).Bytes, flags, marks.Zero, out failure);
        }

        return AllocatePinned(new Order(order), type, flags, out block, out failure);
    }

    /// <summary>The usual miss, without a pin: while its owner is busy behind an open gate, Dispose waits for it, and afterwards the block
    /// that was taken keeps the mappings. Pins are one word for all threads, and two changes to it for a batch of few large blocks
    /// would cost more than the batch.</summary>
    private bool TryRefillMine(Order order, MigrateType type, out Pfn pfn, out BlockMarks marks)
    {
        ThreadPages? last = ThreadPages.Last;
        if (last is null || last.Arena != this || _quickGate != Id || !TryPopOrRefill(last, order, type, out pfn, out marks))
        {
            pfn = default;
            marks = default;
            return false;
        }

        return true;
    }

    private unsafe bool AllocatePinned(Order order, MigrateType type, AllocationFlags flags, out void* block, out string? failure)
    {
        Pin();
        try
        {
            BatchNote note = BatchNote.Begin();
            bool served = Serve(new Demand(order.Pages, type, flags, IsRange: false), out block, out failure);
            if (served && Contains(block))
            {
                note.TellSlow(order, type, ZoneOf(Pfn.FromByteOffset((nuint)((byte*)block - _base))));
            }

            return served;
        }
        finally
        {
            Unpin();
        }
    }

    /// <summary>Makes the block what the flags ask for; gives it back where that fails.</summary>
    private unsafe bool Furnish(ref void* block, nuint bytes, AllocationFlags flags, bool zero, out string? failure)
    {
        failure = null;
        if ((flags & AllocationFlags.Populate) != 0 && Populate(block, bytes) is Errno errno and not Errno.None)
        {
            FreeUnused(block);
            block = null;
            failure = $"MADV_POPULATE_WRITE failed: {errno}; ";
            return false;
        }

        if ((flags & AllocationFlags.Zeroed) != 0 && !zero)
        {
            NativeMemory.Clear(block, bytes);
        }

        return true;
    }

    /// <summary>Makes new memory resident; on a kernel before 5.14 by writing a zero to each page: of a new block nothing is lost, and one
    /// that reads zero still does.</summary>
    private unsafe Errno Populate(void* block, nuint bytes)
    {
        Errno errno = System.Advise((nint)block, bytes, MemoryAdvice.PopulateWrite);
        if (errno != Errno.EINVAL)
        {
            return errno;
        }

        for (nuint at = 0; at < bytes; at += PageblockLimits.PageSize)
        {
            Volatile.Write(ref ((byte*)block)[at], 0);
        }

        return Errno.None;
    }

    /// <summary>The thread's pages, refilled where they are empty, else a zone.</summary>
    private bool TryTakeBlock(Order order, MigrateType type, AllocationFlags flags, out Pfn pfn, out BlockMarks marks)
    {
        bool atomic = (flags & AllocationFlags.Atomic) != 0;
        ThreadPages? mine = _usesThreadPages ? _threads.GetOrCreate() : null;
        if (mine is not null && TryPopOrRefill(mine, order, type, out pfn, out marks))
        {
            return true;
        }

        AllocFlags alloc = atomic ? AllocFlags.Harder | AllocFlags.High : AllocFlags.Kswapd;
        return TryTakeFromZones(order, type, alloc, mine?.PreferredZone ?? PreferredZone(Environment.CurrentManagedThreadId), out pfn, out marks);
    }

    private unsafe bool TryPopOrRefill(ThreadPages mine, Order order, MigrateType type, out Pfn pfn, out BlockMarks marks)
    {
        pfn = default;
        marks = default;
        if (!mine.TryEnter())
        {
            return false;
        }

        ThreadBin* bin = mine.Bin(order, type);
        BatchNote note = default;
        if (bin->Count == 0 && !RefillBusy(mine, bin, order, type, ref note))
        {
            mine.Exit();
            return false;
        }

        ThreadPages.Pop(bin, _map, out pfn, out marks);
        mine.Exit();
        note.TellRefill(order, type);
        if (Budget.IsBelowLow)
        {
            Aerator.OnPressure();
        }

        return true;
    }

    private unsafe bool RefillBusy(ThreadPages mine, ThreadBin* bin, Order order, MigrateType type, ref BatchNote note)
    {
        ulong wanted = (ulong)ThreadPagesLimits.NextBatch(bin, order.Value, Epoch, isRefill: true);
        while (!Budget.TryTake(wanted << order.Value, AllocFlags.Kswapd))
        {
            // Close to the cap a full batch would starve the other threads: take less, at last nothing.
            wanted /= 2;
            if (wanted == 0)
            {
                return false;
            }
        }

        int taken = 0;
        for (int i = 0; i < _zones.Length && taken == 0; i++)
        {
            Zone zone = _zones[(mine.PreferredZone + i) % _zones.Length];
            note = BatchNote.Begin(zone);
            taken = ThreadDrain.Refill(this, zone, bin, order, type, (int)wanted, AllocFlags.NoFragment);
        }

        note.Count = taken;
        Budget.Release((wanted - (ulong)taken) << order.Value);
        return taken != 0;
    }

    private bool TryTakeFromZones(Order order, MigrateType type, AllocFlags flags, int preferred, out Pfn pfn, out BlockMarks marks)
    {
        pfn = default;
        marks = default;
        if (!Budget.TryTake(order.Pages, flags))
        {
            return false;
        }

        // Whole pageblocks anywhere before parts of other types' pageblocks anywhere (ALLOC_NOFRAGMENT first).
        for (int round = 0; round < 2; round++)
        {
            AllocFlags how = round == 0 ? flags | AllocFlags.NoFragment : flags;
            for (int i = 0; i < _zones.Length; i++)
            {
                Zone zone = _zones[(preferred + i) % _zones.Length];
                zone.Enter();
                bool taken = zone.TryTakeLocked(order, type, how, out pfn, out marks);
                if (taken && (flags & AllocFlags.Harder) != 0 && order.Value > 0)
                {
                    zone.ReserveHighAtomicLocked(pfn);
                }

                zone.ExitQuietly();
                if (taken)
                {
                    return true;
                }
            }
        }

        Budget.Release(order.Pages);
        return false;
    }

    internal static void CheckFlags(AllocationFlags flags)
    {
        const AllocationFlags Known = AllocationFlags.Zeroed | AllocationFlags.Atomic | AllocationFlags.Populate;
        if ((flags & ~Known) != 0)
        {
            throw new ArgumentOutOfRangeException(nameof(flags), flags, "allowed: any of Zeroed (1), Atomic (2), Populate (4).");
        }
    }

    [DoesNotReturn]
    private static void ThrowBadArguments(int order, MigrateType type)
    {
        if (unchecked((uint)order) > PageblockLimits.MaxOrder)
        {
            throw new ArgumentOutOfRangeException(nameof(order), order, "allowed: 0 (4 KiB) to 10 (4 MiB); AllocateRange takes more.");
        }

        throw new ArgumentOutOfRangeException(nameof(type), type, "allowed: Unmovable, Movable, Reclaimable; the other types are the arena's own.");
    }
}
