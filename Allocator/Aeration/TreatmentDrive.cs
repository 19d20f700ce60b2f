using System;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What a pass treats, in which order, and where it stops. Whole pageblocks come first: they cost least to drop and least to touch
/// again. Then the holes of mixed pageblocks. What the working set says will be wanted soon stays resident, or is made so again.
/// Used by the holder of the treatment lock.</summary>
internal sealed class TreatmentDrive
{
    private readonly PageArena _arena;
    private readonly Reactor _reactor;
    private readonly HighWaterMarks _marks;
    private readonly BatchCare _care;
    private readonly WorkingSet _whole = new();
    private readonly WorkingSet _holes = new();
    private readonly ListedBlocks _listed;
    private readonly MixedPageblocks _mixed = new();

    /// <summary>The drive of a reactor.</summary>
    public TreatmentDrive(PageArena arena, Reactor reactor, HighWaterMarks marks, BatchCare care)
    {
        _arena = arena;
        _reactor = reactor;
        _marks = marks;
        _care = care;
        _listed = new ListedBlocks(arena);
    }

    /// <summary>Pages that are kept resident and free.</summary>
    public ulong Stock => _whole.Stock + _holes.Stock;

    private bool ByPolicy => _arena.Plan.ByPolicy;

    /// <summary>An epoch has ended: what came back in it that was treated too early?</summary>
    public void OnEpoch()
    {
        (ulong whole, ulong holes) = (0, 0);
        foreach (Zone zone in _arena.Zones)
        {
            (ulong wholeHere, ulong holesHere) = zone.TakeReused();
            whole += wholeHere;
            holes += holesHere;
        }

        _whole.Advance(whole, _arena.Budget.TakenPages);
        _holes.Advance(holes, _arena.Budget.TakenPages);
    }

    /// <summary>Treats what has rested, but for the stock; then brings the stock up to what it should be.</summary>
    public void Rested()
    {
        _care.SplitAgain();
        if (ByPolicy)
        {
            Run(restedOnly: true, (long)RawWholePages() - (long)_whole.Stock, (long)RawHolePages() - (long)_holes.Stock);
        }
        else
        {
            Run(restedOnly: true, long.MaxValue, 0);
        }

        if (ByPolicy)
        {
            PopulateAhead();
        }
    }

    /// <summary>Treats everything raw.</summary>
    public void Everything() => Run(restedOnly: false, long.MaxValue, long.MaxValue);

    /// <summary>Treats a zone until it is under its high-water mark. Bounded: each round takes at least one block, and there are no more
    /// rounds than the zone had batches.</summary>
    public void UntilBelowMark(Zone zone, int capacity)
    {
        _listed.RestedOnly = false;
        _listed.Only = zone;
        _listed.Allowance = long.MaxValue;
        ulong rounds = (zone.RawBlocks(_arena.Plan.MinimumOrder) / (ulong)Math.Max(1, capacity)) + 1;
        for (; rounds != 0 && zone.IsOverHighWaterMark && _reactor.Round(_listed) == RoundResult.Treated; rounds--)
        {
            SettleMark(zone);
        }

        _reactor.Finish();
        SettleMark(zone);
    }

    /// <summary>Rounds until nothing is left to treat. Bounded by what was raw when it began: blocks that come back and merge may be
    /// seen twice, what is freed meanwhile waits for the next pass.</summary>
    private void Run(bool restedOnly, long allowance, long allowanceOfHoles)
    {
        ulong blocks = 0;
        foreach (Zone zone in _arena.Zones)
        {
            blocks += zone.RawBlocks(_arena.Plan.MinimumOrder);
        }

        _listed.RestedOnly = restedOnly;
        _listed.Only = null;
        _listed.Allowance = allowance;
        ulong rounds = (2 * blocks) + 1;
        while (rounds != 0 && _reactor.Round(_listed) == RoundResult.Treated)
        {
            rounds--;
        }

        _mixed.Allowance = allowanceOfHoles;
        bool inOrder = _reactor.Finish() != RoundResult.Lost;
        foreach (Zone zone in _arena.Zones)
        {
            SettleMark(zone);
            if (ByPolicy && inOrder)
            {
                inOrder = RunMixed(zone, restedOnly);
            }
        }
    }

    /// <summary>One scan over a zone's pageblocks, which bounds it. False: the device is in trouble.</summary>
    private bool RunMixed(Zone zone, bool restedOnly)
    {
        _mixed.RestedOnly = restedOnly;
        _mixed.Begin(zone);
        RoundResult result;
        do
        {
            result = _reactor.Round(_mixed);
        }
        while (result == RoundResult.Treated);

        return _reactor.Finish() != RoundResult.Lost && result != RoundResult.Lost;
    }

    /// <summary>Makes treated pageblocks resident again while the stock is larger than what is resident, so that the threads that will take
    /// them find them so: the faults are this thread's.</summary>
    private void PopulateAhead()
    {
        ulong resident = RawWholePages();
        foreach (Zone zone in _arena.Zones)
        {
            while (resident < _whole.Stock && TryPopulateOne(zone, out uint pages))
            {
                resident += pages;
            }
        }
    }

    private bool TryPopulateOne(Zone zone, out uint pages)
    {
        zone.Enter();
        bool taken = zone.TryTakeForPopulation(out Pfn pfn, out Order order, out BlockMarks marks);
        zone.Exit();
        pages = order.Pages;
        if (!taken)
        {
            return false;
        }

        bool done = _arena.System.Advise(_arena.Memory.Base + (nint)pfn.ByteOffset, order.Bytes, MemoryAdvice.PopulateWrite) == Errno.None;
        zone.Enter();
        zone.ReturnPopulatedLocked(pfn, order, done ? marks with { Treated = false, FreedAt = _arena.Epoch } : marks);
        zone.Exit();
        return done;
    }

    private ulong RawWholePages()
    {
        ulong pages = 0;
        foreach (Zone zone in _arena.Zones)
        {
            pages += zone.RawWholePages;
        }

        return pages;
    }

    private ulong RawHolePages()
    {
        ulong pages = 0;
        foreach (Zone zone in _arena.Zones)
        {
            pages += zone.RawHolePages;
        }

        return pages;
    }

    private void SettleMark(Zone zone)
    {
        zone.Enter();
        _marks.SettleZone(zone);
        zone.Exit();
    }
}
