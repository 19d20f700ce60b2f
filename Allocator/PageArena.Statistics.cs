using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

public sealed partial class PageArena
{
    /// <summary>What the arena's pages are doing, in bytes. Stops nobody; each figure is true of an instant.</summary>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public ArenaStatistics GetStatistics()
    {
        Pin();
        try
        {
            return Snapshot();
        }
        finally
        {
            Unpin();
        }
    }

    /// <summary>As <see cref="GetStatistics"/>; null once the arena was disposed.</summary>
    internal ArenaStatistics? TryGetStatistics()
    {
        Interlocked.Increment(ref _pins);
        try
        {
            return IsDisposed ? null : Snapshot();
        }
        finally
        {
            Unpin();
        }
    }

    /// <summary>Recomputes every invariant from the struct pages and lists: who owns which page, counters against lists, membranes, merged
    /// buddies. Freezes the threads' pages and takes the zone locks meanwhile, so it is for tests and for doubt, not for a busy service:
    /// it looks at each struct page that was ever reached.</summary>
    /// <exception cref="InvalidOperationException">An equation does not hold; the message has the equation and its values. Or debug mode
    /// (<see cref="PageArenaOptions.DebugChecks"/>), which looks at what it holds back as well, has found something.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public void Verify()
    {
        Pin();
        try
        {
            _threads.WhileFrozen(VerifyFrozen);
            CheckQuarantine();
            Debug?.Reports.ThrowIfAny();
        }
        finally
        {
            Unpin();
        }
    }

    private void VerifyFrozen(IReadOnlyList<ThreadPages> threads)
    {
        // In ascending order, and nobody else takes two.
        foreach (Zone zone in _zones)
        {
            zone.Enter();
        }

        try
        {
            ArenaVerifier.Verify(this, threads);
        }
        finally
        {
            foreach (Zone zone in _zones)
            {
                zone.ExitQuietly();
            }
        }
    }

    private ArenaStatistics Snapshot()
    {
        ulong unreached = 0, isolatedDropped = 0, raw = 0, treated = 0, reactor = 0, isolated = 0, inflated = 0, quarantined = 0;
        long metadata = _memory.ResidentFixedMetadataBytes;
        Dictionary<(int Order, MigrateType Type), (long Raw, long Treated)> free = [];
        foreach (Zone zone in _zones)
        {
            zone.Enter();
            unreached += zone.UnreachedPages;
            reactor += zone.InReactorPages;
            isolated += zone.IsolatedPages;
            inflated += zone.InflatedPages;
            quarantined += zone.QuarantinedPages;
            (ulong isolatedRaw, ulong isolatedTreated) = CountLists(zone, free);
            for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
            {
                raw += zone.Area(new Order(order)).Raw << order;
                treated += zone.Area(new Order(order)).Treated << order;
            }

            zone.ExitQuietly();
            metadata += _memory.ResidentStructPageBytes(zone.Start, zone.ReachedPfn);
            raw -= isolatedRaw;
            treated -= isolatedTreated;
            isolatedDropped += isolatedTreated;
        }

        (long outsideBytes, long outsideBlocks) = _seldom.Outside.Count();
        long cached = _threads.Pages;
        ulong heldBack = HeldBackPages;
        long taken = (long)Budget.TakenPages - (long)inflated - cached - (long)heldBack;
        List<FreeBlocks> blocks = [];
        foreach (((int order, MigrateType type), (long rawBlocks, long treatedBlocks)) in free)
        {
            blocks.Add(new FreeBlocks(order, type, rawBlocks, treatedBlocks));
        }

        metadata += _threads.MetadataBytes;
        ulong held = raw + reactor + quarantined + heldBack + isolated - isolatedDropped;
        blocks.Sort(static (a, b) => (b.Order, a.Type).CompareTo((a.Order, b.Type)));
        return new ArenaStatistics
        {
            ReservedBytes = (long)SizeBytes,
            CapBytes = Bytes(Budget.CapPages),
            UnreachedBytes = Bytes(unreached),
            AllocatedBytes = Math.Max(0, taken) << PageblockLimits.PageShift,
            ThreadPagesBytes = cached << PageblockLimits.PageShift,
            RawBytes = Bytes(raw),
            TreatedBytes = Bytes(treated),
            InReactorBytes = Bytes(reactor),
            IsolatedBytes = Bytes(isolated),
            InflatedBytes = Bytes(inflated),
            QuarantinedBytes = Bytes(quarantined),
            HeldBackBytes = Bytes(heldBack),
            MetadataBytes = metadata,
            ResidentBytes = Bytes(held) + ((Math.Max(0, taken) + cached) << PageblockLimits.PageShift) + metadata,
            FallBackBytes = outsideBytes,
            FallBackBlocks = outsideBlocks,
            Reports = Aerator.Reports,
            Cycles = Aerator.Cycles,
            PagesTreated = Aerator.PagesTreated,
            LostBatches = Aerator.LostBatches,
            Free = blocks,
        };
    }

    /// <summary>Adds a zone's free blocks, lock held. Returns the raw and treated pages that are isolated.</summary>
    private static (ulong Raw, ulong Treated) CountLists(Zone zone, Dictionary<(int Order, MigrateType Type), (long Raw, long Treated)> free)
    {
        ulong isolatedRaw = 0;
        ulong isolatedTreated = 0;
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            FreeArea area = zone.Area(new Order(order));
            isolatedRaw += (ulong)area.RawOf(MigrateType.Isolate) << order;
            isolatedTreated += (ulong)area.TreatedOf(MigrateType.Isolate) << order;
            for (int type = 0; type < MigrateTypes.Count; type++)
            {
                (long raw, long treated) = (area.RawOf((MigrateType)type), area.TreatedOf((MigrateType)type));
                if (raw + treated != 0)
                {
                    free.TryGetValue((order, (MigrateType)type), out (long Raw, long Treated) old);
                    free[(order, (MigrateType)type)] = (old.Raw + raw, old.Treated + treated);
                }
            }
        }

        return (isolatedRaw, isolatedTreated);
    }

    private static long Bytes(ulong pages) => (long)(pages << PageblockLimits.PageShift);
}
