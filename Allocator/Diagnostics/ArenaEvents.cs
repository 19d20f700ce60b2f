using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Tracing;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What an arena tells a tracer, as the EventSource "LowLevel-Allocator". The caller asks <c>IsEnabled</c> with the
/// event's level and keyword before it gathers the arguments, so that an unwatched arena pays one load and one branch:
/// <code>if (ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Treatment)) ArenaEvents.Log.Stage(...);</code>
/// Numbers of events are a contract with recorded traces: a new event takes a new number, an event that goes leaves its number unused.</summary>
/// <remarks>A keyword that an event names but <see cref="Keywords"/> lacks silences the whole source, without an exception: a test
/// listens to every event. Arguments are written from the stack (EventData, no boxing); safe from any thread.</remarks>
[EventSource(Name = SourceName)]
internal sealed partial class ArenaEvents : EventSource
{
    /// <summary>The name that tracers enable.</summary>
    public const string SourceName = "LowLevel-Allocator";

    /// <summary>The only instance.</summary>
    public static readonly ArenaEvents Log = new();

    private ArenaCounters? _counters;

    private ArenaEvents()
    {
    }

    /// <summary>Whether somebody listens to single batches and waits of the allocator.</summary>
    public static bool TracesAllocation => Log.IsEnabled(EventLevel.Verbose, Keywords.Allocation);

    /// <summary>Whether somebody listens to single pageblocks.</summary>
    public static bool TracesPageblocks => Log.IsEnabled(EventLevel.Verbose, Keywords.Treatment);

    /// <summary>Whether somebody listens to reports.</summary>
    public static bool TracesReports => Log.IsEnabled(EventLevel.Informational, Keywords.Ring);

    /// <summary>Arena <paramref name="arena"/> (numbered from 1 within the process) was reserved with this many bytes and zones.</summary>
    [Event(1, Level = EventLevel.Informational, Keywords = Keywords.Lifecycle, Message = "arena {0}: {1} bytes in {2} zones")]
    public unsafe void ArenaCreated(int arena, long bytes, int zones)
    {
        // Sound: WriteEventCore copies before it returns, and all that the entries point to lives on this stack until then.
        EventData* data = stackalloc EventData[3];
        Put(data, 0, &arena);
        Put(data, 1, &bytes);
        Put(data, 2, &zones);
        Write(1, 3, data);
    }

    /// <summary>Arena <paramref name="arena"/> refuses new work; <paramref name="bytes"/> were still in users' hands.</summary>
    [Event(2, Level = EventLevel.Informational, Keywords = Keywords.Lifecycle, Message = "arena {0} disposed, {1} bytes still allocated")]
    public unsafe void ArenaDisposed(int arena, long bytes)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[2];
        Put(data, 0, &arena);
        Put(data, 1, &bytes);
        Write(2, 2, data);
    }

    /// <summary>One stage of a zone's reactor has ended: the order that the round treats (-1 where a stage has none), the pages
    /// (4 KiB) and blocks it moved, and how long it took. Idle: the time between two rounds.</summary>
    [Event(3, Level = EventLevel.Informational, Keywords = Keywords.Treatment, Message = "{0}: zone {1}, order {2}, {3} pages in {4} blocks, {5} us")]
    public unsafe void Stage(Stage stage, int zone, int order, long pages, int blocks, double microseconds)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[6];
        Put(data, 0, &stage);
        Put(data, 1, &zone);
        Put(data, 2, &order);
        Put(data, 3, &pages);
        Put(data, 4, &blocks);
        Put(data, 5, &microseconds);
        Write(3, 6, data);
    }

    /// <summary>A batch came back raw or not at all; <paramref name="reason"/> says why (refused, failed, timed out, revoked).</summary>
    [Event(4, Level = EventLevel.Warning, Keywords = Keywords.Treatment | Keywords.Ring, Message = "batch lost: {0}")]
    public unsafe void BatchLost(string reason)
    {
        // Sound: the string is pinned while WriteEventCore copies it, terminating zero included.
        fixed (char* text = reason)
        {
            EventData data = new() { DataPointer = (nint)text, Size = (reason.Length + 1) * sizeof(char) };
            Write(4, 1, &data);
        }
    }

    /// <summary>The raw blocks of an order have reached the mark that starts a pass early.</summary>
    [Event(5, Level = EventLevel.Verbose, Keywords = Keywords.Treatment, Message = "zone {0}, order {1}: {2} raw blocks")]
    public unsafe void HighWaterMark(int zone, int order, long raw)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[3];
        Put(data, 0, &zone);
        Put(data, 1, &order);
        Put(data, 2, &raw);
        Write(5, 3, data);
    }

    /// <summary>A pageblock of which holes will be dropped was advised against huge pages; <paramref name="small"/> are in all.</summary>
    [Event(18, Level = EventLevel.Verbose, Keywords = Keywords.Treatment, Message = "zone {0}: pageblock {1} is to be small, {2} in all")]
    public unsafe void PageblockDivided(int zone, long pageblock, int small)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[3];
        Put(data, 0, &zone);
        Put(data, 1, &pageblock);
        Put(data, 2, &small);
        Write(18, 3, data);
    }

    /// <summary>The kernel was asked to split the huge page of a pageblock, of which holes were dropped.</summary>
    [Event(19, Level = EventLevel.Verbose, Keywords = Keywords.Treatment, Message = "pageblock {0}: huge page split")]
    public unsafe void HugePageSplit(long pageblock)
    {
        // Sound: as in ArenaCreated.
        EventData data = new() { DataPointer = (nint)(&pageblock), Size = sizeof(long) };
        Write(19, 1, &data);
    }

    /// <summary>Pageblocks that had been small are free as a whole and may be huge pages again; <paramref name="small"/> are left.</summary>
    [Event(20, Level = EventLevel.Verbose, Keywords = Keywords.Treatment, Message = "zone {0}: pageblock {1} may be huge again, {2} are small")]
    public unsafe void PageblockRestored(int zone, long pageblock, int small)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[3];
        Put(data, 0, &zone);
        Put(data, 1, &pageblock);
        Put(data, 2, &small);
        Write(20, 3, data);
    }

    /// <summary>A listener comes (perhaps from within the base constructor, where a session waits for this source): the counters begin.</summary>
    protected override void OnEventCommand(EventCommandEventArgs command)
    {
        if (command.Command == EventCommand.Enable)
        {
            _counters ??= new ArenaCounters(this);
        }
    }

    /// <summary>A pool's buffer of <paramref name="bytes"/> was never returned and nobody can any more; the stack of its rent.</summary>
    [Event(22, Level = EventLevel.Warning, Keywords = Keywords.Allocation, Message = "{0} bytes leaked, rented {1}")]
    public void MemoryLeaked(long bytes, string rentedAt) => Told(22, bytes, rentedAt);

    /// <summary>A pool's buffer of <paramref name="bytes"/> was returned again; the stack of its first return.</summary>
    [Event(23, Level = EventLevel.Warning, Keywords = Keywords.Allocation, Message = "{0} bytes returned again, returned before {1}")]
    public void ReturnedTwice(long bytes, string firstReturnAt) => Told(23, bytes, firstReturnAt);

    /// <summary>Arena <paramref name="arena"/> found memory to be shorter or less short than before, and treats sooner or later from now on:
    /// bytes charged of the bytes allowed (0 where not told), and stalls in percent of the last 10 s.</summary>
    [Event(21, Level = EventLevel.Informational, Keywords = Keywords.Treatment, Message = "arena {0}: pressure {1}; {2} of {3} bytes, stalled {4} %")]
    public unsafe void PressureChanged(int arena, MemoryPressure pressure, long charge, long limit, double stalledPercent)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[5];
        Put(data, 0, &arena);
        Put(data, 1, &pressure);
        Put(data, 2, &charge);
        Put(data, 3, &limit);
        Put(data, 4, &stalledPercent);
        Write(21, 5, data);
    }

    [NonEvent]
    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "Every argument of every event is a number, an enumeration or a string.")]
    private unsafe void Write(int id, int count, EventData* data) => WriteEventCore(id, count, data);

    [NonEvent]
    private unsafe void Told(int id, long bytes, string text)
    {
        // Sound: as in BatchLost.
        fixed (char* characters = text)
        {
            EventData* data = stackalloc EventData[2];
            Put(data, 0, &bytes);
            data[1] = new EventData { DataPointer = (nint)characters, Size = (text.Length + 1) * sizeof(char) };
            Write(id, 2, data);
        }
    }

    private static unsafe void Put<T>(EventData* data, int index, T* value)
        where T : unmanaged
    {
        data[index] = new EventData { DataPointer = (nint)value, Size = sizeof(T) };
    }

    /// <summary>What a tracer selects by. Each bit that an event above names stands here.</summary>
    public static class Keywords
    {
        /// <summary>Arenas come and go.</summary>
        public const EventKeywords Lifecycle = (EventKeywords)0x01;

        /// <summary>Blocks between zones and threads' pages, allocations that are slow or fail, waits for a zone's lock.</summary>
        public const EventKeywords Allocation = (EventKeywords)0x02;

        /// <summary>The reactor's stages, marks and losses.</summary>
        public const EventKeywords Treatment = (EventKeywords)0x04;

        /// <summary>The virtqueues between driver and device.</summary>
        public const EventKeywords Ring = (EventKeywords)0x08;

        /// <summary>The balloon: what the host takes and gives.</summary>
        public const EventKeywords Host = (EventKeywords)0x10;
    }
}
