using System;
using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Tracing;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
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
    /// the reactor; the message names order, type and what is free. Or Populate failed; the message names the errno.</exception>
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
        if (!AllocateSlow(order, type, flags, out void* block, out Errno errno))
        {
            ThrowOutOfMemory(order, type, errno);
        }

        return block;
    }

    /// <summary>From the thread's pages where there is something left to do about the block, and from everywhere else.</summary>
    private unsafe bool AllocateSlow(int order, MigrateType type, AllocationFlags flags, out void* block, out Errno errno)
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
            return Furnish(block, new Order(order).Bytes, flags, marks.Zero, out errno);
        }

        if (mine != null && TryRefillMine(new Order(order), type, out pfn, out marks))
        {
            block = _base + pfn.ByteOffset;
            return Furnish(block, new Order(order).Bytes, flags, marks.Zero, out errno);
        }

        return AllocatePinned(new Order(order), type, flags, out block, out errno);
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

    private unsafe bool AllocatePinned(Order order, MigrateType type, AllocationFlags flags, out void* block, out Errno errno)
    {
        Pin();
        try
        {
            BatchNote note = BatchNote.Begin();
            block = null;
            errno = Errno.None;
            if (!TryTakeBlock(order, type, flags, out Pfn pfn, out BlockMarks marks) && !TryTakeAfterReclaim(order, type, flags, out pfn, out marks))
            {
                if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Allocation))
                {
                    ArenaEvents.Log.AllocationFailed(order.Value, type, (long)(FreePagesInZones() << PageblockLimits.PageShift));
                }

                return false;
            }

            note.TellSlow(order, type, ZoneOf(pfn));
            block = _base + pfn.ByteOffset;
            return Furnish(block, order.Bytes, flags, marks.Zero, out errno);
        }
        finally
        {
            Unpin();
        }
    }

    /// <summary>Makes the block what the flags ask for; gives it back where that fails.</summary>
    private unsafe bool Furnish(void* block, nuint bytes, AllocationFlags flags, bool zero, out Errno errno)
    {
        errno = Errno.None;
        if ((flags & AllocationFlags.Populate) != 0)
        {
            errno = System.Advise((nint)block, bytes, MemoryAdvice.PopulateWrite);
            if (errno != Errno.None)
            {
                FreePages(block);
                return false;
            }
        }

        if ((flags & AllocationFlags.Zeroed) != 0 && !zero)
        {
            NativeMemory.Clear(block, bytes);
        }

        return true;
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
        ulong wanted = (ulong)ThreadPagesLimits.NextBatch(bin, order.Value, Epoch);
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

    /// <summary>Before failing (in this order, each followed by another try): what the threads keep, what the balloon holds, the
    /// reserve for atomic requests, what the reactor holds. An atomic request never waits for the reactor.</summary>
    private bool TryTakeAfterReclaim(Order order, MigrateType type, AllocationFlags flags, out Pfn pfn, out BlockMarks marks)
    {
        bool atomic = (flags & AllocationFlags.Atomic) != 0;
        AllocFlags alloc = atomic ? AllocFlags.Harder | AllocFlags.High : default;
        int preferred = PreferredZone(Environment.CurrentManagedThreadId);
        for (int step = 0; step < 4; step++)
        {
            bool worthATry = step switch
            {
                0 => _threads.DrainAll() || true, // somebody may have freed meanwhile, and a first try has taken whole pageblocks only
                1 => Aerator.TryDeflate(order.Pages),
                2 => Unreserve(type) | MergeApart(),
                _ => !atomic && Aerator.WaitForReactor(),
            };
            if (worthATry && TryTakeFromZones(order, type, alloc, preferred, out pfn, out marks))
            {
                return true;
            }
        }

        pfn = default;
        marks = default;
        return false;
    }

    private bool Unreserve(MigrateType type)
    {
        bool any = false;
        foreach (Zone zone in _zones)
        {
            zone.Enter();
            while (zone.UnreserveHighAtomicLocked(type))
            {
                any = true;
            }

            zone.ExitQuietly();
        }

        return any;
    }

    /// <summary>Merges what stayed apart in mixed pageblocks; true where anything did. A lock hold for each few pageblocks.</summary>
    private bool MergeApart()
    {
        bool any = false;
        foreach (Zone zone in _zones)
        {
            uint end = (uint)(zone.ReachedPfn >> PageblockLimits.PageblockOrder);
            for (uint block = zone.Start.Pageblock; block < end;)
            {
                zone.Enter();
                for (uint stop = Math.Min(block + 16, end); block < stop; block++)
                {
                    any |= zone.MergeApartLocked(block);
                }

                zone.ExitQuietly();
            }
        }

        return any;
    }

    private ulong FreePagesInZones()
    {
        ulong pages = 0;
        foreach (Zone zone in _zones)
        {
            pages += zone.FreePages + zone.UnreachedPages;
        }

        return pages;
    }

    private static void CheckFlags(AllocationFlags flags)
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

    [DoesNotReturn]
    private void ThrowOutOfMemory(int order, MigrateType type, Errno errno)
    {
        string what = string.Create(CultureInfo.InvariantCulture, $"no block of order {order} ({4096L << order} bytes), type {type}: ");
        throw new OutOfMemoryException(errno != Errno.None ? what + "MADV_POPULATE_WRITE failed: " + errno : what + Inventory());
    }

    /// <summary>What is free, by order and type, and what the bounds are: the text of an out-of-memory message.</summary>
    private string Inventory()
    {
        ArenaStatistics now = GetStatistics();
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"cap {now.CapBytes}, allocated {now.AllocatedBytes}, ");
        text.Append(CultureInfo.InvariantCulture, $"reserve {Plan.Marks.Min << PageblockLimits.PageShift}, unreached {now.UnreachedBytes}, ");
        text.Append(CultureInfo.InvariantCulture, $"in threads' pages {now.ThreadPagesBytes}, in reactor {now.InReactorBytes}, ");
        text.Append(CultureInfo.InvariantCulture, $"isolated {now.IsolatedBytes}, inflated {now.InflatedBytes}, quarantined {now.QuarantinedBytes} bytes; free blocks:");
        foreach (FreeBlocks free in now.Free)
        {
            text.Append(CultureInfo.InvariantCulture, $" {free.Type} order {free.Order} x {free.Raw + free.Treated};");
        }

        text.Append(now.Free.Count == 0 ? " none" : "");
        foreach (Zone zone in _zones)
        {
            if (zone.GrowthError != Errno.None)
            {
                text.Append(CultureInfo.InvariantCulture, $"; zone {zone.Number} could not grow: {zone.GrowthError}");
            }
        }

        return text.ToString();
    }
}
