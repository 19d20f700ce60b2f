using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Where the blocks of a batch come from.</summary>
internal interface IBatchSource
{
    /// <summary>Appends raw blocks until the batch is full or nothing is left. Treatment lock held, no zone lock; bounded work under each hold
    /// of one.</summary>
    void Fill(Batch batch);
}

/// <summary>Blocks of the least order treated and above, from the free lists of one zone or of all in turn.</summary>
internal sealed class ListedBlocks(PageArena arena) : IBatchSource
{
    private int _cursor;

    /// <summary>Only what has rested.</summary>
    public bool RestedOnly { get; set; }

    /// <summary>One zone, or null for all in turn.</summary>
    public Zone? Only { get; set; }

    /// <summary>Pages that may be taken; lowered by what was.</summary>
    public long Allowance { get; set; }

    /// <inheritdoc/>
    public void Fill(Batch batch)
    {
        batch.Allowance = Allowance;
        if (Only is not null)
        {
            FillFrom(batch, Only);
        }
        else
        {
            // Each batch begins with another zone, so that a busy one starves nobody.
            ReadOnlySpan<Zone> zones = arena.Zones;
            _cursor = (_cursor + 1) % zones.Length;
            for (int i = 0; i < zones.Length && !batch.IsFull; i++)
            {
                FillFrom(batch, zones[(_cursor + i) % zones.Length]);
            }
        }

        Allowance = batch.Allowance;
    }

    private void FillFrom(Batch batch, Zone zone)
    {
        zone.Enter();
        zone.FillLocked(batch, arena.Plan.MinimumOrder, RestedOnly);
        zone.Exit();
    }
}

/// <summary>The holes of the mixed pageblocks of one zone: one scan over the pageblocks that it has reached.</summary>
internal sealed class MixedPageblocks : IBatchSource
{
    private Zone? _zone;
    private MixedScan _scan;

    /// <summary>Only what has rested.</summary>
    public bool RestedOnly { get; set; }

    /// <summary>Pages that may be taken; lowered by what was.</summary>
    public long Allowance { get; set; }

    /// <summary>Begins a scan over a zone.</summary>
    public void Begin(Zone zone)
    {
        _zone = zone;
        _scan = new() { Next = zone.Start.Pageblock, Left = (uint)((zone.ReachedPfn - zone.Start.Value) >> PageblockLimits.PageblockOrder) };
    }

    /// <inheritdoc/>
    public void Fill(Batch batch)
    {
        batch.Allowance = Allowance;
        uint before = uint.MaxValue;
        while (_scan.Left > 0 && _scan.Left != before && !batch.IsFull)
        {
            before = _scan.Left;
            _zone!.Enter();
            _zone.FillMixedLocked(batch, RestedOnly, ref _scan);
            _zone.Exit();
        }

        Allowance = batch.Allowance;
    }
}
