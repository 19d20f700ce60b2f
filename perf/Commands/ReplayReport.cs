using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>What a plain replay prints, and the form of a row.</summary>
internal static class ReplayReport
{
    // Fewer runs have no middle.
    private const int LeastRoundsWithMedian = 3;

    public static void Write(TextWriter output, IReadOnlyList<ReplayRun> runs, ReplayPlan plan)
    {
        output.WriteLine();
        output.WriteLine($"{"",-44}{"footprint",10}{"by RSS",8}{"time s",9}{"CPU s",8}   late, mean | most");
        foreach (ReplayRun run in runs)
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{"arena, " + run.Cell.Name,-44}{Number(run.Footprint),10}{run.FootprintRss,8:0.00}{run.BusySeconds,9:0.00}{run.CpuSeconds,8:0.00}"
                + $"   {run.MeanLate * 1000:0} ms | {run.MostLate * 1000:0} ms"));
        }

        WriteMedians(output, runs);
        WriteLate(output, runs, plan);
        if (DemandFiles.NameOf(plan.Path) == DemandFiles.Recorded)
        {
            output.WriteLine("published, whole guests, the same build (HyperAlloc artifact, EuroSys'25):");
            output.WriteLine($"{"Linux free page reporting, order 9",-44}{"1.76",10}");
            output.WriteLine($"{"HyperAlloc",-44}{"1.38",10}");
            output.WriteLine($"{"Linux free page reporting, order 0",-44}{"1.13",10}   at +18 % build time");
        }

        output.WriteLine("time: what the job threads spend in allocate, touch and free; late: behind the run's own clock when a step began");
    }

    /// <summary>Says where the machine could not follow.</summary>
    public static void WriteLate(TextWriter output, IEnumerable<ReplayRun> runs, ReplayPlan plan)
    {
        if (runs.Any(r => r.IsLate(plan)))
        {
            output.WriteLine("late: the machine could not follow; the footprint means little. Take a lower --speed or --scale");
        }
    }

    /// <summary>Time with treatment over time without, round by round.</summary>
    public static double[] TimeRatios(IReadOnlyList<ReplayRun> runs) =>
        [.. runs.Where(r => r.Treated).Zip(runs.Where(r => !r.Treated), (on, off) => on.BusySeconds / off.BusySeconds)];

    public static (string Name, object? Value)[] Row(ReplayRun run, string demand, double? timeRatio) =>
    [
        ("treatment", run.Treated),
        ("footprint", run.Footprint),
        ("footprint_rss", run.FootprintRss),
        ("seconds", run.BusySeconds),
        ("cpu_seconds", run.CpuSeconds),
        ("demand", demand),
        ("time_ratio", timeRatio),
        ("minimum_order", run.Cell.MinimumOrder),
        ("delay_seconds", run.Treated ? run.Cell.Delay : null),
        ("capacity", run.Treated ? run.Cell.ReactorCapacity : null),
    ];

    private static void WriteMedians(TextWriter output, IReadOnlyList<ReplayRun> runs)
    {
        if (runs.Count(r => r.Treated) < LeastRoundsWithMedian)
        {
            return;
        }

        output.WriteLine("medians of the rounds");
        foreach (IGrouping<string, ReplayRun> group in runs.GroupBy(r => r.Cell.Name))
        {
            double[] charges = [.. group.Select(r => r.Footprint).OfType<double>()];
            double? footprint = charges.Length == 0 ? null : Statistics.Summarise(charges).Median;
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{"arena, " + group.Key,-44}{Number(footprint),10}{Median(group, r => r.FootprintRss),8:0.00}{Median(group, r => r.BusySeconds),9:0.00}"
                + $"{Median(group, r => r.CpuSeconds),8:0.00}"));
        }

        Summary ratio = Statistics.Summarise(TimeRatios(runs));
        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"time, treatment on / off: {ratio.Median:0.000} ({ratio.Least:0.000}..{ratio.Most:0.000})"));
    }

    private static double Median(IEnumerable<ReplayRun> runs, Func<ReplayRun, double> figure) => Statistics.Summarise([.. runs.Select(figure)]).Median;

    private static string Number(double? value) => value?.ToString("0.00", CultureInfo.InvariantCulture) ?? "-";
}
