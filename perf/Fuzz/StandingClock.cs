using System;
using System.Threading;
using System.Threading.Tasks;

namespace LowLevel.Perf;

/// <summary>A clock that only the input moves, and whoever waits: to wait is to have the time pass at once, so a ring takes the same course each time
/// and none takes long.</summary>
internal sealed class StandingClock : TimeProvider
{
    private long _ticks = TimeSpan.TicksPerDay;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _ticks;

    public override DateTimeOffset GetUtcNow() => new(_ticks, TimeSpan.Zero);

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        ArgumentNullException.ThrowIfNull(callback);
        _ticks += dueTime.Ticks;
        callback(state);
        return new Rung();
    }

    /// <summary>A second.</summary>
    public void Move() => _ticks += TimeSpan.TicksPerSecond;

    private sealed class Rung : ITimer
    {
        public bool Change(TimeSpan dueTime, TimeSpan period) => throw new FuzzFinding("a timer that has rung is set again");

        public void Dispose()
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
