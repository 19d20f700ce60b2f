using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.VhostUser;

namespace LowLevel.Interop.Host;

/// <summary>Where a guest's pages are dropped: in the files that it shares, or, where it drops for itself, in the books.</summary>
internal sealed class GuestPort(SharedGuest guest) : IDiscardPort
{
    /// <summary>The guest drops for itself. Set before a queue runs.</summary>
    public bool CountsOnly { get; set; }

    /// <inheritdoc/>
    public DiscardTotals Discard(ReadOnlySpan<GuestRange> ranges)
    {
        if (!CountsOnly)
        {
            return guest.Discard(ranges);
        }

        DiscardTotals totals = default;
        foreach (GuestRange range in ranges)
        {
            totals.DroppedBytes += range.Bytes;
        }

        return totals;
    }
}
