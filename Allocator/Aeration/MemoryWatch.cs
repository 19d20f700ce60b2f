using System;
using System.Diagnostics.Tracing;
using LowLevel.Interop.Linux;

namespace LowLevel.Allocator;

/// <summary>Looks at the memory cgroup and the kernel's stall counts in the worker's passes, at most once a second: the cap follows the limit,
/// the pace follows the pressure. Used by the holder of the treatment lock.</summary>
internal sealed class MemoryWatch
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(1);

    private readonly PageArena _arena;
    private readonly TimeProvider _clock;
    private readonly bool _responds;
    private readonly PressureGauge _gauge = new();
    private long? _lookedAt;

    /// <summary>A watch that has not looked yet.</summary>
    public MemoryWatch(PageArena arena, AerationOptions options)
    {
        _arena = arena;
        _clock = options.Clock;
        _responds = options.RespondToPressure;
    }

    /// <summary>What the pressure is, as it was judged last.</summary>
    public MemoryPressure Pressure => _gauge.Level;

    /// <summary>Until the next look; never more than a second.</summary>
    public TimeSpan UntilNextLook
    {
        get
        {
            TimeSpan left = _lookedAt is long at ? s_interval - _clock.GetElapsedTime(at) : TimeSpan.Zero;
            return left <= s_interval ? left : TimeSpan.Zero; // longer than that only by a clock that was set back
        }
    }

    /// <summary>Looks, if it is time. True: the pressure is another than before.</summary>
    public bool Look()
    {
        if (UntilNextLook > TimeSpan.Zero)
        {
            return false;
        }

        _lookedAt = _clock.GetTimestamp();
        MemoryReading reading = _arena.System.ReadMemory();
        if (_arena.Plan.CapFollowsLimit)
        {
            _arena.Budget.SetLimit(_arena.Plan.CapPagesFor(reading.LimitBytes, _arena.System));
        }

        MemoryPressure before = _gauge.Level;
        if (!_responds || _gauge.Update(reading.ChargeBytes, reading.ChargeLimitBytes, reading.StalledPercent) == before)
        {
            return false;
        }

        if (ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Treatment))
        {
            ArenaEvents.Log.PressureChanged(
                _arena.Id, _gauge.Level, (long)(reading.ChargeBytes ?? 0), (long)(reading.ChargeLimitBytes ?? 0), reading.StalledPercent ?? 0);
        }

        return true;
    }
}
