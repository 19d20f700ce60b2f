using System;
using System.Diagnostics;
using System.Diagnostics.Tracing;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>How one round of the reactor went.</summary>
internal enum RoundResult
{
    /// <summary>There was nothing to treat, and nothing is in flight.</summary>
    Empty,

    /// <summary>A batch came back treated. Others may be in flight: the next round, or <see cref="Reactor.Finish"/>, takes them back.</summary>
    Treated,

    /// <summary>A batch came back raw, or is quarantined; the device is in trouble, and this pass ends. Nothing is in flight.</summary>
    Lost,
}

/// <summary>The sequencing batch reactor (patch 8): fill with raw blocks, react (tell the device), settle (wait for it), decant (back
/// to the free lists as treated), idle. As many batches are in flight as the device takes, so that it has the next one when it is done
/// with one; they are decanted as they come back. Worked by whoever holds the treatment lock. No zone lock is held while the device
/// has a batch.
/// <code>
/// a page is in a batch  &lt;=>  its head says InReactor (or Quarantined, once the device is lost)
/// a batch is empty, in flight or quarantined; each comes back, or does not, by itself
/// Treated is set after the device used the batch, while the blocks are on no list
/// </code></summary>
internal sealed class Reactor
{
    private readonly ITreatmentDevice _device;
    private readonly HighWaterMarks _marks;
    private readonly BatchCare _care;
    private readonly TimeSpan _hostTimeout;
    private readonly int _capacity;
    private Batch[] _batches = [];
    private readonly long[] _lost = new long[Enum.GetValues<BatchLoss>().Length];
    private int _inFlight;
    private int _quarantined;
    private long _stageBegan;
    private long _idleSince;

    /// <summary>An idle reactor of at most this capacity; the device may allow less at any time.</summary>
    public Reactor(ITreatmentDevice device, HighWaterMarks marks, BatchCare care, int capacity, TimeSpan hostTimeout)
    {
        _device = device;
        _marks = marks;
        _care = care;
        _hostTimeout = hostTimeout;
        _capacity = capacity;
    }

    /// <summary>Where it is: what its worker does, and Settle while batches are in flight. Read by anybody, a hint.</summary>
    public Stage Stage { get; private set; }

    /// <summary>Batches that came back treated.</summary>
    public long Cycles { get; private set; }

    /// <summary>Pages treated.</summary>
    public long PagesTreated { get; private set; }

    /// <summary>Batches that did not come back treated.</summary>
    public long LostBatches { get; private set; }

    /// <summary>Batches published.</summary>
    public long Reports { get; private set; }

    /// <summary>Whether blocks are held back from a lost device.</summary>
    public bool HasQuarantine => _quarantined != 0;

    /// <summary>Adds the batches lost, by reason. Any thread.</summary>
    public HostFaults AddLosses(HostFaults faults) => faults with
    {
        Refused = _lost[(int)BatchLoss.Refused],
        Failed = _lost[(int)BatchLoss.Failed],
        TimedOut = _lost[(int)BatchLoss.TimedOut],
        Quarantined = _lost[(int)BatchLoss.Quarantined],
    };

    /// <summary>One round: fills and publishes what the device takes, then waits for one batch and decants it. Treatment lock held, no
    /// zone lock. Rounds are called until one is not <see cref="RoundResult.Treated"/>; whoever stops earlier calls <see cref="Finish"/>.</summary>
    /// <param name="source">Where the blocks come from.</param>
    public RoundResult Round(IBatchSource source)
    {
        if (_inFlight == 0 && !MayBegin())
        {
            return RoundResult.Lost;
        }

        Hold();
        try
        {
            if (!FillAndReact(source))
            {
                SettleAll();
                return RoundResult.Lost;
            }

            return _inFlight == 0 ? RoundResult.Empty : SettleOne();
        }
        finally
        {
            Release();
        }
    }

    /// <summary>Takes back what is in flight, without filling again. Treatment lock held.</summary>
    public RoundResult Finish()
    {
        Hold();
        try
        {
            return SettleAll();
        }
        finally
        {
            Release();
        }
    }

    /// <summary>Asks the device again to let go; what it held comes back as raw. Treatment lock held.</summary>
    public bool TryReleaseQuarantine(TimeSpan timeout)
    {
        foreach (Batch batch in _batches)
        {
            if (batch.IsQuarantined && _device.TryRevoke(batch.Slot, timeout))
            {
                foreach (Batch.Entry entry in batch.Entries)
                {
                    entry.Zone.Enter();
                    entry.Zone.ReleaseQuarantinedLocked(entry.Pfn, entry.Order, entry.Marks);
                    entry.Zone.Exit();
                }

                batch.Clear();
                _quarantined--;
            }
        }

        return !HasQuarantine;
    }

    /// <summary>Whether the device can take a batch. Nothing is in flight; what is quarantined stays in its slots until it is let go, and
    /// treatment goes on beside it where the device has others.</summary>
    private bool MayBegin()
    {
        if (HasQuarantine && !TryReleaseQuarantine(TimeSpan.Zero) && !_device.GoesOnBesideQuarantine)
        {
            return false;
        }

        if ((_device.IsOutOfService && !_device.TryRestart()) || _device.Capacity <= 0)
        {
            return false;
        }

        if (!HasQuarantine && _batches.Length != _device.InFlightMax)
        {
            _batches = new Batch[_device.InFlightMax];
            for (int slot = 0; slot < _batches.Length; slot++)
            {
                _batches[slot] = new Batch(_capacity, slot);
            }
        }

        return NextEmpty() is not null;
    }

    /// <summary>A batch is being built or is in flight: one of the references.</summary>
    private void Hold()
    {
        if (_inFlight == 0)
        {
            _marks.Hold();
        }
    }

    private void Release()
    {
        if (_inFlight == 0)
        {
            _marks.Release();
        }

        Stage = _inFlight == 0 ? Stage.Idle : Stage.Settle;
        ZoneWaits.Tell();
    }

    /// <summary>Batches out until nothing more is to be had or the device has enough. False: one could not be published, and is lost.</summary>
    private bool FillAndReact(IBatchSource source)
    {
        while (_device.Capacity > 0 && NextEmpty() is Batch batch)
        {
            batch.Limit(_device.Capacity);
            _marks.Follow(batch.Capacity);
            Begin(Stage.Fill);
            source.Fill(batch);
            if (batch.Count == 0)
            {
                break;
            }

            EndIdleness(batch);
            End(batch);
            if (!React(batch))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>An empty batch in a slot that the device takes; null: it has enough.</summary>
    private Batch? NextEmpty()
    {
        foreach (Batch batch in _batches)
        {
            if (batch.Count == 0 && _device.Takes(batch.Slot))
            {
                return batch;
            }
        }

        return null;
    }

    /// <summary>Tells the device. False: it would not hear; the batch is raw again.</summary>
    private bool React(Batch batch)
    {
        _care.BeforeDrop(batch);
        Begin(Stage.React);
        if (!_device.React(batch.Ranges, batch.Slot))
        {
            Lose(batch, BatchLoss.Refused);
            return false;
        }

        _inFlight++;
        Reports++;
        End(batch);
        return true;
    }

    /// <summary>Everything that is in flight. Treated: nothing of it was lost.</summary>
    private RoundResult SettleAll()
    {
        RoundResult result = RoundResult.Treated;
        while (_inFlight != 0)
        {
            result = SettleOne() == RoundResult.Lost ? RoundResult.Lost : result;
        }

        return result;
    }

    /// <summary>Waits for one batch and gives its blocks back. After Lost nothing is in flight.</summary>
    private RoundResult SettleOne()
    {
        Begin(Stage.Settle);
        SettleResult result = _device.Settle(_hostTimeout, out int slot);
        if (result == SettleResult.TimedOut)
        {
            GiveUp();
            return RoundResult.Lost;
        }

        Batch batch = _batches[slot];
        End(batch);
        _inFlight--;
        if (result == SettleResult.Failed)
        {
            Lose(batch, BatchLoss.Failed);
            SettleAll();
            return RoundResult.Lost;
        }

        Cycles++;
        PagesTreated += batch.Pages;
        _care.AfterDrop(batch);
        Decant(batch, treated: true, zero: result == SettleResult.TreatedZero);
        _idleSince = IsTraced ? Stopwatch.GetTimestamp() : 0;
        return RoundResult.Treated;
    }

    /// <summary>No answer: each batch that is in flight comes back raw if the device can no longer touch it, else it is quarantined.</summary>
    private void GiveUp()
    {
        foreach (Batch batch in _batches)
        {
            if (batch.Count != 0 && !batch.IsQuarantined)
            {
                _inFlight--;
                if (_device.TryRevoke(batch.Slot, TimeSpan.Zero))
                {
                    Lose(batch, BatchLoss.TimedOut);
                }
                else
                {
                    Quarantine(batch);
                }
            }
        }
    }

    /// <summary>Back to the free lists, zone by zone, each in one lock hold.</summary>
    private void Decant(Batch batch, bool treated, bool zero)
    {
        Begin(Stage.Decant);
        Zone? zone = null;
        foreach (Batch.Entry entry in batch.Entries)
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
        End(batch);
        batch.Clear();
    }

    private void Lose(Batch batch, BatchLoss reason)
    {
        Report(reason);
        Decant(batch, treated: false, zero: false);
        _idleSince = IsTraced ? Stopwatch.GetTimestamp() : 0;
    }

    /// <summary>The device may still touch the batch: it is counted and handed to nobody until the device has let go (house rule 5).</summary>
    private void Quarantine(Batch batch)
    {
        Report(BatchLoss.Quarantined);
        foreach (Batch.Entry entry in batch.Entries)
        {
            entry.Zone.Enter();
            entry.Zone.QuarantineLocked(entry.Pfn, entry.Order);
            entry.Zone.Exit();
        }

        batch.IsQuarantined = true;
        _quarantined++;
    }

    private void Report(BatchLoss loss)
    {
        LostBatches++;
        _lost[(int)loss]++;
        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Treatment))
        {
            ArenaEvents.Log.BatchLost(loss.Text());
        }
    }

    private void Begin(Stage stage)
    {
        Stage = stage;
        _stageBegan = IsTraced ? Stopwatch.GetTimestamp() : 0;
    }

    private void End(Batch batch)
    {
        if (_stageBegan != 0 && batch.Count != 0)
        {
            Batch.Entry first = batch.Entries[0];
            ArenaEvents.Log.Stage(Stage, first.Zone.Number, first.Order.Value, batch.Pages, batch.Count, Stopwatch.GetElapsedTime(_stageBegan).TotalMicroseconds);
        }
    }

    /// <summary>Idleness is told when it is over, by the round that found something; rounds that find nothing are part of it.</summary>
    private void EndIdleness(Batch batch)
    {
        if (_stageBegan != 0 && _idleSince != 0 && _inFlight == 0)
        {
            Batch.Entry first = batch.Entries[0];
            TimeSpan idle = Stopwatch.GetElapsedTime(_idleSince, _stageBegan);
            ArenaEvents.Log.Stage(Stage.Idle, first.Zone.Number, first.Order.Value, 0, 0, idle.TotalMicroseconds);
        }
    }

    private static bool IsTraced => ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Treatment);
}
