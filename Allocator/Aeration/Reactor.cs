using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Diagnostics.Tracing;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>How one round of the reactor went.</summary>
internal enum RoundResult
{
    /// <summary>There was nothing to treat.</summary>
    Empty,

    /// <summary>A batch came back treated.</summary>
    Treated,

    /// <summary>A batch came back raw, or is quarantined; the device is in trouble, and this pass ends.</summary>
    Lost,
}

/// <summary>The sequencing batch reactor (patch 8): fill with raw blocks, react (tell the device), settle (wait for it), decant (back
/// to the free lists as treated), idle. One batch at a time, worked by whoever holds the treatment lock. No zone lock is held while
/// the device has the batch.
/// <code>
/// a page is in the batch  &lt;=>  its head says InReactor (or Quarantined, once the device is lost)
/// Treated is set after the device used the batch, while the blocks are on no list
/// </code></summary>
internal sealed class Reactor
{
    private readonly PageArena _arena;
    private readonly ITreatmentDevice _device;
    private readonly HighWaterMarks _marks;
    private readonly Order _least;
    private readonly TimeSpan _hostTimeout;
    private readonly Batch _batch;
    private readonly PageblockBacking _backing;
    private readonly List<Batch.Entry> _quarantine = [];
    private List<Pfn> _again = [];
    private List<Pfn> _before = [];
    private int _zoneCursor;
    private long _stageBegan;
    private long _idleSince;

    /// <summary>An idle reactor of at most this capacity; the device may allow less at any time.</summary>
    public Reactor(PageArena arena, ITreatmentDevice device, HighWaterMarks marks, PageblockBacking backing, int capacity, TimeSpan hostTimeout)
    {
        _arena = arena;
        _device = device;
        _marks = marks;
        _backing = backing;
        _least = arena.Plan.MinimumOrder;
        _hostTimeout = hostTimeout;
        _batch = new Batch(capacity);
    }

    /// <summary>Where it is. Read by anybody, a hint.</summary>
    public Stage Stage { get; private set; }

    /// <summary>Batches that came back treated.</summary>
    public long Cycles { get; private set; }

    /// <summary>Pages treated.</summary>
    public long PagesTreated { get; private set; }

    /// <summary>Batches that did not come back treated.</summary>
    public long LostBatches { get; private set; }

    /// <summary>Whether blocks are held back from a lost device.</summary>
    public bool HasQuarantine => _quarantine.Count != 0;

    /// <summary>One round over the orders that are treated. Treatment lock held, no zone lock.</summary>
    /// <param name="restedOnly">Only what has rested.</param>
    /// <param name="only">One zone, or null for all in turn.</param>
    /// <param name="allowance">Pages that may be taken; lowered by what was.</param>
    public RoundResult Round(bool restedOnly, Zone? only, ref long allowance)
    {
        _batch.Allowance = allowance;
        RoundResult result = Round(() => Fill(restedOnly, only));
        allowance = _batch.Allowance;
        return result;
    }

    /// <summary>One round over the holes of a zone's mixed pageblocks.</summary>
    public RoundResult RoundMixed(bool restedOnly, Zone zone, ref MixedScan scan)
    {
        MixedScan at = scan;
        RoundResult result = Round(() =>
        {
            while (at.Left > 0 && !_batch.IsFull)
            {
                uint left = at.Left;
                zone.Enter();
                zone.FillMixedLocked(_batch, restedOnly, ref at);
                zone.Exit();
                if (at.Left == left)
                {
                    break;
                }
            }
        });
        scan = at;
        return result;
    }

    private RoundResult Round(Action fill)
    {
        if (HasQuarantine && !TryReleaseQuarantine(TimeSpan.Zero))
        {
            return RoundResult.Lost;
        }

        if ((_device.IsOutOfService && !_device.TryRestart()) || _device.Capacity <= 0)
        {
            return RoundResult.Lost;
        }

        _batch.Limit(_device.Capacity);
        _marks.Follow(_batch.Capacity);
        _marks.Hold();
        try
        {
            Begin(Stage.Fill);
            fill();
            if (_batch.Count == 0)
            {
                return RoundResult.Empty;
            }

            EndIdleness();
            End();
            RoundResult result = ReactAndDecant();
            _idleSince = IsTraced ? Stopwatch.GetTimestamp() : 0;
            return result;
        }
        finally
        {
            _marks.Release();
            Stage = Stage.Idle;
        }
    }

    private void Fill(bool restedOnly, Zone? only)
    {
        if (only is not null)
        {
            FillFrom(only, restedOnly);
            return;
        }

        // Each round begins with another zone, so that a busy one starves nobody.
        ReadOnlySpan<Zone> zones = _arena.Zones;
        _zoneCursor = (_zoneCursor + 1) % zones.Length;
        for (int i = 0; i < zones.Length && !_batch.IsFull; i++)
        {
            FillFrom(zones[(_zoneCursor + i) % zones.Length], restedOnly);
        }
    }

    private void FillFrom(Zone zone, bool restedOnly)
    {
        zone.Enter();
        zone.FillLocked(_batch, _least, restedOnly);
        zone.Exit();
    }

    private RoundResult ReactAndDecant()
    {
        foreach (Batch.Division part in _batch.Divisions)
        {
            _backing.Divide(part.Zone, part.Block);
        }

        Begin(Stage.React);
        if (!_device.React(_batch.Ranges))
        {
            return Lose("refused");
        }

        End();
        Begin(Stage.Settle);
        SettleResult result = _device.Settle(_hostTimeout);
        End();
        switch (result)
        {
            case SettleResult.Treated or SettleResult.TreatedZero:
                Cycles++;
                PagesTreated += _batch.Pages;
                Tidy();
                Decant(treated: true, zero: result == SettleResult.TreatedZero);
                return RoundResult.Treated;
            case SettleResult.Failed:
                return Lose("failed");
            default:
                return _device.TryRevoke(TimeSpan.Zero) ? Lose("timed out") : Quarantine();
        }
    }

    /// <summary>At the start of a pass: splits once more what the last passes have split. A split fails while somebody holds the page for a
    /// moment (a processor's list of pages that are on their way to the LRU, for one), and the kernel does not say so; of a page that is
    /// small already it costs half a microsecond.</summary>
    public void SplitAgain()
    {
        foreach (Pfn resident in _before)
        {
            _backing.Split(resident);
        }

        foreach (Pfn resident in _again)
        {
            _backing.Split(resident);
        }

        _before.Clear();
        (_before, _again) = (_again, _before);
    }

    /// <summary>After the device has dropped a batch and before anybody gets it: the rests of huge pages are split, whole pageblocks may be
    /// huge again, and struct pages that nobody needs go too.</summary>
    private unsafe void Tidy()
    {
        foreach (Batch.Division part in _batch.Divisions)
        {
            if (part.Resident is Pfn resident)
            {
                _backing.Split(resident);
                _again.Add(resident);
            }
        }

        foreach (Batch.Entry entry in _batch.Entries)
        {
            if (entry.Order >= Order.Pageblock)
            {
                _backing.Restore(entry.Zone, entry.Pfn, entry.Order);
            }
            else
            {
                _backing.DropStructPages(entry.Pfn, entry.Order.Pages);
            }
        }
    }

    /// <summary>Back to the free lists, zone by zone, each in one lock hold.</summary>
    private void Decant(bool treated, bool zero)
    {
        Begin(Stage.Decant);
        Zone? zone = null;
        foreach (Batch.Entry entry in _batch.Entries)
        {
            if (entry.Zone != zone)
            {
                zone?.Exit();
                zone = entry.Zone;
                zone.Enter();
            }

            // What read zero before does so no longer: whoever is not known to have dropped it may have written.
            BlockMarks marks = entry.Marks with { Treated = treated, Zero = treated && zero };
            zone!.DecantLocked(entry.Pfn, entry.Order, marks);
        }

        zone?.Exit();
        End();
        _batch.Clear();
    }

    private RoundResult Lose(string reason)
    {
        LostBatches++;
        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Treatment))
        {
            ArenaEvents.Log.BatchLost(reason);
        }

        Decant(treated: false, zero: false);
        return RoundResult.Lost;
    }

    /// <summary>The device may still touch the batch: it is counted and handed to nobody until the device has let go (house rule 5).</summary>
    private RoundResult Quarantine()
    {
        LostBatches++;
        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Treatment))
        {
            ArenaEvents.Log.BatchLost("quarantined");
        }

        foreach (Batch.Entry entry in _batch.Entries)
        {
            entry.Zone.Enter();
            entry.Zone.QuarantineLocked(entry.Pfn, entry.Order);
            entry.Zone.Exit();
            _quarantine.Add(entry);
        }

        _batch.Clear();
        return RoundResult.Lost;
    }

    /// <summary>Asks the device again to let go; what it held comes back as raw. Treatment lock held.</summary>
    public bool TryReleaseQuarantine(TimeSpan timeout)
    {
        if (!HasQuarantine)
        {
            return true;
        }

        if (!_device.TryRevoke(timeout))
        {
            return false;
        }

        foreach (Batch.Entry entry in _quarantine)
        {
            entry.Zone.Enter();
            entry.Zone.ReleaseQuarantinedLocked(entry.Pfn, entry.Order, entry.Marks);
            entry.Zone.Exit();
        }

        _quarantine.Clear();
        return true;
    }

    private void Begin(Stage stage)
    {
        Stage = stage;
        _stageBegan = IsTraced ? Stopwatch.GetTimestamp() : 0;
    }

    private void End()
    {
        if (_stageBegan != 0 && _batch.Count != 0)
        {
            Batch.Entry first = _batch.Entries[0];
            ArenaEvents.Log.Stage(Stage, first.Zone.Number, first.Order.Value, _batch.Pages, _batch.Count, Stopwatch.GetElapsedTime(_stageBegan).TotalMicroseconds);
        }
    }

    /// <summary>Idleness is told when it is over, by the round that found something; rounds that find nothing are part of it.</summary>
    private void EndIdleness()
    {
        if (_stageBegan != 0 && _idleSince != 0)
        {
            Batch.Entry first = _batch.Entries[0];
            TimeSpan idle = Stopwatch.GetElapsedTime(_idleSince, _stageBegan);
            ArenaEvents.Log.Stage(Stage.Idle, first.Zone.Number, first.Order.Value, 0, 0, idle.TotalMicroseconds);
        }
    }

    private static bool IsTraced => ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Treatment);
}
