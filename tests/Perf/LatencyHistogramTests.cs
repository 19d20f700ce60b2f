using System;
using System.Linq;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>Quantiles against a sorted list.</summary>
public sealed class LatencyHistogramTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Each_quantile_is_that_of_the_sorted_values_within_a_class(int seed)
    {
        Random random = new(seed);
        long[] values = [.. Enumerable.Range(0, 20_000).Select(_ => random.NextInt64(1L << random.Next(1, 40)))];
        LatencyHistogram one = new();
        LatencyHistogram other = new();
        for (int i = 0; i < values.Length; i++)
        {
            (i % 3 == 0 ? one : other).Add(values[i]);
        }

        one.Add(other);
        Array.Sort(values);
        Assert.Equal((values.Length, values[^1]), (one.Count, one.Most));
        foreach (double share in new[] { 0.0001, 0.1, 0.5, 0.9, 0.99, 0.999, 1 })
        {
            long exact = values[(int)Math.Ceiling(share * values.Length) - 1];
            Assert.InRange(one.Quantile(share), exact, exact + (exact / 32) + 1);
        }
    }

    [Fact]
    public void Small_values_are_exact_and_an_empty_one_has_no_quantile()
    {
        LatencyHistogram histogram = new();
        Assert.Throws<ArgumentOutOfRangeException>(() => histogram.Quantile(0.5));
        foreach (long value in new long[] { 0, 1, 31, 32, 63 })
        {
            histogram.Add(value);
        }

        Assert.Equal([0, 1, 31, 32, 63], new[] { 0.2, 0.4, 0.6, 0.8, 1 }.Select(histogram.Quantile));
        histogram.Add(long.MaxValue);
        Assert.Equal(long.MaxValue, histogram.Quantile(1));
    }
}
