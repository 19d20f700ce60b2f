using System;
using System.Linq;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>From readings to a level, and from a level to a pace.</summary>
public sealed class PressureGaugeTests
{
    [Theory]
    [InlineData("89", "N")]
    [InlineData("90 85 84", "SSN")]
    [InlineData("84 86 89 90 89", "NNNSS")]
    [InlineData("96 97 94 93 89 85 84", "SHHSSSN")]
    [InlineData("97 50", "HN")]
    [InlineData("100 101 500", "HHH")]
    public void The_charge_s_share_of_the_limit_has_thresholds_with_slack(string percent, string levels)
    {
        PressureGauge gauge = new();
        string judged = string.Concat(percent.Split(' ').Select(p => Letter(gauge.Update(ulong.Parse(p, null) << 24, 100ul << 24, null))));
        Assert.Equal(levels, judged);
    }

    [Theory]
    [InlineData("4.99 5 2 1.99", "NSSN")]
    [InlineData("19.99 20 10 9.99 2 0", "SHHSSN")]
    [InlineData("100 0", "HN")]
    public void Stalls_have_their_own(string percent, string levels)
    {
        PressureGauge gauge = new();
        string judged = string.Concat(percent.Split(' ').Select(
            p => Letter(gauge.Update(null, null, double.Parse(p, System.Globalization.CultureInfo.InvariantCulture)))));
        Assert.Equal(levels, judged);
    }

    [Fact]
    public void The_higher_of_the_two_counts_and_neither_holds_the_other_up()
    {
        PressureGauge gauge = new();
        Assert.Equal(MemoryPressure.High, gauge.Update(90, 100, 30));
        Assert.Equal(MemoryPressure.Some, gauge.Update(90, 100, 0));
        Assert.Equal(MemoryPressure.High, gauge.Update(98, 100, 3));
        Assert.Equal(MemoryPressure.None, gauge.Update(10, 100, 3));
    }

    [Fact]
    public void What_is_not_told_is_no_pressure_and_a_limit_of_nothing_is()
    {
        PressureGauge gauge = new();
        Assert.Equal(MemoryPressure.None, gauge.Update(null, null, null));
        Assert.Equal(MemoryPressure.None, gauge.Update(ulong.MaxValue, null, null));
        Assert.Equal(MemoryPressure.None, gauge.Update(null, 1, null));
        Assert.Equal(MemoryPressure.High, gauge.Update(0, 0, null));
        Assert.Equal(MemoryPressure.None, gauge.Update(null, null, null)); // files that vanish end it
    }

    [Theory]
    [InlineData(1000, MemoryPressure.None, 250, 5ul, true)]
    [InlineData(1000, MemoryPressure.Some, 62.5, 5ul, true)]
    [InlineData(1000, MemoryPressure.High, 250, 0ul, false)]
    [InlineData(100, MemoryPressure.High, 25, 0ul, false)]
    [InlineData(86_400_000, MemoryPressure.None, 21_600_000, 5ul, true)]
    [InlineData(86_400_000, MemoryPressure.Some, 5_400_000, 5ul, true)]
    [InlineData(86_400_000, MemoryPressure.High, 250, 0ul, false)]
    [InlineData(2, MemoryPressure.Some, 1, 5ul, true)]
    [InlineData(0, MemoryPressure.None, 250, 0ul, true)]
    [InlineData(0, MemoryPressure.Some, 250, 0ul, true)]
    [InlineData(0, MemoryPressure.High, 250, 0ul, false)]
    public void A_delay_and_a_pressure_make_a_pace(double delay, MemoryPressure pressure, double period, ulong epochs, bool keeps) =>
        Assert.Equal(new Pace(TimeSpan.FromMilliseconds(period), epochs, keeps), Pace.For(TimeSpan.FromMilliseconds(delay), pressure));

    private static char Letter(MemoryPressure level) => level.ToString()[0];
}
