using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The tables of <c>perf peers</c> on given numbers.</summary>
public sealed class PeersTableTests
{
    private static readonly PeerCell Lifo = new("lifo", 4096, 1, Touched: false);
    private static readonly PeerCell Bulk = new("bulk", 2 << 20, 2, Touched: false);

    [Fact]
    public void The_best_peer_is_the_least_median_of_those_that_are_not_ours()
    {
        PeersRow row = Row(Lifo, ("arena", 10), ("arena-aot", 5), ("glibc", 50), ("jemalloc", 20), ("mmap", 4000));
        Assert.Equal("jemalloc", row.Best);
        Assert.Equal(0.5, row.Ratio);
        Assert.False(row.IsClose);
    }

    [Fact]
    public void A_row_without_ours_or_without_a_peer_has_no_ratio()
    {
        Assert.Null(Row(Lifo, ("glibc", 50)).Ratio);
        PeersRow alone = Row(Lifo, ("arena", 10), ("arena-aot", 5));
        Assert.Null(alone.Best);
        Assert.Null(alone.Ratio);
        Assert.Equal("no row has both ours and a peer", PeersTable.Conclusion([alone]));
    }

    [Fact]
    public void Ranges_that_overlap_are_close()
    {
        PeersRow row = new(Lifo, new Dictionary<string, Summary> { ["arena"] = new(10, 9, 12, 9, 12), ["glibc"] = new(8, 7, 9, 7, 9) });
        Assert.Equal(1.25, row.Ratio);
        Assert.True(row.IsClose);
    }

    [Fact]
    public void The_conclusion_is_the_geometric_mean_and_the_worst_row()
    {
        Assert.Equal(1, PeersTable.GeometricMean([0.25, 4]), 9);
        Assert.Equal(0.5, PeersTable.GeometricMean([0.5]), 9);
        string conclusion = PeersTable.Conclusion([Row(Lifo, ("arena", 10), ("glibc", 40)), Row(Bulk, ("arena", 40), ("tcmalloc", 10)), Row(Lifo, ("glibc", 1))]);
        Assert.Contains("over 2 rows: 1.000;", conclusion, StringComparison.Ordinal);
        Assert.Contains("above 1: 1, of which beyond the ranges: 1;", conclusion, StringComparison.Ordinal);
        Assert.EndsWith("worst: bulk 2048 KiB, 2 threads, 4.00 of tcmalloc", conclusion, StringComparison.Ordinal);
    }

    [Fact]
    public void Two_tables_with_a_column_for_each_contestant_and_absent_ones_say_why()
    {
        using var output = new StringWriter();
        PeersRow[] rows = [Row(Lifo, ("arena", 10), ("glibc", 40)), Row(Lifo with { Touched = true }, ("arena", 100), ("glibc", 400))];
        PeersTable.Write(output, rows, ["arena", "glibc", "jemalloc"], new Dictionary<string, string> { ["jemalloc"] = "absent: not installed" });
        string text = output.ToString();
        Assert.Contains("memory not touched", text, StringComparison.Ordinal);
        Assert.Contains("memory touched", text, StringComparison.Ordinal);
        Assert.Equal(2, text.Split('\n').Count(l => l.StartsWith("lifo", StringComparison.Ordinal) && l.Contains(" absent ", StringComparison.Ordinal)));
        Assert.Contains("jemalloc: absent: not installed", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_of_json_are_one_for_each_contestant()
    {
        (string Name, object? Value)[][] rows = [.. PeersTable.JsonRows(Row(Bulk, ("arena", 10), ("mmap", 4000)))];
        Assert.Equal(2, rows.Length);
        Assert.Equal(
            ["pattern", "bytes", "threads", "touched", "contestant", "ns_per_pair", "ns_min", "ns_max"],
            rows[0].Select(f => f.Name));
        Assert.Equal(["bulk", 2 << 20, 2, false, "mmap", 4000.0, 3999.0, 4001.0], rows[1].Select(f => f.Value));
    }

    private static PeersRow Row(PeerCell cell, params (string Contestant, double Median)[] times) =>
        new(cell, times.ToDictionary(t => t.Contestant, t => new Summary(t.Median, t.Median - 1, t.Median + 1, t.Median - 1, t.Median + 1)));
}
