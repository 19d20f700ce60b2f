using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The result of <c>perf return</c> as text and as rows.</summary>
internal static class ReturnTable
{
    private static readonly int[] Widths = [10, 17, 17, 17, 17, 17, 15, 15, 9, 10, 10, 10];

    /// <summary>Of <see cref="ReturnRun.After"/>: the ends of the fields of a row.</summary>
    public static IReadOnlyList<string> FieldEnds => [.. ReturnPace.InstantNames, "after_second", "at_end"];

    public static void Write(TextWriter output, IReadOnlyList<ReturnResult> results)
    {
        output.WriteLine();
        output.WriteLine("cgroup charge | RSS, net of the baseline, as a multiple of live bytes: after the last free, right after the second allocation, 60 s later");
        string[] headings = ["live MiB", .. ReturnPace.InstantHeadings, "second", "end", "free s", "CPU s", "second s", "meta MiB"];
        output.WriteLine($"{"contestant",-20}" + string.Concat(headings.Select((h, i) => h.PadLeft(Widths[i]))));
        foreach (ReturnResult result in results)
        {
            output.WriteLine($"{result.Contestant,-20}" + (result.Absence is string absence
                ? $"  absent: {absence}"
                : string.Concat(Cells(result).Select((c, i) => c.PadLeft(Widths[i])))));
        }

        output.WriteLine();
        output.WriteLine("CPU s: the whole process, from the first free to the end of the idle time; second s: allocate and touch");
        foreach (ReturnResult result in results.Where(r => r.Absence is null))
        {
            string charge = result.BaselineCharge is long bytes ? $"charge {Mebibytes(bytes)} MiB" : "no charge of its own";
            output.WriteLine($"baseline {result.Contestant}: {charge}, RSS {Mebibytes(result.BaselineRss!.Value)} MiB (charge source: {result.ChargeSource})");
        }
    }

    /// <summary>The row of <c>--json</c>; an absent contestant's has its name, why, and nothing else but nulls.</summary>
    public static (string Name, object? Value)[] Row(ReturnResult result)
    {
        bool present = result.Absence is null;
        List<(string, object?)> fields = [("contestant", result.Contestant), ("live_bytes", result.LiveBytes), ("live_bytes_at_end", result.LiveBytesAtEnd)];
        fields.AddRange(FieldEnds.Select((end, i) => ($"charge_bytes_{end}", (object?)(present ? result.Charge(i) : null))));
        fields.AddRange(FieldEnds.Select((end, i) => ($"rss_bytes_{end}", (object?)(present ? result.Rss(i) : null))));
        fields.AddRange(
        [
            ("cpu_seconds_free_idle", result.CpuSeconds),
            ("first_allocation_seconds", result.AllocationSeconds),
            ("free_seconds", result.FreeSeconds),
            ("second_allocation_seconds", result.SecondSeconds),
            ("metadata_bytes", result.MetadataBytes),
            ("baseline_charge_bytes", result.BaselineCharge),
            ("baseline_rss_bytes", result.BaselineRss),
            ("charge_source", result.ChargeSource),
            ("thp", Machine.Describe().Single(f => f.Name == "transparent_huge_pages").Value),
            ("rounds", result.Rounds),
            ("absence", result.Absence),
        ]);
        return [.. fields];
    }

    public static string Mebibytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:0.0}");

    private static List<string> Cells(ReturnResult result)
    {
        int instants = ReturnPace.InstantNames.Count;
        List<string> cells = [string.Create(CultureInfo.InvariantCulture, $"{result.LiveBytes >> 20}")];
        for (int i = 0; i < FieldEnds.Count; i++)
        {
            long live = (i < instants ? result.LiveBytes : result.LiveBytesAtEnd)!.Value;
            cells.Add($"{Multiple(result.Charge(i), live)} | {Multiple(result.Rss(i), live)}");
        }

        cells.AddRange([Seconds(result.FreeSeconds), Seconds(result.CpuSeconds), Seconds(result.SecondSeconds)]);
        cells.Add(result.MetadataBytes is long metadata ? Mebibytes(metadata) : "-");
        return cells;
    }

    private static string Seconds(double? seconds) => seconds?.ToString("0.000", CultureInfo.InvariantCulture) ?? "-";

    private static string Multiple(long? bytes, long live) =>
        bytes is null ? "-" : ((double)bytes.Value / live).ToString("0.000", CultureInfo.InvariantCulture);
}
