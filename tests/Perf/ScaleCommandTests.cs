using System;
using System.IO;
using System.Linq;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class ScaleCommandTests
{
    [Theory]
    [InlineData("scale --rounds 0", "--rounds")]
    [InlineData("scale --axis depth", "--axis")]
    [InlineData("scale --axes threads", "--axes")]
    public void Bad_input_ends_with_one_line_and_code_2(string line, string named)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(line.Split(' '), output, error));
        Assert.Contains(named, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public void The_axes_are_arena_size_live_blocks_and_threads()
    {
        Assert.Equal([1, 16, 256], Values("arena_gib"));
        Assert.Equal([1_000, 10_000, 100_000, 1_000_000], Values("live_blocks"));
        Assert.Equal([1, 2, 4, 16], Values("threads"));
        Assert.All(ScaleCommand.Points, p => Assert.True((long)p.Live * p.Threads * 4096 < p.ArenaBytes / 2));
    }

    /// <summary>More threads than most machines have processors; the numbers themselves are not judged.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public void A_point_is_measured_in_an_arena_of_its_own(int threads)
    {
        ScaleTiming timing = ScaleLoad.Measure(new ScalePoint("test", 1, 1L << 30, 1000, threads));
        Assert.True(timing.Pair > 0 && timing.Control > 0);
        Assert.Equal(threads <= Environment.ProcessorCount, timing.Bulk is not null);
        Assert.Equal(threads <= Environment.ProcessorCount, timing.Rand is not null);
    }

    [Fact]
    public void Growth_is_told_in_reads_of_the_control_where_it_is_beyond_1_3()
    {
        ScaleRow first = Row(10, 2);
        Assert.Equal("", ScaleTable.Growth(Row(13, 100), first));
        Assert.Equal("+40.0 ns; a read +20.0 ns: 2.0 reads a pair", ScaleTable.Growth(Row(50, 22), first));
        Assert.Contains("a read is no slower", ScaleTable.Growth(Row(50, 2), first), StringComparison.Ordinal);
        Assert.Equal(5, ScaleTable.Ratio(Row(50, 22), first));
    }

    [Fact]
    public void A_row_of_json_is_flat_and_the_table_names_every_axis()
    {
        ScaleRow row = new(new ScalePoint("threads", 2, 1, 1, 2), [new(30, null, null, 4), new(20, null, null, 5), new(40, 1, 2, 6)]);
        (string Name, object? Value)[] fields = ScaleTable.JsonRow(row, Row(10, 2));
        Assert.Equal(["axis", "value", "ns_per_pair", "ns_min", "ns_max", "ratio_to_first", "control_ns", "bulk_ns", "rand_ns"], fields.Select(f => f.Name));
        Assert.Equal(["threads", 2L, 30.0, 20.0, 40.0, 3.0, 5.0, null, null], fields.Select(f => f.Value));
        using var output = new StringWriter();
        ScaleTable.Write(output, [Row(10, 2), row]);
        Assert.Contains("live_blocks", output.ToString(), StringComparison.Ordinal);
        Assert.Contains("threads", output.ToString(), StringComparison.Ordinal);
    }

    private static long[] Values(string axis) => [.. ScaleCommand.Points.Where(p => p.Axis == axis).Select(p => p.Value)];

    private static ScaleRow Row(double pair, double control) => new(new ScalePoint("live_blocks", 1, 1, 1, 1), [new(pair, pair, pair, control)]);
}
