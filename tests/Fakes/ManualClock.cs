using System;
using System.Collections.Generic;
using System.Threading;

namespace LowLevel.Tests.Fakes;

/// <summary>A clock that stands still until the test moves it. Timers fire on the thread that moves it, once (periods are refused).</summary>
internal sealed class ManualClock : TimeProvider
{
    private readonly Lock _guard = new();
    private readonly List<ManualTimer> _timers = [];
    private long _ticks = TimeSpan.TicksPerDay;
    private int _armings;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    /// <summary>How often a timer was set to fire.</summary>
    public int Armings => Volatile.Read(ref _armings);

    public override long GetTimestamp() => Volatile.Read(ref _ticks);

    public override DateTimeOffset GetUtcNow() => new(GetTimestamp(), TimeSpan.Zero);

    /// <summary>Time until the first timer fires; null where none is set.</summary>
    public TimeSpan? UntilNextTimer
    {
        get
        {
            lock (_guard)
            {
                long? due = null;
                foreach (ManualTimer timer in _timers)
                {
                    due = timer.Due is long at && (due is null || at < due) ? at : due;
                }

                return due is long first ? TimeSpan.FromTicks(first - _ticks) : null;
            }
        }
    }

    /// <summary>Moves the clock, and fires what is due by then.</summary>
    public void Advance(TimeSpan by)
    {
        List<ManualTimer> due = [];
        lock (_guard)
        {
            Volatile.Write(ref _ticks, _ticks + by.Ticks);
            foreach (ManualTimer timer in _timers)
            {
                if (timer.Due is long at && at <= _ticks)
                {
                    timer.Due = null;
                    due.Add(timer);
                }
            }
        }

        due.ForEach(static timer => timer.Fire());
    }

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        ManualTimer timer = new(this, callback, state);
        lock (_guard)
        {
            _timers.Add(timer);
        }

        timer.Change(dueTime, period);
        return timer;
    }

    private sealed class ManualTimer(ManualClock clock, TimerCallback callback, object? state) : ITimer
    {
        public long? Due { get; set; }

        public void Fire() => callback(state);

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (period != Timeout.InfiniteTimeSpan)
            {
                throw new NotSupportedException("this clock's timers fire once");
            }

            lock (clock._guard)
            {
                bool armed = dueTime != Timeout.InfiniteTimeSpan;
                Due = armed ? clock._ticks + dueTime.Ticks : null;
                Volatile.Write(ref clock._armings, clock._armings + (armed ? 1 : 0));
            }

            return true;
        }

        public void Dispose()
        {
            lock (clock._guard)
            {
                clock._timers.Remove(this);
            }
        }

        public System.Threading.Tasks.ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }
    }
}
