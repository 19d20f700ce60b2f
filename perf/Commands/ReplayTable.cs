using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>A replayed cell beside the runs without treatment before and after it.</summary>
internal sealed record ReplayTableRow(ReplayRun Run, ReplayRun Before, ReplayRun After)
{
    /// <summary>Time in allocate, touch and free as a multiple of what it is without treatment.</summary>
    public double TimeRatio => Run.BusySeconds / ((Before.BusySeconds + After.BusySeconds) / 2);

    /// <summary>The footprint without treatment.</summary>
    public double? FootprintOff => (Before.Footprint + After.Footprint) / 2;
}

/// <summary>Footprint and time over least order, delay and capacity, as published for whole guests: each cell runs between two runs
/// without treatment, so that what drifts with time falls out of the ratio.</summary>
internal static class ReplayTable
{
    public static IReadOnlyList<ReplayTableRow> Measure(ReplayPlan plan, IReadOnlyList<ReplayCell> cells)
    {
        ReplayRun before = ReplayRun.Measure(plan, ReplayCell.Off);
        var rows = new List<ReplayTableRow>();
        foreach (ReplayCell cell in cells)
        {
            ReplayRun run = ReplayRun.Measure(plan, cell);
            ReplayRun after = ReplayRun.Measure(plan, ReplayCell.Off);
            rows.Add(new ReplayTableRow(run, before, after));
            before = after;
        }

        return rows;
    }

    public static void Write(TextWriter output, IReadOnlyList<ReplayTableRow> rows)
    {
        output.WriteLine();
        output.WriteLine($"{"order",-16}{"delay s",9}{"capacity",10}{"footprint",11}{"by RSS",8}{"off",8}{"time s",9}{"time / off",12}{"CPU s",8}");
        foreach (ReplayTableRow row in rows)
        {
            ReplayCell cell = row.Run.Cell;
            string order = cell.MinimumOrder?.ToString(CultureInfo.InvariantCulture) ?? "default policy";
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{order,-16}{cell.Delay,9:0.##}{cell.ReactorCapacity,10}{Number(row.Run.Footprint),11}{row.Run.FootprintRss,8:0.00}{Number(row.FootprintOff),8}"
                + $"{row.Run.BusySeconds,9:0.00}{row.TimeRatio,12:0.000}{row.Run.CpuSeconds,8:0.00}"));
        }

        output.WriteLine("delay: on the trace's clock; off: the footprint without treatment, before and after; time: of the job threads in allocate, touch and free");
    }

    /// <summary>The cells' rows, then those of the runs without treatment.</summary>
    public static IEnumerable<(string Name, object? Value)[]> Rows(IReadOnlyList<ReplayTableRow> rows, string demand) =>
        rows.Select(row => ReplayReport.Row(row.Run, demand, row.TimeRatio))
            .Concat(rows.Select(r => r.After).Prepend(rows[0].Before).Select(off => ReplayReport.Row(off, demand, null)));

    private static string Number(double? value) => value?.ToString("0.00", CultureInfo.InvariantCulture) ?? "-";
}
