using System.Diagnostics.Tracing;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Blocks on the way between zones, threads' pages and users.</summary>
internal sealed partial class ArenaEvents
{
    /// <summary>A thread's pages took <paramref name="count"/> blocks from a zone. Told when the thread is out of its pages.</summary>
    [Event(6, Version = 1, Level = EventLevel.Verbose, Keywords = Keywords.Allocation, Message = "order {0}: {1} blocks of {2} taken from zone {3}, {4} us")]
    public void Refill(int order, int count, MigrateType type, int zone, double microseconds) => Batch(6, order, count, type, zone, microseconds);

    /// <summary>A thread's pages gave <paramref name="count"/> blocks back; the oldest of them to this zone.</summary>
    [Event(7, Version = 1, Level = EventLevel.Verbose, Keywords = Keywords.Allocation, Message = "order {0}: {1} blocks of {2} given back to zone {3}, {4} us")]
    public void Drain(int order, int count, MigrateType type, int zone, double microseconds) => Batch(7, order, count, type, zone, microseconds);

    /// <summary>No block of this order and type could be found, whatever was tried; <paramref name="freeBytes"/> were free in all.</summary>
    [Event(8, Level = EventLevel.Warning, Keywords = Keywords.Allocation, Message = "no block of order {0}, type {1}; {2} bytes free")]
    public unsafe void AllocationFailed(int order, MigrateType type, long freeBytes)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[3];
        Put(data, 0, &order);
        Put(data, 1, &type);
        Put(data, 2, &freeBytes);
        Write(8, 3, data);
    }

    /// <summary>An allocation that neither the thread's pages nor a refill of them could serve: a thread's first, one under shortage, or of an
    /// arena without threads' pages.</summary>
    [Event(12, Level = EventLevel.Verbose, Keywords = Keywords.Allocation, Message = "order {0}, type {1}: from zone {2} in {3} us")]
    public unsafe void SlowAllocation(int order, MigrateType type, int zone, double microseconds)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[4];
        Put(data, 0, &order);
        Put(data, 1, &type);
        Put(data, 2, &zone);
        Put(data, 3, &microseconds);
        Write(12, 4, data);
    }

    /// <summary>A thread had to yield its processor because a zone's lock was held. Waits of one operation are told together when it has
    /// let go of all locks: how many, for which zone (the last), how long in all.</summary>
    [Event(13, Level = EventLevel.Verbose, Keywords = Keywords.Allocation, Message = "zone {0}: {1} waits for its lock, {2} us")]
    public unsafe void LockWait(int zone, int waits, double microseconds)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[3];
        Put(data, 0, &zone);
        Put(data, 1, &waits);
        Put(data, 2, &microseconds);
        Write(13, 3, data);
    }

    [NonEvent]
    private unsafe void Batch(int id, int order, int count, MigrateType type, int zone, double microseconds)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[5];
        Put(data, 0, &order);
        Put(data, 1, &count);
        Put(data, 2, &type);
        Put(data, 3, &zone);
        Put(data, 4, &microseconds);
        Write(id, 5, data);
    }
}
