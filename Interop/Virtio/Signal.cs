using System;
using System.Threading;

namespace LowLevel.Interop.Virtio;

/// <summary>A point in time by a clock that tests can move.</summary>
internal readonly struct Deadline
{
    private readonly TimeProvider _clock;
    private readonly long _start;
    private readonly TimeSpan _timeout;

    /// <summary>So long from now; <see cref="Timeout.InfiniteTimeSpan"/> never passes.</summary>
    public Deadline(TimeProvider clock, TimeSpan timeout)
    {
        ArgumentNullException.ThrowIfNull(clock);
        _clock = clock;
        _timeout = timeout;
        _start = clock.GetTimestamp();
    }

    /// <summary>The clock.</summary>
    public TimeProvider Clock => _clock;

    /// <summary>Time left, not negative; <see cref="Timeout.InfiniteTimeSpan"/> for one that never passes. By a clock that was set back before the
    /// start it has passed: how long it was is not known any more, and whoever waits must not wait for the difference too.</summary>
    public TimeSpan Left
    {
        get
        {
            if (_timeout == Timeout.InfiniteTimeSpan)
            {
                return _timeout;
            }

            TimeSpan passed = _clock.GetElapsedTime(_start);
            return passed >= TimeSpan.Zero && passed < _timeout ? _timeout - passed : TimeSpan.Zero;
        }
    }
}

/// <summary>Something has happened, look again: a wake-up that is remembered until one waiter has taken it. To set it costs a
/// short lock and never blocks, so an interrupt may. Thread-safe.</summary>
internal sealed class Signal
{
    private static readonly TimeSpan WaitMax = TimeSpan.FromDays(1);

    private readonly object _guard = new();
    private bool _isSet;

    /// <summary>Wakes a waiter, now or when it comes.</summary>
    public void Set()
    {
        lock (_guard)
        {
            _isSet = true;
            Monitor.PulseAll(_guard);
        }
    }

    /// <summary>Forgets a wake-up that nobody has taken.</summary>
    public void Clear()
    {
        lock (_guard)
        {
            _isSet = false;
        }
    }

    /// <summary>Waits for a wake-up and takes it. False: the deadline has passed.</summary>
    public bool Wait(in Deadline deadline)
    {
        lock (_guard)
        {
            while (!_isSet)
            {
                TimeSpan left = deadline.Left;
                if (left == TimeSpan.Zero)
                {
                    return false;
                }

                WaitOnce(deadline.Clock, left == Timeout.InfiniteTimeSpan || left > WaitMax ? WaitMax : left);
            }

            _isSet = false;
            return true;
        }
    }

    /// <summary>Sleeps until pulsed or until the clock has moved so far. The system's clock needs no timer, whose callback would
    /// wait for a thread of a pool that may be busy.</summary>
    private void WaitOnce(TimeProvider clock, TimeSpan left)
    {
        if (ReferenceEquals(clock, TimeProvider.System))
        {
            Monitor.Wait(_guard, left);
            return;
        }

        TimeUp timeUp = new();
        using ITimer timer = clock.CreateTimer(RingTimer, timeUp, left, Timeout.InfiniteTimeSpan);
        while (!timeUp.IsSet && !_isSet)
        {
            Monitor.Wait(_guard);
        }
    }

    private void RingTimer(object? timeUp)
    {
        lock (_guard)
        {
            ((TimeUp)timeUp!).IsSet = true;
            Monitor.PulseAll(_guard);
        }
    }

    private sealed class TimeUp
    {
        public bool IsSet { get; set; }
    }
}
