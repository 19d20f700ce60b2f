using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>When treatment starts early and when a zone has had enough (patch 8): a zone is flagged when one order has at least
/// twice the reactor's capacity in raw blocks, and unflagged when the orders treated have less than the capacity left.
/// <code>references = zones over the mark + 1 while a batch is being built or is in flight</code>
/// A flag only makes treatment early; what rests below the mark is treated by the timed pass.</summary>
internal sealed class HighWaterMarks
{
    private readonly Order _least;
    private readonly bool _actsOnYoung;
    private ulong _start;
    private ulong _stop;
    private int _references;

    /// <summary>The marks of a reactor of this capacity that treats this order and above.</summary>
    /// <param name="least">The least order treated.</param>
    /// <param name="capacity">Blocks of a batch.</param>
    /// <param name="actsOnYoung">Whoever is told treats what has not rested too (the freeing thread).</param>
    public HighWaterMarks(Order least, int capacity, bool actsOnYoung = false)
    {
        _least = least;
        _actsOnYoung = actsOnYoung;
        Follow(capacity);
    }

    /// <summary>The least order treated.</summary>
    public Order Least => _least;

    /// <summary>Moves the marks with the reactor's capacity, which the device may lower or raise between batches. Readers may see the
    /// old ones once more: marks are hints about when, not about what.</summary>
    public void Follow(int capacity)
    {
        Volatile.Write(ref _start, 2ul * (ulong)capacity);
        Volatile.Write(ref _stop, (ulong)capacity);
    }

    /// <summary>Zones over the mark, plus one while a batch is under way.</summary>
    public int References => Volatile.Read(ref _references);

    /// <summary>Called at the end of the free path for a raw block of an order that is treated, zone lock held. True: the zone has just
    /// reached the mark and there is something to do, so that the caller is to start treatment once it has dropped the lock. A program
    /// that frees and takes the same memory again and again reaches the mark with every round, and nothing in it rests: its zone is
    /// flagged, and nobody is woken for it.</summary>
    public bool IsReached(Zone zone, Order order, MigrateType type)
    {
        if (order < _least || type == MigrateType.Isolate || zone.IsOverHighWaterMark || zone.Area(order).Treatable < _start)
        {
            return false;
        }

        zone.IsOverHighWaterMark = true;
        Interlocked.Increment(ref _references);
        return _actsOnYoung || zone.OldestHasRested(order, type);
    }

    /// <summary>Takes the flag back where little is left. Zone lock held. True: it is not flagged (any more).</summary>
    public bool SettleZone(Zone zone)
    {
        if (zone.IsOverHighWaterMark && zone.RawBlocks(_least) < _stop)
        {
            Clear(zone);
        }

        return !zone.IsOverHighWaterMark;
    }

    /// <summary>Takes the flag back whatever is left: treatment stops. Zone lock held.</summary>
    public void Clear(Zone zone)
    {
        if (zone.IsOverHighWaterMark)
        {
            zone.IsOverHighWaterMark = false;
            Interlocked.Decrement(ref _references);
        }
    }

    /// <summary>A batch begins.</summary>
    public void Hold() => Interlocked.Increment(ref _references);

    /// <summary>It has ended. True: nothing refers to the reactor any more, it is idle.</summary>
    public bool Release() => Interlocked.Decrement(ref _references) == 0;
}
