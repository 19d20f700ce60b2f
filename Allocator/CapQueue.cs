using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Who waits at the cap, first come first served: only the first tries to take, the others wait for its place. A thread that
/// finds memory without waiting may still be quicker than the first in line. Changed under the budget's lock.</summary>
internal sealed class CapQueue
{
    private readonly LinkedList<CapWaiter> _line = new();
    private CapWaiter? _first;
    private int _count;
    private bool _closed;

    /// <summary>How many wait. Any thread; a hint without the lock.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>The one whose turn it is. Any thread; a hint without the lock.</summary>
    public CapWaiter? First => Volatile.Read(ref _first);

    /// <summary>To the end of the line. Whoever finds it empty has its turn at once.</summary>
    public void Add(CapWaiter waiter)
    {
        _line.AddLast(waiter);
        Changed();
        if (_closed)
        {
            waiter.Close();
        }
    }

    /// <summary>Out of the line.</summary>
    public void Remove(CapWaiter waiter)
    {
        _line.Remove(waiter);
        Changed();
    }

    /// <summary>Nobody waits any more, and nobody who comes will.</summary>
    public void Close()
    {
        _closed = true;
        foreach (CapWaiter waiter in _line)
        {
            waiter.Close();
        }
    }

    private void Changed()
    {
        CapWaiter? first = _line.First?.Value;
        Volatile.Write(ref _count, _line.Count);
        if (first != _first)
        {
            Volatile.Write(ref _first, first);
            first?.Wake();
        }
    }
}

/// <summary>One thread that waits at the cap.</summary>
internal sealed class CapWaiter
{
    private readonly object _gate = new();
    private readonly TimeProvider _clock;
    private readonly TimeSpan _timeout;
    private readonly long _began;
    private bool _woken;
    private bool _closed;

    /// <summary>Its time begins now.</summary>
    public CapWaiter(ulong pages, AllocFlags flags, TimeProvider clock, TimeSpan timeout)
    {
        Pages = pages;
        Flags = flags;
        _clock = clock;
        _timeout = timeout;
        _began = clock.GetTimestamp();
    }

    /// <summary>What it wants.</summary>
    public ulong Pages { get; }

    /// <summary>What of the reserve it may use.</summary>
    public AllocFlags Flags { get; }

    /// <summary>How long it has waited; as long as it may, if its clock was set back meanwhile.</summary>
    public TimeSpan Waited => _clock.GetElapsedTime(_began) is TimeSpan passed && passed >= TimeSpan.Zero ? passed : _timeout;

    /// <summary>Blocks until there is a reason to try: it is the first, or is the first and something came back since it was told so last.
    /// False: its time is over, or the arena ends. Under the system's clock it sleeps by itself, because a timer's thread may be late
    /// where the pool's threads are what waits here; under another one a timer of that clock wakes it.</summary>
    public bool WaitForTurn()
    {
        bool isSystem = ReferenceEquals(_clock, TimeProvider.System);
        using ITimer? timer = isSystem ? null : _clock.CreateTimer(Expire, null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        lock (_gate)
        {
            while (!_closed && !_woken)
            {
                TimeSpan left = _timeout - Waited;
                if (left <= TimeSpan.Zero)
                {
                    return false;
                }

                timer?.Change(left, Timeout.InfiniteTimeSpan);
                Monitor.Wait(_gate, isSystem ? (int)Math.Ceiling(left.TotalMilliseconds) : Timeout.Infinite);
            }

            _woken = false;
            return !_closed;
        }
    }

    /// <summary>It is to try (again).</summary>
    public void Wake()
    {
        lock (_gate)
        {
            _woken = true;
            Monitor.Pulse(_gate);
        }
    }

    /// <summary>It is to give up.</summary>
    public void Close()
    {
        lock (_gate)
        {
            _closed = true;
            Monitor.Pulse(_gate);
        }
    }

    private void Expire(object? state)
    {
        lock (_gate)
        {
            Monitor.Pulse(_gate);
        }
    }
}
