using System;
using System.Numerics;

namespace LowLevel.Perf;

/// <summary>Times by their size: 32 classes to each power of two, so that a quantile is known within 3 %. One thread's, or added up.</summary>
internal sealed class LatencyHistogram
{
    private const int SubBits = 5;
    private const int Classes = (64 - SubBits) << SubBits;

    private readonly long[] counts = new long[Classes];

    /// <summary>How many.</summary>
    public long Count { get; private set; }

    /// <summary>The largest.</summary>
    public long Most { get; private set; }

    /// <summary>Counts one time, in whatever unit.</summary>
    public void Add(long value)
    {
        counts[ClassOf(value)]++;
        Count++;
        Most = Math.Max(Most, value);
    }

    /// <summary>Adds another's.</summary>
    public void Add(LatencyHistogram other)
    {
        for (int i = 0; i < Classes; i++)
        {
            counts[i] += other.counts[i];
        }

        Count += other.Count;
        Most = Math.Max(Most, other.Most);
    }

    /// <summary>The least value at or below which this share of all lie, rounded up to the end of its class.</summary>
    public long Quantile(double share)
    {
        ArgumentOutOfRangeException.ThrowIfZero(Count);
        long below = 0;
        long wanted = (long)Math.Ceiling(share * Count);
        for (int i = 0; i < Classes; i++)
        {
            below += counts[i];
            if (below >= wanted)
            {
                return Math.Min(LastOf(i), Most);
            }
        }

        return Most;
    }

    private static int ClassOf(long value)
    {
        int shift = Math.Max(0, BitOperations.Log2((ulong)value) - SubBits);
        return (shift << SubBits) + (int)(value >> shift);
    }

    private static long LastOf(int index)
    {
        int shift = Math.Max(0, (index >> SubBits) - 1);
        return ((index - ((long)shift << SubBits)) << shift) + ((1L << shift) - 1);
    }
}
