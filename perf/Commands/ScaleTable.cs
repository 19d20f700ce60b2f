using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>All rounds of one point.</summary>
internal sealed record ScaleRow(ScalePoint Point, IReadOnlyList<ScaleTiming> Rounds)
{
    public Summary Pair => Statistics.Summarise([.. Rounds.Select(r => r.Pair)]);

    /// <summary>Null where it cannot be told.</summary>
    public double? Bulk => Rounds.All(r => r.Bulk is not null) ? Statistics.Summarise([.. Rounds.Select(r => r.Bulk!.Value)]).Median : null;

    /// <summary>Null where it cannot be told.</summary>
    public double? Rand => Rounds.All(r => r.Rand is not null) ? Statistics.Summarise([.. Rounds.Select(r => r.Rand!.Value)]).Median : null;

    public double Control => Statistics.Summarise([.. Rounds.Select(r => r.Control)]).Median;
}

/// <summary>The result of <c>perf scale</c> as text and as rows.</summary>
internal static class ScaleTable
{
    /// <summary>Growth beyond this is explained.</summary>
    public const double GrowthUnexplainedMax = 1.3;

    public static void Write(TextWriter output, IReadOnlyList<ScaleRow> rows)
    {
        foreach (IGrouping<string, ScaleRow> axis in rows.GroupBy(r => r.Point.Axis))
        {
            ScaleRow first = axis.First();
            output.WriteLine();
            output.WriteLine($"{axis.Key,-12}{"ns per pair, median (min..max)",34}{"ratio",8}{"bulk",9}{"rand",9}{"random read",13}   growth in random reads");
            foreach (ScaleRow row in axis)
            {
                Summary pair = row.Pair;
                string range = string.Create(CultureInfo.InvariantCulture, $"{pair.Median:0.0} ({pair.Least:0.0}..{pair.Most:0.0})");
                output.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{row.Point.Value,-12}{range,34}{Ratio(row, first),8:0.00}{Part(row.Bulk),9}{Part(row.Rand),9}{row.Control,13:0.0}   {Growth(row, first)}"));
            }
        }

        output.WriteLine();
        output.WriteLine("half of the pairs are bulk (fill, then free in order), half are rand (replace one); 4 KiB blocks, not touched, so what is read is metadata");
        output.WriteLine("random read: of an array as large as the live blocks' struct pages, each read waiting for the last: it grows by cache and TLB misses");
        output.WriteLine("where there are more threads than processors, times are those of a processor, not of the clock");
    }

    public static double Ratio(ScaleRow row, ScaleRow first) => row.Pair.Median / first.Pair.Median;

    /// <summary>By how many reads of the control a pair has grown, where it has grown beyond what needs no explanation.</summary>
    public static string Growth(ScaleRow row, ScaleRow first)
    {
        if (Ratio(row, first) <= GrowthUnexplainedMax)
        {
            return "";
        }

        double more = row.Pair.Median - first.Pair.Median;
        double moreControl = row.Control - first.Control;
        return moreControl > 0.1 * first.Control
            ? string.Create(CultureInfo.InvariantCulture, $"+{more:0.0} ns; a read +{moreControl:0.0} ns: {more / moreControl:0.0} reads a pair")
            : string.Create(CultureInfo.InvariantCulture, $"+{more:0.0} ns; a read is no slower: not cache or TLB misses of struct pages");
    }

    private static string Part(double? value) => value?.ToString("0.0", CultureInfo.InvariantCulture) ?? "-";

    /// <summary>The row of <c>--json</c>.</summary>
    public static (string Name, object? Value)[] JsonRow(ScaleRow row, ScaleRow first)
    {
        Summary pair = row.Pair;
        return
        [
            ("axis", row.Point.Axis),
            ("value", row.Point.Value),
            ("ns_per_pair", pair.Median),
            ("ns_min", pair.Least),
            ("ns_max", pair.Most),
            ("ratio_to_first", Ratio(row, first)),
            ("control_ns", row.Control),
            ("bulk_ns", row.Bulk),
            ("rand_ns", row.Rand),
        ];
    }
}
