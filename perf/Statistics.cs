using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Median with what surrounds it.</summary>
/// <param name="Median">Of the sample.</param>
/// <param name="Low">Lower end of the interval that holds the true median with at least 95 % confidence.</param>
/// <param name="High">Upper end.</param>
/// <param name="Least">Smallest value.</param>
/// <param name="Most">Largest value.</param>
internal readonly record struct Summary(double Median, double Low, double High, double Least, double Most);

/// <summary>Medians, because times have long tails; intervals from the order of the values alone (binomial), because nothing is
/// known of their distribution.</summary>
internal static class Statistics
{
    public static Summary Summarise(IReadOnlyCollection<double> values)
    {
        if (values.Count == 0)
        {
            throw new ArgumentException("no values; allowed: at least one", nameof(values));
        }

        double[] sorted = [.. values.Order()];
        int rank = IntervalRank(sorted.Length);
        double median = (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
        return new Summary(median, sorted[rank], sorted[^(rank + 1)], sorted[0], sorted[^1]);
    }

    /// <summary>The largest r such that the r-th smallest (from 0) and the r-th largest of n values enclose the median with at least
    /// 95 % confidence: the chance of at most r heads in n throws is at most 2.5 %. Below 6 values there is no such interval;
    /// then the whole range, which is all there is.</summary>
    public static int IntervalRank(int count)
    {
        double chance = Math.Pow(0.5, count);
        double tail = chance;
        int rank = -1;
        for (int heads = 0; heads < count / 2 && tail <= 0.025; heads++)
        {
            rank = heads;
            chance = chance * (count - heads) / (heads + 1);
            tail += chance;
        }

        return Math.Max(rank, 0);
    }
}
