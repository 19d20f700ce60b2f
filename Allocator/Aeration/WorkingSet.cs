using System;

namespace LowLevel.Allocator;

/// <summary>How much free memory is worth keeping resident. What was treated and is wanted again soon after was treated in vain: it costs
/// faults in the threads that take it. The kernel judges its page cache by the same signal (mm/workingset.c, refault distance).
/// <code>
/// demand(e) = pages handed out in epoch e that were treated less than a window before
/// stock     = min(the largest demand of two neighbouring epochs in the last window, taken / 8)
/// </code>
/// A program that does not come back for its memory has a stock of 0 and keeps nothing; one whose demand goes up and down keeps what its
/// last larger rise was, at most an eighth of what it uses. Called by the holder of the treatment lock.</summary>
internal sealed class WorkingSet
{
    /// <summary>Epochs that the past counts for: 16 delays.</summary>
    public const int WindowEpochs = 64;

    /// <summary>The largest stock as a share of the pages in use.</summary>
    public const int LargestShare = 16;

    private readonly ulong[] _demand = new ulong[WindowEpochs];
    private int _next;
    private ulong _last;

    /// <summary>Pages to keep resident and free.</summary>
    public ulong Stock { get; private set; }

    /// <summary>An epoch has ended.</summary>
    /// <param name="reused">Pages that came back soon in it.</param>
    /// <param name="taken">Pages in use.</param>
    public void Advance(ulong reused, ulong taken)
    {
        _demand[_next] = reused + _last;
        _next = (_next + 1) % WindowEpochs;
        _last = reused;
        ulong largest = 0;
        foreach (ulong demand in _demand)
        {
            largest = Math.Max(largest, demand);
        }

        Stock = Math.Min(largest, taken / LargestShare);
    }
}
