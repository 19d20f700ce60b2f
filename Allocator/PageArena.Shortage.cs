using System;
using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Tracing;
using System.Globalization;
using System.Text;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What happens when memory is short: what is tried, who waits, what comes from outside, and what is said in the end.</summary>
public sealed partial class PageArena
{
    /// <summary>The blocks that are not in the arena.</summary>
    internal OutsideBlocks Outside => _seldom.Outside;

    /// <summary>Whether a block is one of the arena's own, with a struct page. Not so under <see cref="CapPolicy.FallBack"/>.</summary>
    internal unsafe bool Contains(void* block) => unchecked((nuint)block - (nuint)_base) < SizeBytes;

    /// <summary>The whole of an allocation that the thread's pages could not serve. Pinned.</summary>
    private unsafe bool Serve(in Demand demand, out void* block, out string? failure)
    {
        nuint bytes = demand.Pages > nuint.MaxValue >> PageblockLimits.PageShift ? nuint.MaxValue : (nuint)demand.Pages << PageblockLimits.PageShift;
        if (TryTake(demand, out Pfn pfn, out bool zero, out failure))
        {
            block = _base + pfn.ByteOffset;
            return FurnishNew(ref block, bytes, demand.Flags, zero, out failure);
        }

        block = null;
        if (_seldom.Policy == CapPolicy.FallBack)
        {
            if (_seldom.Outside.TryAllocate(bytes, demand.Alignment, out nuint outside, out Errno errno))
            {
                block = (void*)outside;
                return FurnishNew(ref block, bytes, demand.Flags, zero: true, out failure);
            }

            failure = $"mmap outside of the arena failed: {errno}; ";
        }

        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Allocation))
        {
            ArenaEvents.Log.AllocationFailed(Order.ForPages(demand.Pages).Value, demand.Type, (long)(FreePagesInZones() << PageblockLimits.PageShift));
        }

        return false;
    }

    private unsafe bool FurnishNew(ref void* block, nuint bytes, AllocationFlags flags, bool zero, out string? failure)
    {
        bool done = Furnish(ref block, bytes, flags, zero, out failure);
        if (done)
        {
            GivenOut(block);
        }

        return done;
    }

    private bool TryTake(in Demand demand, out Pfn pfn, out bool zero, out string? failure)
    {
        failure = null;
        bool mayWait = _seldom.Policy == CapPolicy.Wait && (demand.Flags & AllocationFlags.Atomic) == 0;
        return TryTakeNow(demand, out pfn, out zero) || (mayWait && TryTakeInTurn(demand, out pfn, out zero, out failure));
    }

    private bool TryTakeNow(in Demand demand, out Pfn pfn, out bool zero)
    {
        if (demand.IsRange)
        {
            return TryTakeRange(demand.Pages, demand.Least, demand.Flags, out pfn, out zero);
        }

        Order order = Order.ForPages(demand.Pages);
        bool taken = TryTakeBlock(order, demand.Type, demand.Flags, out pfn, out BlockMarks marks)
            || TryTakeAfterReclaim(order, demand.Type, demand.Flags, out pfn, out marks);
        zero = marks.Zero;
        return taken;
    }

    /// <summary>Waits at the cap. Whoever works the reactor does not, because others may wait for the reactor; nor does a demand that is
    /// more than the cap allows of.</summary>
    private bool TryTakeInTurn(in Demand demand, out Pfn pfn, out bool zero, out string? failure)
    {
        pfn = default;
        zero = false;
        failure = null;
        if (Aerator.IsHeldByCurrentThread || demand.LeastPages + Plan.Marks.Min > Budget.CapPages)
        {
            return false;
        }

        CapWaiter waiter = Budget.Enlist(demand.LeastPages, default, _seldom.Clock, _seldom.Timeout);
        try
        {
            _threads.Shut();
            try
            {
                while (waiter.WaitForTurn())
                {
                    if (TryTakeNow(demand, out pfn, out zero))
                    {
                        return true;
                    }
                }
            }
            finally
            {
                _threads.Reopen();
            }
        }
        finally
        {
            Budget.Leave(waiter);
        }

        ObjectDisposedException.ThrowIf(IsDisposed, this);
        failure = string.Create(CultureInfo.InvariantCulture, $"waited {waiter.Waited.TotalMilliseconds:0} ms at the cap; ");
        return false;
    }

    /// <summary>Before failing (in this order, each followed by another try): what debug mode holds back and what the threads keep, what the
    /// balloon holds, the reserve for atomic requests, what the reactor holds. An atomic request never waits for the reactor.</summary>
    private bool TryTakeAfterReclaim(Order order, MigrateType type, AllocationFlags flags, out Pfn pfn, out BlockMarks marks)
    {
        bool atomic = (flags & AllocationFlags.Atomic) != 0;
        AllocFlags alloc = atomic ? AllocFlags.Harder | AllocFlags.High : default;
        int preferred = PreferredZone(Environment.CurrentManagedThreadId);
        for (int step = 0; step < 4; step++)
        {
            bool worthATry = step switch
            {
                0 => DrainQuarantine(all: true) | _threads.DrainAll() || true, // somebody may have freed meanwhile, and a first try has taken whole pageblocks only
                1 => Aerator.TryDeflate(),
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

    [DoesNotReturn]
    private void ThrowOutOfMemory(int order, MigrateType type, string? failure)
    {
        string what = string.Create(CultureInfo.InvariantCulture, $"no block of order {order} ({4096L << order} bytes), type {type}: ");
        throw new OutOfMemoryException(what + failure + Inventory());
    }

    /// <summary>What is free, by order and type, and what the bounds are: the text of an out-of-memory message.</summary>
    private string Inventory()
    {
        ArenaStatistics now = GetStatistics();
        StringBuilder text = new();
        text.Append(CultureInfo.InvariantCulture, $"cap {now.CapBytes}, allocated {now.AllocatedBytes}, taken {Budget.TakenPages << PageblockLimits.PageShift}, ");
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

    /// <summary>What only the slow path asks for: what becomes of an allocation that finds nothing, and of what is freed.</summary>
    private sealed record Seldom(CapPolicy Policy, TimeSpan Timeout, TimeProvider Clock, OutsideBlocks Outside, bool ZeroesFreed, ArenaDebug? Debug);

    /// <summary>What an allocation asks for.</summary>
    /// <param name="Pages">2^order for a block, any number for a range.</param>
    /// <param name="Type">A range's is Unmovable.</param>
    /// <param name="Flags">How to go about it.</param>
    /// <param name="IsRange">A range, else a block.</param>
    /// <param name="Least">A range is aligned as a block of this order at least.</param>
    private readonly record struct Demand(ulong Pages, MigrateType Type, AllocationFlags Flags, bool IsRange, Order Least = default)
    {
        /// <summary>Pages that must be left under the cap at the moment of taking.</summary>
        public ulong LeastPages => Block <= Order.Max
            ? Block.Pages
            : (Pages + PageblockLimits.PagesPerPageblock - 1) & ~((ulong)PageblockLimits.PagesPerPageblock - 1);

        /// <summary>As <see cref="AllocateRange"/> promises it.</summary>
        public nuint Alignment => Block <= Order.Max ? Block.Bytes : Order.Pageblock.Bytes;

        private Order Block => Order.ForPages(Math.Max(Pages, Least.Pages));
    }
}
