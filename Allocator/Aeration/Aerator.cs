using System;
using System.Diagnostics.Tracing;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Waste page treatment of one arena: when it starts, what has rested, who works the reactor. Passes run one at a time, under
/// the treatment lock; the timed ones on a worker thread, every <see cref="AerationOptions.Delay"/> / 4.
/// <para>All members may be called from any thread.</para></summary>
public sealed partial class Aerator
{
    /// <summary>What a shortage takes out of the balloon at a time: one request of the device's, so that the next allocations need none, and what
    /// comes back is not gone before the thread that asked for it tries again.</summary>
    private const uint ShortagePages = BalloonControl.PageNumbersMax;

    private static readonly TimeSpan s_leastSleep = TimeSpan.FromMilliseconds(1);

    private readonly PageArena _arena;
    private readonly AerationOptions _options;
    private readonly PageArenaOptions _arenaOptions;
    private readonly TreatmentSeams _seams;
    private readonly TimeProvider _clock;
    private readonly MemoryWatch? _watch;
    private readonly Lock _treatment = new();
    private readonly Lock _starting = new();
    private readonly PageblockBacking _backing;
    private HighWaterMarks? _marks;
    private Reactor? _reactor;
    private TreatmentDrive? _drive;
    private IBalloonLink? _link;
    private Worker? _worker;
    private Pace _pace;
    private long _epochBegan;
    private int _pressed;
    private volatile bool _letsGo;
    private bool _closed;
    private bool _linkIsClosed;

    internal Aerator(PageArena arena, PageArenaOptions options, TreatmentSeams seams)
    {
        _arena = arena;
        _arenaOptions = options;
        _seams = seams;
        _options = options.Aeration;
        _clock = _options.Clock;
        _backing = new PageblockBacking(arena.System, arena.Memory, options);
        foreach (Zone zone in arena.Zones)
        {
            zone.IsHugeBacked = _backing.IsHuge;
        }

        SetPace(MemoryPressure.None);
        _watch = seams.WatchesMemory && (_options.RespondToPressure || arena.Plan.CapFollowsLimit) ? new MemoryWatch(arena, _options) : null;
        arena.Epoch = Pace.RestingEpochs; // so that "freed in epoch 0" has rested from the start
        _epochBegan = _clock.GetTimestamp();
    }

    /// <summary>Whether treatment is running.</summary>
    public bool IsRunning => Volatile.Read(ref _worker) is not null;

    /// <summary>How short memory was when it was last looked at; <see cref="MemoryPressure.None"/> where nothing looks
    /// (<see cref="AerationOptions.RespondToPressure"/>).</summary>
    public MemoryPressure Pressure => _watch?.Pressure ?? MemoryPressure.None;

    /// <summary>Where the reactor is; a hint.</summary>
    public Stage Stage => _reactor?.Stage ?? Stage.Idle;

    /// <summary>Zones over the high-water mark, plus one while a batch is under way; 0 when idle.</summary>
    public int References => _marks?.References ?? 0;

    /// <summary>Blocks in a batch, as negotiated with the device; 0 while it takes none.</summary>
    public int ReactorCapacity => Math.Clamp(_link?.Device.Capacity ?? 0, 0, _options.ReactorCapacity);

    /// <summary>Batches treated since the arena was created.</summary>
    public long Cycles => _reactor?.Cycles ?? 0;

    /// <summary>Pages (4 KiB) treated since.</summary>
    public long PagesTreated => _reactor?.PagesTreated ?? 0;

    /// <summary>Batches refused, failed or lost since.</summary>
    public long LostBatches => _reactor?.LostBatches ?? 0;

    /// <summary>Whether the calling thread is inside a round, where it must not wait for others.</summary>
    internal bool IsHeldByCurrentThread => _treatment.IsHeldByCurrentThread;

    /// <summary>Batches that the host was told of since.</summary>
    internal long Reports => _reactor?.Reports ?? 0;

    /// <summary>What the host has failed to do since.</summary>
    internal HostFaults HostFaults
    {
        get
        {
            HostFaults faults = _link?.Faults ?? default;
            return _reactor?.AddLosses(faults) ?? faults;
        }
    }

    /// <summary>Whether the host is there (<see cref="PageArenaOptions.Host"/>); true for the one in this process. A hint.</summary>
    public bool IsHostConnected => _link?.IsHostConnected ?? false;

    /// <summary>Why the host is not there, for people to read; null while it is, and before it was tried.</summary>
    public string? HostFailure => _link?.HostFailure;

    internal ulong InflatedPages => _link?.InflatedPages ?? 0;

    /// <summary>The balloon of this arena, once started.</summary>
    internal IBalloonLink? Link => _link;

    /// <summary>A host, or a pass that goes on, may still touch the arena: the mapping stays.</summary>
    internal bool LeavesMemoryBehind { get; private set; }

    /// <summary>A zone has reached its high-water mark. Called with no lock held, outside the thread's pages.</summary>
    internal void OnHighWaterMark(Zone zone)
    {
        if (ArenaEvents.Log.IsEnabled(EventLevel.Verbose, ArenaEvents.Keywords.Treatment))
        {
            ArenaEvents.Log.HighWaterMark(zone.Number, _arena.Plan.MinimumOrder.Value, (long)zone.RawBlocks(_arena.Plan.MinimumOrder));
        }

        if (_options.Context == AerationContext.FreeingThread)
        {
            TreatInline(zone);
        }
        else
        {
            Volatile.Read(ref _worker)?.Signal();
        }
    }

    /// <summary>Little is left under the cap: the worker is to drain and deflate. Called with no lock held. Wakes it once; while the
    /// shortage lasts, the timed passes go on with it, because more of them would only take from the threads what they take again.</summary>
    internal void OnPressure()
    {
        if (Volatile.Read(ref _pressed) == 0 && Interlocked.Exchange(ref _pressed, 1) == 0)
        {
            Volatile.Read(ref _worker)?.Signal();
        }
    }

    /// <summary>Treats everything raw now, on the calling thread. Called from inside a round (by who listens to its events, or frees in
    /// the device's name) it leaves the work to that round: there is one batch.</summary>
    internal void TreatEverything()
    {
        if (_treatment.IsHeldByCurrentThread)
        {
            return;
        }

        _treatment.Enter();
        try
        {
            if (IsRunning)
            {
                _drive!.Everything();
            }
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>One timed pass; what the worker does. Tests call it with their own clock.</summary>
    internal void Pass()
    {
        if (_treatment.IsHeldByCurrentThread || !_arena.TryPin())
        {
            return;
        }

        try
        {
            _arena.OnPass();
            PassPinned();
            ZoneWaits.Tell();
        }
        finally
        {
            _arena.Unpin();
        }
    }

    /// <summary>Waits for the batch in flight, if there is one. False: it has not come back in time, another try is not worth it.</summary>
    internal bool WaitForReactor()
    {
        ulong held = 0;
        foreach (Zone zone in _arena.Zones)
        {
            held += zone.InReactorPages + zone.QuarantinedPages;
        }

        // Nothing in flight is no reason to give up: it may have come back since the caller's last try.
        if (held == 0)
        {
            return true;
        }

        if (!_treatment.TryEnter(_options.HostTimeout))
        {
            return false;
        }

        Leave();
        return true;
    }

    /// <summary>Takes pages back from the balloon because an allocation would fail; true when any came.</summary>
    internal bool TryDeflate() => _link is not null && _link.Deflate(ShortagePages) != 0;

    /// <summary>The freeing thread treats its zone until it is under the mark (the RFC's way). If treatment is under way already, that
    /// will do.</summary>
    private void TreatInline(Zone zone)
    {
        // The lock lets its holder in again, and a free from inside a round would fill the batch that the device has.
        if (_treatment.IsHeldByCurrentThread || !_treatment.TryEnter())
        {
            return;
        }

        try
        {
            if (IsRunning)
            {
                _drive!.UntilBelowMark(zone, ReactorCapacity);
            }
        }
        finally
        {
            Leave();
        }
    }

    private void PassPinned()
    {
        _treatment.Enter();
        try
        {
            if (!IsRunning)
            {
                return;
            }

            if (_watch is not null && _watch.Look())
            {
                SetPace(_watch.Pressure);
            }

            AdvanceEpoch();
            _arena.Threads.DrainRested();
            _link!.Service();
            Relieve();
            _drive!.Rested();
            _arena.Budget.WakeFirst(); // not for lack of budget alone does an allocation fail
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>What rests under one pace goes on under the next: an epoch counts as one, however long it was to be.</summary>
    private void SetPace(MemoryPressure pressure)
    {
        _pace = Pace.For(_options.Delay, pressure);
        foreach (Zone zone in _arena.Zones)
        {
            zone.RestEpochs = _pace.RestEpochs;
        }

        if (_drive is not null)
        {
            _drive.KeepsStock = _pace.KeepsStock;
        }
    }

    /// <summary>How long until the next epoch may begin, or memory is looked at; what the worker sleeps. Counted from the epoch and not from the last pass: a
    /// pass that a signal brought forward must not make the others late.</summary>
    private TimeSpan UntilNextEpoch()
    {
        TimeSpan left = _pace.Period - _clock.GetElapsedTime(Volatile.Read(ref _epochBegan));
        if (_watch is not null && _watch.UntilNextLook < left)
        {
            left = _watch.UntilNextLook;
        }

        left = left < _pace.Period ? left : _pace.Period; // a clock that was set back
        return left > s_leastSleep ? left : s_leastSleep;
    }

    /// <summary>At most one epoch per pass, and none before its time: a worker that was late must not make young blocks look old.</summary>
    private void AdvanceEpoch()
    {
        long now = _clock.GetTimestamp();
        if (now < _epochBegan)
        {
            // The clock was set back: the epoch begins anew, or nothing would be treated until it is where it was.
            Volatile.Write(ref _epochBegan, now);
        }
        else if (_clock.GetElapsedTime(_epochBegan, now) >= _pace.Period)
        {
            Volatile.Write(ref _epochBegan, now);
            _arena.Epoch++;
            _drive!.OnEpoch();
        }
    }

    /// <summary>Below the low watermark the threads' pages are given up and the balloon gives back, up to the high one.</summary>
    private void Relieve()
    {
        if (!_arena.Budget.IsBelowLow)
        {
            Volatile.Write(ref _pressed, 0);
        }
        else
        {
            _arena.Threads.DrainAll();
            _link!.Deflate((uint)Math.Min(_arena.Budget.MissingToHigh, uint.MaxValue));
        }
    }
}
