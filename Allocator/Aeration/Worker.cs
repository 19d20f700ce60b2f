using System;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>A background thread that runs an action when it is due, and early when signalled; an early run does not put the next due
/// one off. Under the system's clock it sleeps by itself; under another one a timer of that clock wakes it.</summary>
internal sealed class Worker
{
    private readonly TimeProvider _clock;
    private readonly Func<TimeSpan> _untilDue;
    private readonly Action _action;
    private readonly object _gate = new();
    private readonly Thread _thread;
    private int _signalled;
    private bool _woken;
    private bool _stopping;

    /// <summary>A worker that has not started yet. It asks <paramref name="untilDue"/> before each sleep.</summary>
    public Worker(TimeProvider clock, Func<TimeSpan> untilDue, Action action)
    {
        _clock = clock;
        _untilDue = untilDue;
        _action = action;
        _thread = new Thread(Run) { IsBackground = true, Name = "LowLevel aerator" };
    }

    /// <summary>Starts the thread.</summary>
    public void Start() => _thread.Start();

    /// <summary>Wakes the thread, once per pass: waking a sleeper costs the caller microseconds.</summary>
    public void Signal()
    {
        if (Volatile.Read(ref _signalled) == 0 && Interlocked.Exchange(ref _signalled, 1) == 0)
        {
            Wake(stop: false);
        }
    }

    /// <summary>Ends the thread; false when it did not end in time (it is left behind and ends when it can).</summary>
    public bool Stop(TimeSpan bound)
    {
        Wake(stop: true);
        return !_thread.IsAlive || _thread == Thread.CurrentThread || _thread.Join(bound);
    }

    private void Run()
    {
        using ITimer? timer = ReferenceEquals(_clock, TimeProvider.System)
            ? null
            : _clock.CreateTimer(_ => Wake(stop: false), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        while (Sleep(timer))
        {
            Volatile.Write(ref _signalled, 0);
            _action();
        }
    }

    /// <summary>Until the action is due, a signal, or the end; false at the end.</summary>
    private bool Sleep(ITimer? timer)
    {
        TimeSpan due = _untilDue();
        timer?.Change(due, Timeout.InfiniteTimeSpan);
        int milliseconds = timer is null ? (int)Math.Ceiling(due.TotalMilliseconds) : Timeout.Infinite;
        // A monitor and not an event: signals may come after the thread has ended, when nothing must be disposed under them.
        lock (_gate)
        {
            if (!_woken && !_stopping)
            {
                Monitor.Wait(_gate, milliseconds);
            }

            _woken = false;
            return !_stopping;
        }
    }

    private void Wake(bool stop)
    {
        lock (_gate)
        {
            _woken = true;
            _stopping |= stop;
            Monitor.Pulse(_gate);
        }
    }
}
