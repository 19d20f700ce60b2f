using System;
using System.Collections.Generic;
using System.Globalization;

namespace LowLevel.Generator;

/// <summary>A word of a layout text, or a quoted text without its quotes.</summary>
internal readonly record struct Token(string Text, bool IsQuoted);

/// <summary>One line that is neither empty nor a comment. Indented lines belong to the declaration above them.</summary>
internal sealed record LayoutLine(int Number, bool IsIndented, IReadOnlyList<Token> Tokens);

/// <summary>Cuts a layout text into lines and words: words are parted by spaces, quotes hold text, # begins a comment.</summary>
internal static class Lexer
{
    public static List<LayoutLine> Read(LayoutText layout, List<LayoutError> errors)
    {
        List<LayoutLine> lines = [];
        string[] rows = layout.Text.Split('\n');
        for (int i = 0; i < rows.Length; i++)
        {
            List<Token> tokens = [];
            if (!TryCut(rows[i], tokens, out string problem))
            {
                errors.Add(new LayoutError(layout.FileName, i + 1, problem));
            }
            else if (tokens.Count != 0)
            {
                lines.Add(new LayoutLine(i + 1, char.IsWhiteSpace(rows[i][0]), tokens));
            }
        }
        return lines;
    }

    /// <summary>A number in decimal or, after 0x, in hexadecimal; underscores may part digits.</summary>
    public static bool TryNumber(string text, out ulong value)
    {
        string digits = text.Replace("_", "", StringComparison.Ordinal);
        return digits.StartsWith("0x", StringComparison.Ordinal)
            ? ulong.TryParse(digits.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value)
            : ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out value);
    }

    private static bool TryCut(string row, List<Token> tokens, out string problem)
    {
        int at = 0;
        while (at < row.Length && row[at] != '#')
        {
            if (char.IsWhiteSpace(row[at]))
            {
                at++;
                continue;
            }
            int end;
            if (row[at] == '"')
            {
                end = row.IndexOf('"', at + 1);
                if (end < 0)
                {
                    problem = $"the text that begins in column {at + 1} has no closing quote";
                    return false;
                }
                tokens.Add(new Token(row[(at + 1)..end], IsQuoted: true));
                at = end + 1;
                continue;
            }
            for (end = at; end < row.Length && !char.IsWhiteSpace(row[end]) && row[end] is not ('"' or '#'); end++)
            {
            }
            tokens.Add(new Token(row[at..end], IsQuoted: false));
            at = end;
        }
        problem = "";
        return true;
    }
}
