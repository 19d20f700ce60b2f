using System;
using System.Linq;
using CsCheck;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class StatisticsTests
{
    /// <summary>Ranks from the published tables of the binomial interval of the median, counted from 0.</summary>
    [Theory]
    [InlineData(1, 0)]
    [InlineData(5, 0)]
    [InlineData(6, 0)]
    [InlineData(8, 0)]
    [InlineData(9, 1)]
    [InlineData(11, 1)]
    [InlineData(12, 2)]
    [InlineData(15, 3)]
    [InlineData(20, 5)]
    [InlineData(25, 7)]
    [InlineData(100, 39)]
    public void The_interval_of_the_median_has_the_tables_ranks(int count, int rank) =>
        Assert.Equal(rank, Statistics.IntervalRank(count));

    [Fact]
    public void Nine_values_give_their_fifth_and_the_second_from_each_end()
    {
        Summary summary = Statistics.Summarise([9, 1, 8, 2, 7, 3, 6, 4, 5]);
        Assert.Equal(new Summary(5, 2, 8, 1, 9), summary);
    }

    [Fact]
    public void An_even_number_of_values_gives_the_middle_of_the_middle_two() =>
        Assert.Equal(2.5, Statistics.Summarise([1, 2, 3, 4]).Median);

    [Fact]
    public void No_values_are_refused() => Assert.Throws<ArgumentException>(() => Statistics.Summarise([]));

    [Fact]
    public void The_five_figures_are_always_in_order() =>
        Gen.Double[-1e6, 1e6].Array[1, 60].Sample(values =>
        {
            Summary s = Statistics.Summarise(values);
            Assert.True(s.Least <= s.Low && s.Low <= s.Median && s.Median <= s.High && s.High <= s.Most);
            Assert.Equal(values.Min(), s.Least);
        });

    [Theory]
    [InlineData(1, new[] { 1 })]
    [InlineData(2, new[] { 1, 2 })]
    [InlineData(6, new[] { 1, 2, 4, 6 })]
    public void Thread_counts_double_up_to_the_most(int most, int[] expected) => Assert.Equal(expected, FaultCommand.ThreadCounts(most));
}
