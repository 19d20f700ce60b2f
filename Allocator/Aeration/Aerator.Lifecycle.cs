using System;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>How treatment begins, how it ends, and who lets go of the device.</summary>
public sealed partial class Aerator
{
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

    /// <summary>Stops treatment: what the reactor holds comes back first, and a pass under way ends with it. Waits at most about twice
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

    /// <summary>Ends treatment for good and lets go of the device; where a pass outlasts this call, the pass does.</summary>
    internal void Close()
    {
        lock (_starting)
        {
            // Before treatment stops, so that nobody starts it again behind that.
            _closed = true;
            Stop();
            if (_link is not null)
            {
                LeavesMemoryBehind = true;
                _letsGo = true;
                CloseLink(_options.HostTimeout);
            }
        }
    }

    /// <summary>Drops the treatment lock. It looks behind that whether the device is to be let go of: whoever closes the arena and cannot have the
    /// lock leaves that to the lock's holder.</summary>
    private void Leave()
    {
        _treatment.Exit();
        if (_letsGo)
        {
            CloseLink(TimeSpan.Zero);
        }
    }

    /// <summary>Lets go of the device, once, with nothing in flight.</summary>
    private void CloseLink(TimeSpan wait)
    {
        if (_treatment.IsHeldByCurrentThread || !_treatment.TryEnter(wait))
        {
            return;
        }

        try
        {
            if (!_linkIsClosed && _link is not null)
            {
                _linkIsClosed = true;
                LeavesMemoryBehind = !_link.TryClose(_options.HostTimeout) || _reactor!.HasQuarantine;
            }
        }
        finally
        {
            _treatment.Exit();
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
