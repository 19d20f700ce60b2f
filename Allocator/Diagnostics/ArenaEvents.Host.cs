using System.Diagnostics.Tracing;

namespace LowLevel.Allocator;

/// <summary>The ring and the host behind it.</summary>
internal sealed partial class ArenaEvents
{
    /// <summary>The driver reset the balloon device (VIRTIO 1.2, 2.1): it was lost, broke the protocol, or the arena ends.</summary>
    [Event(9, Level = EventLevel.Warning, Keywords = Keywords.Ring | Keywords.Host, Message = "device reset")]
    public void DeviceReset() => WriteEvent(9);

    /// <summary>The balloon took <paramref name="pages"/> pages (4 KiB) from the arena for the host.</summary>
    [Event(10, Level = EventLevel.Informational, Keywords = Keywords.Host, Message = "{0} pages inflated")]
    public unsafe void Inflate(long pages)
    {
        // Sound: as in ArenaCreated.
        EventData data = new() { DataPointer = (nint)(&pages), Size = sizeof(long) };
        Write(10, 1, &data);
    }

    /// <summary>The balloon gave <paramref name="pages"/> pages (4 KiB) back to the arena.</summary>
    [Event(11, Level = EventLevel.Informational, Keywords = Keywords.Host, Message = "{0} pages deflated")]
    public unsafe void Deflate(long pages)
    {
        // Sound: as in ArenaCreated.
        EventData data = new() { DataPointer = (nint)(&pages), Size = sizeof(long) };
        Write(11, 1, &data);
    }

    /// <summary>A batch was published on the reporting queue: its slot, ranges and bytes.</summary>
    [Event(14, Level = EventLevel.Informational, Keywords = Keywords.Ring, Message = "report {0}: {1} ranges, {2} bytes")]
    public unsafe void ReportSubmitted(int slot, int ranges, long bytes)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[3];
        Put(data, 0, &slot);
        Put(data, 1, &ranges);
        Put(data, 2, &bytes);
        Write(14, 3, data);
    }

    /// <summary>A report came back: the time is that from its publication to this answer.</summary>
    [Event(15, Level = EventLevel.Informational, Keywords = Keywords.Ring, Message = "report {0}: {1} ranges, {2} bytes, {3} after {4} us")]
    public unsafe void ReportSettled(int slot, int ranges, long bytes, SettleResult result, double microseconds)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[5];
        Put(data, 0, &slot);
        Put(data, 1, &ranges);
        Put(data, 2, &bytes);
        Put(data, 3, &result);
        Put(data, 4, &microseconds);
        Write(15, 5, data);
    }

    /// <summary>The driver took a report back that was not answered; false: the device may still touch its blocks.</summary>
    [Event(16, Level = EventLevel.Warning, Keywords = Keywords.Ring | Keywords.Host, Message = "report {0} revoked: {1}")]
    public unsafe void GateRevoked(int slot, bool released)
    {
        // Sound: as in ArenaCreated. A boolean is four bytes on the wire.
        int word = released ? 1 : 0;
        EventData* data = stackalloc EventData[2];
        Put(data, 0, &slot);
        Put(data, 1, &word);
        Write(16, 2, data);
    }

    /// <summary>The host in this process dropped memory: bytes of so many ranges in so many calls; the last error's number, 0 for none.</summary>
    [Event(17, Level = EventLevel.Informational, Keywords = Keywords.Host, Message = "{1} bytes in {0} ranges dropped by {2} calls, errno {3}, {4} us")]
    public unsafe void Discard(int ranges, long bytes, int calls, int errno, double microseconds)
    {
        // Sound: as in ArenaCreated.
        EventData* data = stackalloc EventData[5];
        Put(data, 0, &ranges);
        Put(data, 1, &bytes);
        Put(data, 2, &calls);
        Put(data, 3, &errno);
        Put(data, 4, &microseconds);
        Write(17, 5, data);
    }
}
