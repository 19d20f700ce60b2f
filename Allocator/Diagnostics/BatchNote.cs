using System.Diagnostics;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What a tracer will be told of one batch or slow allocation, when it began and where. Told after the thread has left its pages and
/// all locks: a listener may allocate and free, and inside it would find a stack half changed. So would the waits for zone locks, which are told with
/// it. All zero while nobody traces.</summary>
internal struct BatchNote
{
    private long _began;
    private int _zone;

    /// <summary>Blocks moved; none, and nothing is told.</summary>
    public int Count { get; set; }

    /// <summary>It begins.</summary>
    public static BatchNote Begin() => ArenaEvents.TracesAllocation ? new BatchNote { _began = Stopwatch.GetTimestamp() } : default;

    /// <summary>It begins, with a zone.</summary>
    public static BatchNote Begin(Zone zone) =>
        ArenaEvents.TracesAllocation ? new BatchNote { _began = Stopwatch.GetTimestamp(), _zone = zone.Number } : default;

    /// <summary>Blocks came from a zone into a thread's pages.</summary>
    public readonly void TellRefill(Order order, MigrateType type)
    {
        if (_began != 0 && Count != 0)
        {
            ArenaEvents.Log.Refill(order.Value, Count, type, _zone, Microseconds);
            ZoneWaits.Tell();
        }
    }

    /// <summary>Blocks went from a thread's pages to zones.</summary>
    public readonly void TellDrain(Order order, MigrateType type)
    {
        if (_began != 0 && Count != 0)
        {
            ArenaEvents.Log.Drain(order.Value, Count, type, _zone, Microseconds);
            ZoneWaits.Tell();
        }
    }

    /// <summary>One block came the long way.</summary>
    public readonly void TellSlow(Order order, MigrateType type, Zone zone)
    {
        if (_began != 0)
        {
            ArenaEvents.Log.SlowAllocation(order.Value, type, zone.Number, Microseconds);
            ZoneWaits.Tell();
        }
    }

    private readonly double Microseconds => Stopwatch.GetElapsedTime(_began).TotalMicroseconds;
}
