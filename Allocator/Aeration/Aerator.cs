using System;
using System.Diagnostics.Tracing;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Waste page treatment of one arena: when it starts, what has rested, who works the reactor. Passes run one at a time, under
/// the treatment lock; the timed ones on a worker thread, every <see cref="AerationOptions.Delay"/> / 4.
/// <para>All members may be called from any thread.</para></summary>
public sealed class Aerator
{
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
    private bool _closed;

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

    /// <summary>A host may still touch the arena: the mapping stays.</summary>
    internal bool LeavesMemoryBehind { get; private set; }

    /// <summary>Starts treatment; harmless while it runs. Memory that is free already is found by the first timed pass.</summary>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    /// <exception cref="InvalidOperationException">The device could not be brought into service; treatment stays off.</exception>
    public void Start()
    {
        lock (_starting)
        {
            ObjectDisposedException.ThrowIf(_closed, _arena);
            if (_worker is not null)
            {
                return;
            }

            // The device is ready (DRIVER_OK) before anything listens, so that no free can notify it too early.
            if (_link is null)
            {
                _link = _seams.Balloon(_arena, _arenaOptions);
                int capacity = ReactorCapacity == 0 ? _options.ReactorCapacity : ReactorCapacity;
                _marks = new HighWaterMarks(_arena.Plan.MinimumOrder, capacity, _options.Context == AerationContext.FreeingThread);
                BatchCare care = new(_backing);
                _reactor = new Reactor(_link.Device, _marks, care, _options.ReactorCapacity, _options.HostTimeout);
                _drive = new TreatmentDrive(_arena, _reactor, _marks, care) { KeepsStock = _pace.KeepsStock };
            }

            Worker worker = new(_clock, UntilNextEpoch, Pass);
            _link.WorkArrived = worker.Signal;
            Volatile.Write(ref _worker, worker);
            Listen(_marks);
            if (_seams.HasWorker)
            {
                worker.Start();
            }
        }
    }

    /// <summary>Stops treatment: what the reactor holds comes back first. Waits at most about twice
    /// <see cref="AerationOptions.HostTimeout"/>. Harmless while stopped.</summary>
    public void Stop()
    {
        lock (_starting)
        {
            Worker? worker = _worker;
            if (worker is null)
            {
                return;
            }

            Listen(null);
            Volatile.Write(ref _worker, null);
            worker.Stop(_options.HostTimeout + _options.HostTimeout + TimeSpan.FromSeconds(1));
            if (_treatment.TryEnter(_options.HostTimeout + TimeSpan.FromSeconds(1)))
            {
                try
                {
                    _reactor!.TryReleaseQuarantine(_options.HostTimeout);
                }
                finally
                {
                    _treatment.Exit();
                }
            }
        }
    }

    /// <summary>Ends treatment for good and lets go of the device.</summary>
    internal void Close()
    {
        Stop();
        lock (_starting)
        {
            _closed = true;
            if (_link is not null)
            {
                LeavesMemoryBehind = !_link.TryClose(_options.HostTimeout) || _reactor!.HasQuarantine;
            }
        }
    }

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

        lock (_treatment)
        {
            if (IsRunning)
            {
                _drive!.Everything();
            }
        }
    }

    /// <summary>One timed pass; what the worker does. Tests call it with their own clock.</summary>
    internal void Pass()
    {
        if (_treatment.IsHeldByCurrentThread)
        {
            return;
        }

        _arena.OnPass();
        lock (_treatment)
        {
            if (IsRunning)
            {
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
        }

        ZoneWaits.Tell();
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

        _treatment.Exit();
        return true;
    }

    /// <summary>Takes pages back from the balloon because an allocation would fail; true when any came.</summary>
    internal bool TryDeflate(uint pages) => _link is not null && _link.Deflate(pages) != 0;

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
            _treatment.Exit();
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

        return left > s_leastSleep ? left : s_leastSleep;
    }

    /// <summary>At most one epoch per pass, and none before its time: a worker that was late must not make young blocks look old.</summary>
    private void AdvanceEpoch()
    {
        long now = _clock.GetTimestamp();
        if (_clock.GetElapsedTime(_epochBegan, now) >= _pace.Period)
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

    private void Listen(HighWaterMarks? marks)
    {
        foreach (Zone zone in _arena.Zones)
        {
            zone.Enter();
            if (marks is null)
            {
                _marks?.Clear(zone);
            }

            zone.Listener = marks;
            zone.Exit();
        }
    }
}
