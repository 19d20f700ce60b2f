using System;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Interop.Balloon;

/// <summary>The gates of the requests that may be with a device at one time, one gate each: every request is closed, waited for and
/// given up by itself, whatever the device does with the others. The device does not say which request it means; it says which memory,
/// and no two requests have the same.</summary>
internal sealed class DiscardGates : IDiscardPort
{
    private readonly DiscardGate[] _gates;
    private long _refused;

    /// <summary>Closed gates.</summary>
    /// <param name="backing">What they lead to.</param>
    /// <param name="capacity">The most blocks of one request.</param>
    /// <param name="requests">Requests at one time.</param>
    public DiscardGates(IGuestBacking backing, int capacity, int requests = 1)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(requests);
        _gates = new DiscardGate[requests];
        for (int i = 0; i < requests; i++)
        {
            _gates[i] = new DiscardGate(backing, capacity);
        }
    }

    /// <summary>Requests at one time.</summary>
    public int Count => _gates.Length;

    /// <summary>The gate of one request.</summary>
    public DiscardGate this[int request] => _gates[request];

    /// <summary>Ranges refused since the start. Any thread.</summary>
    public long Refused => Interlocked.Read(ref _refused);

    /// <summary>Ranges that the system refused, wholly or in part, since the start. Any thread.</summary>
    public long Failed => _gates.Sum(static gate => gate.Failed);

    /// <summary>Bytes dropped since the start. Any thread.</summary>
    public long DroppedBytes => _gates.Sum(static gate => gate.DroppedBytes);

    /// <summary>The last error of the system at any gate; None before the first.</summary>
    public Errno LastError => _gates.Select(static gate => gate.LastError).LastOrDefault(static error => error != Errno.None);

    /// <inheritdoc/>
    public DiscardTotals Discard(ReadOnlySpan<GuestRange> ranges)
    {
        DiscardTotals totals = default;
        while (!ranges.IsEmpty)
        {
            int run = 0;
            for (int i = 0; i < _gates.Length && run == 0; i++)
            {
                run = _gates[i].TryDiscard(ranges, ref totals);
            }

            if (run == 0)
            {
                totals.Refused++;
                Interlocked.Increment(ref _refused);
                run = 1;
            }

            ranges = ranges[run..];
        }

        return totals;
    }

    /// <summary>Drops one range.</summary>
    public DiscardOutcome Discard(ulong address, ulong bytes)
    {
        DiscardTotals totals = Discard([new GuestRange(address, bytes)]);
        return totals.Refused != 0 ? DiscardOutcome.Refused : totals.Failed != 0 ? DiscardOutcome.Failed : DiscardOutcome.Dropped;
    }
}
