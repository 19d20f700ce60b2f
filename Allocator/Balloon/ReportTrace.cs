using System;
using System.Diagnostics;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>When each report in flight was published and how large it is, for its events. Kept only while somebody listens: a report whose
/// publication nobody heard is not told when it settles. Used by the holder of the treatment lock.</summary>
internal sealed class ReportTrace(int slots)
{
    private readonly (long Began, int Ranges, long Bytes)[] _reports = new (long, int, long)[slots];

    /// <summary>A report was published; the device was not notified yet.</summary>
    public void Submitted(int slot, ReadOnlySpan<PageRange> batch)
    {
        _reports[slot] = default;
        if (ArenaEvents.TracesReports)
        {
            long pages = 0;
            foreach (PageRange range in batch)
            {
                pages += range.Pages;
            }

            _reports[slot] = (Stopwatch.GetTimestamp(), batch.Length, pages << PageblockLimits.PageShift);
            ArenaEvents.Log.ReportSubmitted(slot, batch.Length, pages << PageblockLimits.PageShift);
        }
    }

    /// <summary>A report came back; -1: none did.</summary>
    public void Settled(int slot, SettleResult result)
    {
        if (slot >= 0 && _reports[slot].Began != 0 && ArenaEvents.TracesReports)
        {
            (long began, int ranges, long bytes) = _reports[slot];
            _reports[slot] = default;
            ArenaEvents.Log.ReportSettled(slot, ranges, bytes, result, Stopwatch.GetElapsedTime(began).TotalMicroseconds);
        }
    }
}
