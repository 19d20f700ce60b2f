using System;
using System.Diagnostics;
using System.Diagnostics.Tracing;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;

namespace LowLevel.Allocator;

/// <summary>The arena's memory as the host drops it, with an event for each drop. Calls are told apart by a count before and after: the host
/// serves its queues one by one, so they are this drop's.</summary>
internal sealed class TracedBacking(GuestBacking backing) : IGuestBacking
{
    /// <inheritdoc/>
    public ulong Bytes => backing.Bytes;

    /// <inheritdoc/>
    public bool LeavesZero => backing.LeavesZero;

    /// <inheritdoc/>
    public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped) =>
        ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Host)
            ? DiscardAndTell(ranges, dropped)
            : backing.Discard(ranges, dropped);

    private Errno DiscardAndTell(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped)
    {
        long calls = backing.Calls;
        long began = Stopwatch.GetTimestamp();
        Errno error = backing.Discard(ranges, dropped);
        double microseconds = Stopwatch.GetElapsedTime(began).TotalMicroseconds;
        ulong bytes = 0;
        foreach (ulong one in dropped[..ranges.Length])
        {
            bytes += one;
        }

        ArenaEvents.Log.Discard(ranges.Length, (long)bytes, (int)(backing.Calls - calls), (int)error, microseconds);
        return error;
    }
}
