using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class DemandCurveTests
{
    private const string Header = "seconds,used_bytes,page_cache_bytes\n";

    [Fact]
    public void A_step_holds_until_the_next_and_the_last_lasts_no_time()
    {
        DemandCurve curve = Parse("10,1000,100\n12,3000,200\n12.5,500,0\n");
        Assert.Equal(2.5, curve.Seconds);
        Assert.Equal(0, curve.Steps[0].Seconds);
        Assert.Equal(900, curve.Steps[0].JobBytes);
        Assert.Equal(3000, curve.PeakBytes);
        Assert.Equal((1000 * 2) + (3000 * 0.5), curve.UsedIntegral);
    }

    [Fact]
    public void Scaling_divides_time_by_the_speed_and_multiplies_bytes()
    {
        DemandCurve curve = Parse("0,1000,100\n60,3000,200\n").Scaled(0.5, 60);
        Assert.Equal(1, curve.Seconds);
        Assert.Equal(500, curve.UsedIntegral);
        Assert.Equal(100, curve.Steps[1].CacheBytes);
    }

    [Theory]
    [InlineData("0,1,1\nrubbish\n", 3)]
    [InlineData("0,1,1\n\n2,1,1\n", 3)]
    [InlineData("0,1,1\n1,2\n", 3)]
    [InlineData("0,1,1\n1,2,1,0\n", 3)]
    [InlineData("0,1,1\n1,-2,0\n", 3)]
    [InlineData("0,1,1\n1,NaN,0\n", 3)]
    [InlineData("0,1,1\n1,1e30,0\n", 3)]
    [InlineData("0,1,1\n1,99999999999999999999,0\n", 3)]
    [InlineData("0,1,1\n5,1,1\n5,1,1\n", 4)]
    [InlineData("0,1,1\n5,1,1\n4,1,1\n", 4)]
    [InlineData("0,1,2\n1,1,1\n", 2)]
    public void A_line_that_is_no_demand_is_refused_with_its_number(string lines, int number)
    {
        UsageException refused = Assert.Throws<UsageException>(() => Parse(lines));
        Assert.Contains($"line {number} ", refused.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("seconds,used_bytes\n0,1\n")]
    [InlineData("0,1,1\n1,1,1\n")]
    [InlineData(Header)]
    [InlineData(Header + "0,1,1\n")]
    public void A_text_without_its_heading_or_with_less_than_two_lines_is_refused(string text) =>
        Assert.Throws<UsageException>(() => DemandCurve.Parse(new StringReader(text)));

    [Fact]
    public void The_recorded_build_is_read_whole()
    {
        DemandCurve curve = DemandCurve.Load(Path.Combine(AppContext.BaseDirectory, "Demand", "clang-build.csv"));
        Assert.Equal(1780, curve.Steps.Count);
        Assert.Equal(3048.66, curve.Seconds, 2);
        double mean = curve.UsedIntegral / curve.Seconds / (1 << 30);
        Assert.InRange(mean, 6.06, 6.08);
    }

    [Fact]
    public void A_footprint_of_exactly_what_is_used_is_one_and_ends_with_the_curve()
    {
        var integral = new FootprintIntegral(2);
        integral.Add(0, new Usage(100, 50));
        integral.Add(1, new Usage(100, 50));
        integral.Add(4, new Usage(400, 50));
        Assert.Equal(100 + 150, integral.Rss, 6);
        Assert.Equal(100, integral.Charge!.Value, 6);
        integral.Add(5, new Usage(1000, 1000));
        Assert.Equal(250, integral.Rss, 6);
    }

    [Fact]
    public void One_sample_without_a_charge_leaves_no_footprint_by_charge()
    {
        var integral = new FootprintIntegral(2);
        integral.Add(0, new Usage(100, null));
        integral.Add(1, new Usage(100, null));
        Assert.Null(integral.Charge);
        Assert.Equal(100, integral.Rss, 6);
    }

    private static DemandCurve Parse(string lines) => DemandCurve.Parse(new StringReader(Header + lines));
}
