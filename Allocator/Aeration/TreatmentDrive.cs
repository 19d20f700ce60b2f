using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What a pass treats, in which order, and where it stops. Whole pageblocks come first: they cost least to drop and least to touch
/// again. Then the holes of mixed pageblocks. What the working set says will be wanted soon stays resident.
/// Used by the holder of the treatment lock.</summary>
internal sealed class TreatmentDrive
{
    private readonly PageArena _arena;
    private readonly Reactor _reactor;
    private readonly HighWaterMarks _marks;
    private readonly BatchCare _care;
    private readonly WorkingSet _workingSet = new();
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
    public ulong Stock => KeepsStock ? _workingSet.Stock : 0;

    /// <summary>Whether anything is kept. Not while memory is very short; what would be is still reckoned.</summary>
    public bool KeepsStock { get; set; } = true;

    private bool ByPolicy => _arena.Plan.ByPolicy;

    /// <summary>Treatment was not stopped meanwhile: who stops it waits for what is in flight, not for all that is left to treat.</summary>
    private bool GoesOn => _arena.Aerator.IsRunning;

    /// <summary>An epoch has ended: what came back in it?</summary>
    public void OnEpoch()
    {
        ulong reused = 0;
        foreach (Zone zone in _arena.Zones)
        {
            reused += zone.TakeReused();
        }

        _workingSet.Advance(reused, _arena.Budget.TakenPages);
    }

    /// <summary>Treats what has rested, but for the stock.</summary>
    public void Rested()
    {
        _care.SplitAgain();
        long allowance = long.MaxValue;
        if (ByPolicy && Stock != 0)
        {
            allowance = -(long)Stock;
            foreach (Zone zone in _arena.Zones)
            {
                allowance += (long)zone.RawPages;
            }
        }

        Run(restedOnly: true, allowance);
    }

    /// <summary>Treats everything raw.</summary>
    public void Everything() => Run(restedOnly: false, long.MaxValue);

    /// <summary>Treats a zone until it is under its high-water mark. Bounded: each round takes at least one block, and there are no more
    /// rounds than the zone had batches.</summary>
    public void UntilBelowMark(Zone zone, int capacity)
    {
        _listed.RestedOnly = false;
        _listed.Only = zone;
        _listed.Allowance = long.MaxValue;
        ulong rounds = (zone.RawBlocks(_arena.Plan.MinimumOrder) / (ulong)Math.Max(1, capacity)) + 1;
        for (; rounds != 0 && GoesOn && zone.IsOverHighWaterMark && _reactor.Round(_listed) == RoundResult.Treated; rounds--)
        {
            SettleMark(zone);
        }

        _reactor.Finish();
        SettleMark(zone);
    }

    /// <summary>Rounds until nothing is left to treat. Bounded by what was raw when it began: blocks that come back and merge may be
    /// seen twice, what is freed meanwhile waits for the next pass.</summary>
    private void Run(bool restedOnly, long allowance)
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
        while (rounds != 0 && GoesOn && _reactor.Round(_listed) == RoundResult.Treated)
        {
            rounds--;
        }

        _mixed.Allowance = _listed.Allowance;
        bool inOrder = _reactor.Finish() != RoundResult.Lost;
        foreach (Zone zone in _arena.Zones)
        {
            SettleMark(zone);
            if (ByPolicy && inOrder && GoesOn)
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
        while (result == RoundResult.Treated && GoesOn);

        return _reactor.Finish() != RoundResult.Lost && result != RoundResult.Lost;
    }

    private void SettleMark(Zone zone)
    {
        zone.Enter();
        _marks.SettleZone(zone);
        zone.Exit();
    }
}
