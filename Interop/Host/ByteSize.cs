using System;
using System.Globalization;

namespace LowLevel.Interop.Host;

/// <summary>Bytes as people write them: a number, and K, M, G or T (powers of 1024).</summary>
internal static class ByteSize
{
    private const string Suffixes = "KMGT";

    /// <summary>What may be written.</summary>
    public const string Allowed = "a number of bytes, or one with K, M, G or T behind it, more than 0";

    /// <summary>Reads one. False: it is none, is 0, or has no place in 64 bits.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out ulong bytes)
    {
        bytes = 0;
        int power = text.IsEmpty ? -1 : Suffixes.IndexOf(char.ToUpperInvariant(text[^1]), StringComparison.Ordinal);
        ReadOnlySpan<char> digits = power < 0 ? text : text[..^1];
        int shift = 10 * (power + 1);
        if (!ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out ulong number) || number == 0 || number > ulong.MaxValue >> shift)
        {
            return false;
        }

        bytes = number << shift;
        return true;
    }

    /// <summary>Writes one to three figures: 512.0 MiB.</summary>
    public static string Format(ulong bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        double value = bytes;
        int unit = 0;
        for (; value >= 1024 && unit < units.Length - 1; unit++)
        {
            value /= 1024;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.#} {units[unit]}");
    }
}
