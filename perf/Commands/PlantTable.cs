using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The plant's result as text and as rows.</summary>
internal static class PlantTable
{
    private static readonly int[] Widths = [8, 8, 10, 14, 16, 16, 16, 16, 9, 15];

    public static void Write(TextWriter output, IReadOnlyList<PlantRun> runs)
    {
        output.WriteLine();
        output.WriteLine("resident bytes net of the baseline as a multiple of live bytes (RSS | cgroup charge), after seconds of idleness");
        string[] headings = ["time s", "CPU s", "live MiB", "peak MiB", .. PlantRun.Instants.Select(i => $"after {i} s"), "cycles", "pages treated"];
        output.WriteLine($"{"contestant",-16}" + string.Concat(headings.Select((h, i) => h.PadLeft(Widths[i]))));
        foreach (PlantRun run in runs)
        {
            output.WriteLine($"{run.Contestant,-16}" + string.Concat(Cells(run).Select((c, i) => c.PadLeft(Widths[i]))));
        }

        output.WriteLine();
        foreach (PlantRun run in runs)
        {
            string charge = run.Baseline.Charge is long bytes ? $"charge {Mebibytes(bytes)} MiB" : "no charge of its own";
            string metadata = run.MetadataBytes is long meta ? $", metadata {Mebibytes(meta)} MiB" : "";
            output.WriteLine($"baseline {run.Contestant}: RSS {Mebibytes(run.Baseline.Rss)} MiB, {charge} (charge source: {run.ChargeSource}){metadata}");
        }

        output.WriteLine("time: the bursts alone; CPU: the whole process, from the first burst to the end of the idle phase");
    }

    /// <summary>The row of <c>--json</c>.</summary>
    public static (string Name, object? Value)[] Row(PlantRun run)
    {
        List<(string, object?)> fields =
        [
            ("contestant", run.Contestant),
            ("live_bytes", run.LiveBytes),
            ("seconds", run.Seconds),
            ("cpu_seconds", run.CpuSeconds),
            ("peak_rss_bytes", run.PeakRss),
            ("peak_charge_bytes", run.PeakCharge),
        ];
        for (int i = 0; i < run.After.Count; i++)
        {
            fields.Add(($"rss_bytes_after_{PlantRun.Instants[i]}s", run.After[i].Rss));
            fields.Add(($"charge_bytes_after_{PlantRun.Instants[i]}s", run.After[i].Charge));
        }

        fields.Add(("baseline_rss_bytes", run.Baseline.Rss));
        fields.Add(("baseline_charge_bytes", run.Baseline.Charge));
        fields.Add(("metadata_bytes", run.MetadataBytes));
        fields.Add(("charge_source", run.ChargeSource));
        return [.. fields];
    }

    /// <summary>"1.07 | 1.08"; a dash where there is no charge.</summary>
    public static string Multiples(Usage usage, long live) =>
        Multiple(usage.Rss, live) + " | " + (usage.Charge is long charge ? Multiple(charge, live) : "-");

    public static string Mebibytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:0.0}");

    /// <summary>The cells of <see cref="PlantSeries.Headings"/>.</summary>
    public static IReadOnlyList<string> Cells(PlantRun run) =>
    [
        string.Create(CultureInfo.InvariantCulture, $"{run.Seconds:0.00}"),
        string.Create(CultureInfo.InvariantCulture, $"{run.CpuSeconds:0.00}"),
        string.Create(CultureInfo.InvariantCulture, $"{run.LiveBytes >> 20}"),
        $"{run.PeakRss >> 20} | {(run.PeakCharge is long charge ? charge >> 20 : "-")}",
        .. run.After.Select(u => Multiples(u, run.LiveBytes)),
        run.Cycles?.ToString(CultureInfo.InvariantCulture) ?? "-",
        run.PagesTreated?.ToString(CultureInfo.InvariantCulture) ?? "-",
    ];

    private static string Multiple(long bytes, long live) => string.Create(CultureInfo.InvariantCulture, $"{(double)bytes / live:0.00}");
}
