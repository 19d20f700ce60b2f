using System;

namespace LowLevel.Allocator;

/// <summary>How much free memory is worth keeping resident for longer than the delay. What is treated and then wanted again was treated in
/// vain and costs a fault; the kernel judges its page cache by the same signal (mm/workingset.c).
/// <code>
/// demand(e) = pages handed out in epoch e that had been in use before
/// stock     = min(the largest demand of two neighbouring epochs in the last window, taken / 16)
/// </code>
/// A program that does not come back for its memory keeps nothing; one whose demand goes up and down keeps what its last larger rise was,
/// at most a sixteenth of what it uses, and gives it back when a window has passed. Called by the holder of the treatment lock.</summary>
internal sealed class WorkingSet
{
    /// <summary>Epochs that the past counts for: 16 delays.</summary>
    public const int WindowEpochs = 32;

    /// <summary>The largest stock is the pages in use divided by this.</summary>
    public const int LargestShare = 16;

    private readonly ulong[] _demand = new ulong[WindowEpochs];
    private int _next;
    private ulong _last;

    /// <summary>Pages to keep resident and free.</summary>
    public ulong Stock { get; private set; }

    /// <summary>An epoch has ended.</summary>
    /// <param name="reused">Pages handed out in it that had been in use before.</param>
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
