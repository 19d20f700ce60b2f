using System;
using System.Diagnostics.Tracing;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The guest's balloon driver (VIRTIO 1.2, 5.5): negotiates, reports the reactor's batches (<see cref="ITreatmentDevice"/>),
/// moves pages in and out of the balloon, answers the statistics queue. Reports are made by one thread at a time, the holder of
/// the treatment lock; <see cref="Service"/> and <see cref="Deflate"/> come from any thread, with no zone lock held, and
/// serialise among themselves. Interrupts only wake threads up; whatever they say is looked up on the rings.</summary>
internal sealed partial class BalloonDriver : ITreatmentDevice
{
    /// <summary>Requests of one <see cref="Service"/>: 64 MiB, so that nobody waits long for its lock.</summary>
    private const int ServiceRequestsMax = 16;

    private const int TargetOffset = 0;
    private const int ActualOffset = 4;
    private const int PoisonOffset = 12;

    private readonly IVirtioTransport _transport;
    private readonly BalloonControl _control;
    private readonly BalloonDriverOptions _options;
    private readonly ReportingQueue _reports;
    private readonly PageBalloon _balloon;
    private readonly StatisticsQueue _statistics;
    private readonly ReportTrace _trace;
    private readonly Lock _service = new();
    private volatile bool _isLive;
    private volatile bool _isReset;
    private volatile bool _isShutDown;
    private int _capacity;
    private int _inFlightMax = 1;
    private Feature _features;

    /// <summary>A driver for a device that it has not touched yet; <see cref="TryRestart"/> starts it.</summary>
    /// <param name="transport">The way to the device.</param>
    /// <param name="control">Control memory made for the same options.</param>
    /// <param name="pages">The arena.</param>
    /// <param name="gates">Of a device in this process, the gates that it drops through; null for a device elsewhere.</param>
    /// <param name="options">What to ask for.</param>
    public BalloonDriver(
        IVirtioTransport transport, BalloonControl control, IBalloonPages pages, BalloonGates? gates, BalloonDriverOptions options)
    {
        ArgumentNullException.ThrowIfNull(transport);
        ArgumentNullException.ThrowIfNull(options);
        _transport = transport;
        _control = control;
        _options = options;
        _trace = new ReportTrace(options.ReportsInFlight);
        _reports = new ReportingQueue(control, gates?.Reports, options);
        _balloon = new PageBalloon(control, pages, gates?.Inflates[0], options.Clock);
        _statistics = new StatisticsQueue(control, pages);
        transport.QueueInterrupt = OnQueueInterrupt;
        transport.ConfigInterrupt = OnConfigInterrupt;
    }

    /// <summary>Called when <see cref="Service"/> has something to do; from interrupts, so it must only wake somebody up.</summary>
    public Action? WorkArrived { get; set; }

    /// <summary>What was negotiated; 0 while out of service.</summary>
    public Feature Features => _isLive ? _features : 0;

    /// <summary>How often the device was brought into service. Whoever changes the host behind the transport must count what was
    /// treated before as raw; a host in this process keeps it, because its own kernel has dropped it.</summary>
    public int Sessions { get; private set; }

    /// <summary>Pages in the balloon. A snapshot.</summary>
    public uint InflatedPages => _balloon.HeldPages;

    /// <summary>Pages of the balloon that the device has yet to answer for. A snapshot.</summary>
    public uint MovingPages => _balloon.MovingPages;

    /// <summary>What the device did that no device may do.</summary>
    public DriverQueueFault Fault
    {
        get
        {
            DriverQueueFault fault = _reports.Fault != DriverQueueFault.None ? _reports.Fault : _balloon.Fault;
            return fault != DriverQueueFault.None ? fault : _statistics.Fault;
        }
    }

    /// <inheritdoc/>
    public int Capacity => IsInOrder ? _capacity : 0;

    /// <inheritdoc/>
    public bool IsOutOfService => !IsInOrder;

    /// <inheritdoc/>
    public int InFlightMax => _inFlightMax;

    private bool IsInOrder => _isLive && Fault == DriverQueueFault.None && (_transport.Status & DeviceStatus.NeedsReset) == 0;

    /// <inheritdoc/>
    public bool React(ReadOnlySpan<PageRange> batch, int slot)
    {
        if (batch.IsEmpty || batch.Length > Capacity || !_reports.TryPublish(batch, slot, out bool mustNotify))
        {
            return false;
        }

        _trace.Submitted(slot, batch);
        if (mustNotify)
        {
            _transport.Notify(BalloonLimits.ReportingQueue);
        }

        return true;
    }

    /// <inheritdoc/>
    public SettleResult Settle(TimeSpan timeout, out int slot)
    {
        SettleResult result = _reports.Settle(new Deadline(_options.Clock, timeout), _transport, out slot);
        _trace.Settled(slot, result);
        return result;
    }

    /// <inheritdoc/>
    public bool TryRevoke(int slot, TimeSpan timeout)
    {
        Deadline deadline = new(_options.Clock, timeout);
        bool released = _reports.TryAbandon(slot, TryStop(deadline), deadline);
        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Ring))
        {
            ArenaEvents.Log.GateRevoked(slot, released);
        }

        return released;
    }

    /// <summary>Starts the device, the first time too. In service already: nothing happens, so whoever sees no
    /// <see cref="Capacity"/> may simply call it.</summary>
    /// <returns>False: out of service. A report is still with the device (<see cref="TryRevoke"/> comes first), the device has
    /// not acknowledged the reset, it cannot be driven, or the driver was shut down.</returns>
    public bool TryRestart()
    {
        if (IsInOrder)
        {
            return true;
        }

        Deadline deadline = new(_options.Clock, _options.ResetTimeout);
        if (_isShutDown || _reports.InFlight != 0 || !TryStop(deadline) || !_service.TryEnter(deadline.Left))
        {
            return false;
        }

        try
        {
            _isLive = _balloon.TryAbandon(wasReset: true, deadline) && Negotiate();
            if (!_isLive)
            {
                _transport.AddStatus(DeviceStatus.Failed);
                return false;
            }

            Sessions++;
            WriteActual();
        }
        finally
        {
            _service.Exit();
        }

        Service();
        return true;
    }

    /// <summary>Takes the device out of service; <see cref="TryRestart"/> brings it back.</summary>
    /// <returns>Whether it has acknowledged the reset.</returns>
    public bool TryTakeDown(TimeSpan timeout) => TryStop(new Deadline(_options.Clock, timeout));

    /// <summary>Moves the balloon towards what the host wants, and answers the statistics queue. Bounded; never waits for the
    /// device. For a worker thread that <see cref="WorkArrived"/> woke.</summary>
    /// <returns>True: there is more to do at once; call again.</returns>
    public bool Service()
    {
        lock (_service)
        {
            if (!IsInOrder)
            {
                return false;
            }

            NotifyIf(_statistics.Serve(), BalloonLimits.StatsQueue);
            for (int i = 0; i < ServiceRequestsMax; i++)
            {
                if (_balloon.Reap())
                {
                    WriteActual();
                }

                NotifyIf(_balloon.Tell(), BalloonLimits.DeflateQueue);
                if (!Step(_transport.ReadConfig(TargetOffset)))
                {
                    return false;
                }
            }

            return true;
        }
    }

    /// <summary>Memory is short: gives at least so many pages back from the balloon, if it holds them and the device agreed to that
    /// (DEFLATE_ON_OOM). Any thread without a zone lock.</summary>
    /// <returns>Pages that the arena has got back by the time it returns.</returns>
    public uint Deflate(uint pages)
    {
        lock (_service)
        {
            if (_isLive && (_features & Feature.DeflateOnOom) == 0)
            {
                return 0;
            }

            uint before = _balloon.HeldPages + _balloon.MovingPages;
            uint leaving = 0;
            uint more;
            do
            {
                _balloon.Reap();
                more = _balloon.Deflate(pages - leaving, out bool mustNotify);
                NotifyIf(mustNotify, BalloonLimits.DeflateQueue);
                leaving += more;
            }
            while (more != 0 && leaving < pages);

            _balloon.Reap();

            WriteActual();
            return before - (_balloon.HeldPages + _balloon.MovingPages);
        }
    }

    /// <summary>Ends service for good: resets the device and gives the balloon's pages back. True: the device can touch neither
    /// a report's blocks nor any page of the balloon; the balloon's are the arena's again. May be called again after false.</summary>
    public bool TryShutDown(in Deadline deadline)
    {
        _isShutDown = true;
        bool wasReset = TryStop(deadline);
        bool isSafe = _reports.TryAbandonAll(wasReset, deadline);
        if (!_service.TryEnter(deadline.Left))
        {
            return false;
        }

        try
        {
            isSafe &= _balloon.TryAbandon(wasReset, deadline);
            if (isSafe)
            {
                _balloon.ReleaseHeld();
            }

            return isSafe;
        }
        finally
        {
            _service.Exit();
        }
    }

    /// <summary>Ends service without waiting.</summary>
    public void Dispose() => TryShutDown(new Deadline(_options.Clock, TimeSpan.Zero));

    /// <summary>Takes the device out of service. The lock of <see cref="Service"/> is not needed for that: a request that a thread
    /// publishes meanwhile is abandoned with the others, here or at the next attempt.</summary>
    /// <returns>Whether the device has acknowledged the reset.</returns>
    private bool TryStop(in Deadline deadline)
    {
        _isLive = false;
        bool wasReset = _isReset || Reset(deadline);

        if (_service.TryEnter(deadline.Left))
        {
            _balloon.TryAbandon(wasReset, deadline);
            _service.Exit();
        }

        return wasReset;
    }

    /// <summary>Once acknowledged it holds until the device is started again: each of several reports is taken back after the same reset.</summary>
    private bool Reset(in Deadline deadline)
    {
        _isReset = _transport.TryReset(deadline);
        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Host))
        {
            ArenaEvents.Log.DeviceReset();
        }

        return _isReset;
    }

    /// <summary>One request towards the target. False: none can be made now.</summary>
    private bool Step(uint target)
    {
        uint held = _balloon.HeldPages;
        bool mustNotify;
        if (held < target)
        {
            bool made = _balloon.TryInflate(target - held, out mustNotify);
            NotifyIf(mustNotify, BalloonLimits.InflateQueue);
            return made;
        }

        if (held > target && _balloon.Deflate(held - target, out mustNotify) > 0)
        {
            NotifyIf(mustNotify, BalloonLimits.DeflateQueue);
            WriteActual();
            return true;
        }

        return false;
    }

    private void WriteActual()
    {
        if (_isLive)
        {
            _transport.WriteConfig(ActualOffset, _balloon.HeldPages);
        }
    }

    private void NotifyIf(bool must, int queue)
    {
        if (must)
        {
            _transport.Notify(queue);
        }
    }

    private void OnQueueInterrupt(int queue)
    {
        if (queue == BalloonLimits.ReportingQueue)
        {
            _reports.Interrupt();
        }
        else
        {
            WorkArrived?.Invoke();
        }
    }

    private void OnConfigInterrupt()
    {
        // It may be NEEDS_RESET, for which whoever waits for a report should not wait any longer.
        _reports.Interrupt();
        WorkArrived?.Invoke();
    }
}
