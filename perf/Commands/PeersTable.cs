using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>A row of the tables of <c>perf peers</c>. Nanoseconds per pair.</summary>
internal sealed record PeersRow(PeerCell Cell, IReadOnlyDictionary<string, Summary> Times)
{
    /// <summary>The peer with the least median; null where no peer was measured.</summary>
    public string? Best => Times.Where(t => PeersContestants.IsPeer(t.Key)).OrderBy(t => t.Value.Median).Select(t => t.Key).FirstOrDefault();

    /// <summary>Ours.</summary>
    public Summary? Ours =>
        Times.TryGetValue(PeersContestants.Ours, out Summary ours) || Times.TryGetValue(PeersContestants.OursHeap, out ours) ? ours : null;

    /// <summary>Median of ours over that of the best peer; null where either is missing.</summary>
    public double? Ratio => Best is string best && Ours is Summary ours ? ours.Median / Times[best].Median : null;

    /// <summary>Whether the ranges of ours and of the best peer overlap: then which is ahead is not settled by this run.</summary>
    public bool IsClose => Best is string best && Ours is Summary ours && ours.Least <= Times[best].Most && Times[best].Least <= ours.Most;
}

/// <summary>The result of <c>perf peers</c> as text and as rows.</summary>
internal static class PeersTable
{
    public static void Write(TextWriter output, IReadOnlyList<PeersRow> rows, IReadOnlyList<string> contestants, IReadOnlyDictionary<string, string> absent)
    {
        foreach (IGrouping<bool, PeersRow> table in rows.GroupBy(r => r.Cell.Touched))
        {
            output.WriteLine();
            output.WriteLine($"ns per allocate+free pair, medians; memory {(table.Key ? "touched, one byte per 4 KiB" : "not touched")}");
            string names = string.Concat(contestants.Select(c => c.PadLeft(Width(c))));
            bool inBytes = table.Any(r => r.Cell.Bytes % 1024 != 0);
            output.WriteLine($"{"pattern",-9}{(inBytes ? "bytes" : "KiB"),6}{"threads",8}{names}   {"best peer",-23}{"ours/best",10}   ours, min..max");
            foreach (PeersRow row in table)
            {
                string cells = string.Concat(contestants.Select(c => Cell(row, c, absent).PadLeft(Width(c))));
                string best = row.Best is string b ? $"{b} {Nanoseconds(row.Times[b].Median)}" : "-";
                string ratio = row.Ratio is double r ? string.Create(CultureInfo.InvariantCulture, $"{r:0.00}{(row.IsClose ? "~" : " ")}") : "- ";
                string range = row.Ours is Summary ours ? $"{Nanoseconds(ours.Least)}..{Nanoseconds(ours.Most)}" : "-";
                int size = inBytes ? row.Cell.Bytes : row.Cell.Bytes >> 10;
                output.WriteLine($"{row.Cell.Pattern,-9}{size,6}{row.Cell.Threads,8}{cells}   {best,-23}{ratio,10}   {range}");
            }

            output.WriteLine(Conclusion([.. table]));
        }

        output.WriteLine();
        string note = contestants.Contains(PeersContestants.OursAheadOfTime) ? ". arena-aot takes no part in \"best peer\"" : "";
        output.WriteLine($"~: the ranges (min..max) of ours and of the best peer overlap{note}");
        foreach ((string name, string why) in absent)
        {
            output.WriteLine($"{name}: {why}");
        }
    }

    /// <summary>Geometric mean of the ratios, how many rows are above 1, and the worst row.</summary>
    public static string Conclusion(IReadOnlyList<PeersRow> rows)
    {
        PeersRow[] compared = [.. rows.Where(r => r.Ratio is not null)];
        if (compared.Length == 0)
        {
            return "no row has both ours and a peer";
        }

        PeersRow worst = compared.MaxBy(r => r.Ratio)!;
        return string.Create(
            CultureInfo.InvariantCulture,
            $"geometric mean of ours / best peer over {compared.Length} rows: {GeometricMean([.. compared.Select(r => r.Ratio!.Value)]):0.000}; "
            + $"above 1: {compared.Count(r => r.Ratio > 1)}, of which beyond the ranges: {compared.Count(r => r.Ratio > 1 && !r.IsClose)}; "
            + $"worst: {worst.Cell.Pattern} {Size(worst.Cell.Bytes)}, {worst.Cell.Threads} threads, {worst.Ratio:0.00} of {worst.Best}");
    }

    public static double GeometricMean(IReadOnlyCollection<double> values) => Math.Exp(values.Average(Math.Log));

    /// <summary>The rows of <c>--json</c>.</summary>
    public static IEnumerable<(string Name, object? Value)[]> JsonRows(PeersRow row) =>
        from time in row.Times
        select new (string, object?)[]
        {
            ("pattern", row.Cell.Pattern),
            ("bytes", row.Cell.Bytes),
            ("threads", row.Cell.Threads),
            ("touched", row.Cell.Touched),
            ("contestant", time.Key),
            ("ns_per_pair", time.Value.Median),
            ("ns_min", time.Value.Least),
            ("ns_max", time.Value.Most),
        };

    private static string Size(int bytes) => bytes % 1024 == 0 ? $"{bytes >> 10} KiB" : $"{bytes} bytes";

    private static int Width(string contestant) => Math.Max(contestant.Length, 7) + 2;

    private static string Cell(PeersRow row, string contestant, IReadOnlyDictionary<string, string> absent) =>
        absent.ContainsKey(contestant) ? "absent" : row.Times.TryGetValue(contestant, out Summary time) ? Nanoseconds(time.Median) : "-";

    private static string Nanoseconds(double value) => value.ToString(value < 100 ? "0.0" : "0", CultureInfo.InvariantCulture);
}
