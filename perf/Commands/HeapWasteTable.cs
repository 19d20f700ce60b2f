using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The waste table of <c>perf heap</c> as text and as rows.</summary>
internal static class HeapWasteTable
{
    public static void Write(TextWriter output, IReadOnlyList<HeapWasteRow> rows, int mebibytes)
    {
        output.WriteLine();
        output.WriteLine(
            $"resident / requested: {mebibytes} MiB live in blocks of 16 to 8192 bytes, written whole, "
            + $"each replaced {HeapMix.Replacements} times on average by one of another size");
        output.WriteLine($"{"contestant",-14}{string.Concat(HeapMix.Names.Select(m => m.PadLeft(14)))}");
        foreach (IGrouping<string, HeapWasteRow> one in rows.GroupBy(r => r.Contestant))
        {
            string? absence = one.First().Absence;
            string cells = string.Concat(one.Select(r => r.Ratio.ToString("0.000", CultureInfo.InvariantCulture).PadLeft(14)));
            output.WriteLine($"{one.Key,-14}{(absence is null ? cells : "   " + absence)}");
        }
    }

    /// <summary>A row of <c>--json</c>; figures are null where the contestant was absent.</summary>
    public static (string Name, object? Value)[] JsonRow(HeapWasteRow row) =>
    [
        ("contestant", row.Contestant),
        ("mix", row.Mix),
        ("requested_bytes", row.Absence is null ? row.Requested : null),
        ("resident_bytes", row.Absence is null ? row.Resident : null),
    ];
}
