using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Holds the arena with default options against what it is meant to reach; says what was measured, reached or not.</summary>
internal static class ReturnTargets
{
    private const double MostAfter2Seconds = 1.10;
    private const double MostAfter5Seconds = 1.06;
    private const double MostAtEnd = 1.08;
    private const double MostMetadata = 0.03;
    private const double MostProcessor = 1.0;
    private const double MostSecond = 0.5;

    /// <summary>Nothing is written where the arena was not measured.</summary>
    public static void Write(TextWriter output, IReadOnlyList<ReturnResult> results, IReadOnlyList<ReturnRun> runs)
    {
        if (results.FirstOrDefault(r => r.Contestant == ReturnContestant.Ours) is not ReturnResult ours)
        {
            return;
        }

        output.WriteLine();
        output.WriteLine($"{ReturnContestant.Ours} with default options against its targets");
        Charge(output, ours, "after_2s", ours.LiveBytes!.Value, MostAfter2Seconds);
        Charge(output, ours, "after_5s", ours.LiveBytes!.Value, MostAfter5Seconds);
        Charge(output, ours, "after_30s", ours.LiveBytes!.Value, MostAfter5Seconds);
        Charge(output, ours, "at_end", ours.LiveBytesAtEnd!.Value, MostAtEnd);
        Line(output, "metadata after 30 s / live", (double?)ours.MetadataBytes / ours.LiveBytes, MostMetadata, "");
        Ratio(output, "CPU of free + idle / " + ReturnContestant.Rival, runs, r => r.CpuSeconds, MostProcessor);
        Ratio(output, "second allocation / " + ReturnContestant.Rival, runs, r => r.SecondSeconds, MostSecond);
    }

    /// <summary>The figure of the arena's n-th run over that of the rival's n-th, for each round.</summary>
    public static double[] Ratios(IReadOnlyList<ReturnRun> runs, Func<ReturnRun, double> figure)
    {
        IEnumerable<double> Of(string name) => runs.Where(r => r.Contestant == name).Select(figure);
        return [.. Of(ReturnContestant.Ours).Zip(Of(ReturnContestant.Rival), (ours, rival) => ours / rival)];
    }

    private static void Charge(TextWriter output, ReturnResult ours, string end, long live, double most)
    {
        int instant = ReturnTable.FieldEnds.ToList().IndexOf(end);
        Line(output, $"charge {end.Replace('_', ' ')} / live", (double?)ours.Charge(instant) / live, most, "");
    }

    private static void Ratio(TextWriter output, string what, IReadOnlyList<ReturnRun> runs, Func<ReturnRun, double> figure, double most)
    {
        double[] ratios = Ratios(runs, figure);
        if (ratios.Length == 0)
        {
            Line(output, what, null, most, "");
            return;
        }

        Summary summary = Statistics.Summarise(ratios);
        string range = ratios.Length > 1
            ? string.Create(CultureInfo.InvariantCulture, $"  median of {ratios.Length}, {summary.Least:0.000}..{summary.Most:0.000}")
            : "";
        Line(output, what, summary.Median, most, range);
    }

    private static void Line(TextWriter output, string what, double? measured, double most, string more)
    {
        string verdict = measured is double value
            ? string.Create(CultureInfo.InvariantCulture, $"{value,8:0.000}  at most {most:0.00}  {(value <= most ? "reached" : "missed")}")
            : string.Create(CultureInfo.InvariantCulture, $"{"-",8}  at most {most:0.00}  not measured");
        output.WriteLine($"  {what,-42}{verdict}{more}");
    }
}
