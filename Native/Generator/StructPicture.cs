using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Generator;

/// <summary>Draws a struct as the table that a manual would have; bytes that no field covers are drawn too.</summary>
internal static class StructPicture
{
    private static readonly string[] s_titles = ["offset", "bytes", "type", "field", "view"];

    public static List<string> Draw(StructDeclaration type, LayoutModel model)
    {
        List<string[]> rows = [s_titles];
        int covered = 0;
        foreach (Field field in type.Fields.OrderBy(field => field.Offset))
        {
            _ = model.TryMeasure(field.Type, out int size, out _);
            AddGap(rows, covered, field.Offset);
            rows.Add([$"{field.Offset}", $"{size}", $"{field.Type}", field.Name, field.View ?? ""]);
            covered = Math.Max(covered, field.Offset + size);
        }
        AddGap(rows, covered, type.Size);

        int[] widths = [.. s_titles.Select((_, column) => rows.Max(row => row[column].Length))];
        string rule = "+" + string.Concat(widths.Select(width => new string('-', width + 2) + "+"));
        List<string> picture = [rule];
        foreach (string[] row in rows)
        {
            picture.Add("|" + string.Concat(row.Select((cell, column) => $" {Align(cell, widths[column], isNumber: column < 2)} |")));
            if (ReferenceEquals(row, s_titles))
            {
                picture.Add(rule);
            }
        }
        picture.Add(rule);
        return picture;
    }

    private static void AddGap(List<string[]> rows, int from, int to)
    {
        if (from < to)
        {
            rows.Add([$"{from}", $"{to - from}", "", "(unused)", ""]);
        }
    }

    private static string Align(string cell, int width, bool isNumber) => isNumber ? cell.PadLeft(width) : cell.PadRight(width);
}
