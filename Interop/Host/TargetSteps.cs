using System;

namespace LowLevel.Interop.Host;

/// <summary>How a balloon's target follows an allowance: memory is given back at once, and taken in steps, so that a guest that begins to work
/// has time to say so. Small differences change nothing: each change costs the guest work.
/// <code>
/// wanted = total - allowance
/// |wanted - target| &lt;= min(total / 64, 16 MiB)  ->  target                            (but a wanted 0 is always reached)
/// wanted &lt; target                               ->  wanted
/// wanted &gt; target                               ->  min(wanted, target + total / 8)
/// </code></summary>
internal static class TargetSteps
{
    /// <summary>Shift from bytes to the balloon's pages, whatever the guest's own pages are.</summary>
    public const int PageShift = 12;

    private const ulong SlackPagesMax = 16 << (20 - PageShift);
    private const ulong SlackShare = 64;
    private const ulong StepShare = 8;

    /// <summary>The next target.</summary>
    /// <param name="target">The target now, pages.</param>
    /// <param name="total">The guest's memory, bytes.</param>
    /// <param name="allowance">What it may have, bytes.</param>
    public static uint Next(uint target, ulong total, ulong allowance)
    {
        ulong pages = total >> PageShift;
        ulong wanted = Math.Min((total - Math.Min(allowance, total)) >> PageShift, uint.MaxValue);
        ulong difference = wanted > target ? wanted - target : target - wanted;
        if (difference <= Math.Min(pages / SlackShare, SlackPagesMax) && wanted != 0)
        {
            return target;
        }

        return (uint)Math.Min(wanted, target + Math.Max(pages / StepShare, 1));
    }
}
