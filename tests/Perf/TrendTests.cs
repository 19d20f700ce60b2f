using System;
using System.Linq;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>What judges whether memory grows: it must see growth through noise, and see none where there is none.</summary>
public sealed class TrendTests
{
    [Fact]
    public void A_line_has_its_slope_and_no_doubt()
    {
        Trend trend = Trend.Of([.. Enumerable.Range(0, 50).Select(i => ((double)i, 7 + (3.0 * i)))]);
        Assert.Equal(3, trend.Slope, 9);
        Assert.Equal((3.0, 3.0), (Math.Round(trend.Low, 9), Math.Round(trend.High, 9)));
    }

    [Fact]
    public void Growth_is_seen_through_noise_and_wild_points()
    {
        Random random = new(4);
        Trend trend = Trend.Of([.. Enumerable.Range(0, 400).Select(i => ((double)i, i + (random.NextDouble() * 100) + (i % 40 == 0 ? 1e6 : 0)))]);
        Assert.InRange(trend.Slope, 0.8, 1.2);
        Assert.True(trend.Low > 0.5, $"{trend}");
    }

    [Fact]
    public void Noise_alone_is_no_growth()
    {
        for (int seed = 0; seed < 20; seed++)
        {
            Random random = new(seed);
            Trend trend = Trend.Of([.. Enumerable.Range(0, 400).Select(i => ((double)i, random.NextDouble() * 100))]);
            Assert.InRange(trend.Slope, -0.05, 0.05);
            Assert.InRange(trend.Low, -1, 0.01);
        }
    }

    [Fact]
    public void Many_points_are_thinned_out_and_keep_their_slope() =>
        Assert.Equal(2, Trend.Of([.. Enumerable.Range(0, 100_000).Select(i => ((double)i, 2.0 * i))]).Slope, 9);

    [Fact]
    public void Two_points_are_too_few() =>
        Assert.Contains("at least 3", Assert.Throws<ArgumentException>("points", () => Trend.Of([(0, 0), (1, 1)])).Message, StringComparison.Ordinal);

    [Fact]
    public void A_process_that_grows_by_a_byte_each_millisecond_is_told_off_and_one_that_stands_still_is_not()
    {
        StressLevels still = new([.. Enumerable.Range(0, 240).Select(i => (i * 5.0, 100e6 + (i % 7 * 1e5)))]);
        Assert.Null(still.FindGrowth());
        StressLevels growing = new([.. Enumerable.Range(0, 240).Select(i => (i * 5.0, 100e6 + (i * 5000 * 10.0)))]);
        Assert.Contains("34.33 MiB an hour", growing.FindGrowth(), StringComparison.Ordinal);
        StressLevels brief = new([.. Enumerable.Range(0, 20).Select(i => (i * 5.0, 100e6 + (i * 1e6)))]);
        Assert.Null(brief.FindGrowth());
    }

    [Fact]
    public void A_run_that_fills_something_at_its_beginning_does_not_grow()
    {
        StressLevels filled = new([.. Enumerable.Range(0, 240).Select(i => (i * 5.0, 100e6 + (Math.Min(i, 40) * 1e6)))]);
        Assert.Null(filled.FindGrowth());
    }
}
