using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The levels below which a zone's free pages, and what is left under the arena's cap, must not fall: min is the reserve
/// (only <see cref="AllocationFlags.Atomic"/> goes below it), below low the worker drains and deflates, high is where that ends.
/// In pages.</summary>
internal readonly record struct Watermarks(ulong Min, ulong Low, ulong High)
{
    /// <summary>mm/page_alloc.c: min_free_kbytes = sqrt(16 * KiB), 128 KiB to 64 MiB; here also at most 1/64 of the bound, so that a
    /// small arena can still be filled. low = min + gap, high = min + 2 gap, gap = max(min / 4, bound / 1000).</summary>
    public static Watermarks For(ulong boundPages, ulong? minPages)
    {
        ulong kib = boundPages << (PageblockLimits.PageShift - 10);
        ulong formula = Math.Clamp((ulong)Math.Sqrt(16.0 * kib), 128, 65536) >> (PageblockLimits.PageShift - 10);
        ulong min = Math.Min(minPages ?? Math.Min(formula, boundPages / 64), boundPages);
        ulong gap = Math.Max(min / 4, boundPages / 1000);
        return new(min, min + gap, min + gap + gap);
    }

    /// <summary>One zone's share.</summary>
    public Watermarks Share(ulong zonePages, ulong allPages) =>
        new(Part(Min, zonePages, allPages), Part(Low, zonePages, allPages), Part(High, zonePages, allPages));

    /// <summary>The pages that a request must leave: half for High, a further quarter off for Harder (4.9 of the kernel's rules),
    /// none for NoWatermarks.</summary>
    public static ulong Floor(ulong mark, AllocFlags flags)
    {
        if ((flags & AllocFlags.NoWatermarks) != 0)
        {
            return 0;
        }

        if ((flags & AllocFlags.High) != 0)
        {
            mark -= mark / 2;
        }

        return (flags & AllocFlags.Harder) != 0 ? mark - (mark / 4) : mark;
    }

    private static ulong Part(ulong mark, ulong zonePages, ulong allPages) => (ulong)((UInt128)mark * zonePages / allPages);
}
