using System;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>A background thread that runs an action every period, and early when signalled. Under the system's clock it sleeps by
/// itself; under another one a timer of that clock wakes it.</summary>
internal sealed class Worker
{
    private readonly TimeProvider _clock;
    private readonly TimeSpan _period;
    private readonly Action _action;
    private readonly object _gate = new();
    private readonly Thread _thread;
    private int _signalled;
    private bool _woken;
    private bool _stopping;

    /// <summary>A worker that has not started yet.</summary>
    public Worker(TimeProvider clock, TimeSpan period, Action action)
    {
        _clock = clock;
        _period = period;
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
        bool system = ReferenceEquals(_clock, TimeProvider.System);
        using ITimer? timer = system ? null : _clock.CreateTimer(_ => Wake(stop: false), null, _period, _period);
        int sleep = system ? Math.Max(1, (int)Math.Min(_period.TotalMilliseconds, int.MaxValue)) : Timeout.Infinite;
        while (Sleep(sleep))
        {
            Volatile.Write(ref _signalled, 0);
            _action();
        }
    }

    /// <summary>Until the period is over, a signal, or the end; false at the end.</summary>
    private bool Sleep(int milliseconds)
    {
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
