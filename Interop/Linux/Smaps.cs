using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;

namespace LowLevel.Interop.Linux;

/// <summary>One mapping as /proc/PID/smaps shows it. Sizes in bytes.</summary>
/// <param name="Start">First address.</param>
/// <param name="End">First address behind it.</param>
/// <param name="Name">File, "[heap]", "[anon:name]", or empty.</param>
/// <param name="RssBytes">Resident.</param>
/// <param name="AnonHugeBytes">Of that, in 2 MiB pages of anonymous memory.</param>
/// <param name="LazyFreeBytes">Of that, marked by MADV_FREE and not yet taken.</param>
/// <param name="VmFlags">Two-letter flags: "hg" MADV_HUGEPAGE, "nh" MADV_NOHUGEPAGE, "dd" not dumped, "nr" not reserved.</param>
internal sealed record Mapping(
    nuint Start,
    nuint End,
    string Name,
    long RssBytes,
    long AnonHugeBytes,
    long LazyFreeBytes,
    IReadOnlyList<string> VmFlags);

/// <summary>The kernel's own account of a process's memory: smaps by mapping, smaps_rollup in sum, statm for curves. Source:
/// Documentation/filesystems/proc.rst. A read of smaps or smaps_rollup walks the page tables (milliseconds per GiB of 4 KiB
/// pages); statm reads a counter that lags by a few dozen pages per processor.</summary>
internal static class Smaps
{
    /// <summary>Every mapping of this process that overlaps the range, by address.</summary>
    public static IReadOnlyList<Mapping> Overlapping(nuint address, nuint bytes)
    {
        nuint end = address + bytes;
        using var reader = new StreamReader("/proc/self/smaps");
        return Parse(reader, (from, to) => from < end && to > address);
    }

    /// <summary>Resident bytes of this process in all mappings that overlap the range.</summary>
    public static long ResidentBytes(nuint address, nuint bytes)
    {
        long sum = 0;
        foreach (Mapping mapping in Overlapping(address, bytes))
        {
            sum += mapping.RssBytes;
        }

        return sum;
    }

    /// <summary>Resident bytes of a process, exact (smaps_rollup). 0: this process.</summary>
    public static long RollupResidentBytes(int processId = 0)
    {
        string path = processId == 0 ? "/proc/self/smaps_rollup" : $"/proc/{processId}/smaps_rollup";
        foreach (string line in File.ReadLines(path))
        {
            if (TryKibibytes(line, "Rss:", out long bytes))
            {
                return bytes;
            }
        }

        throw new InvalidDataException($"{path} has no line 'Rss:'");
    }

    /// <summary>Resident bytes of a process, cheap (statm). 0: this process.</summary>
    public static long StatmResidentBytes(int processId = 0)
    {
        string path = processId == 0 ? "/proc/self/statm" : $"/proc/{processId}/statm";
        string[] fields = File.ReadAllText(path).Split(' ');
        return fields.Length > 1 && long.TryParse(fields[1], NumberStyles.None, CultureInfo.InvariantCulture, out long pages)
            ? pages * Environment.SystemPageSize
            : throw new InvalidDataException($"{path} has no second field");
    }

    /// <summary>Reads the text of smaps; keeps the mappings whose bounds are chosen.</summary>
    internal static IReadOnlyList<Mapping> Parse(TextReader text, Func<nuint, nuint, bool> choose)
    {
        var result = new List<Mapping>();
        Mapping? current = null;
        while (text.ReadLine() is string line)
        {
            if (TryHead(line, out nuint start, out nuint end, out string name))
            {
                Keep(current, result);
                current = choose(start, end) ? new Mapping(start, end, name, 0, 0, 0, []) : null;
            }
            else if (current is not null)
            {
                current = Apply(current, line);
            }
        }

        Keep(current, result);
        return result;
    }

    private static void Keep(Mapping? mapping, List<Mapping> result)
    {
        if (mapping is not null)
        {
            result.Add(mapping);
        }
    }

    private static Mapping Apply(Mapping mapping, string line)
    {
        if (TryKibibytes(line, "Rss:", out long rss))
        {
            return mapping with { RssBytes = rss };
        }

        if (TryKibibytes(line, "AnonHugePages:", out long huge))
        {
            return mapping with { AnonHugeBytes = huge };
        }

        if (TryKibibytes(line, "LazyFree:", out long lazy))
        {
            return mapping with { LazyFreeBytes = lazy };
        }

        return line.StartsWith("VmFlags:", StringComparison.Ordinal)
            ? mapping with { VmFlags = line["VmFlags:".Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries) }
            : mapping;
    }

    // "7f00-7f10 rw-p 00000000 00:00 0    [anon:name]": the only lines that start with a hexadecimal range; field lines start with
    // a capital letter and a word that ends in a colon.
    private static bool TryHead(string line, out nuint start, out nuint end, out string name)
    {
        start = 0;
        end = 0;
        name = "";
        int dash = line.IndexOf('-', StringComparison.Ordinal);
        int space = line.IndexOf(' ', StringComparison.Ordinal);
        if (dash <= 0
            || space <= dash
            || !nuint.TryParse(line.AsSpan(0, dash), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out start)
            || !nuint.TryParse(line.AsSpan(dash + 1, space - dash - 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out end))
        {
            return false;
        }

        string[] fields = line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries);
        name = fields.Length == 6 ? fields[5].Trim() : "";
        return true;
    }

    private static bool TryKibibytes(string line, string field, out long bytes)
    {
        bytes = 0;
        if (!line.StartsWith(field, StringComparison.Ordinal))
        {
            return false;
        }

        ReadOnlySpan<char> number = line.AsSpan(field.Length).Trim();
        if (number.EndsWith(" kB", StringComparison.Ordinal)
            && long.TryParse(number[..^3], NumberStyles.None, CultureInfo.InvariantCulture, out long kibibytes))
        {
            bytes = kibibytes * 1024;
            return true;
        }

        throw new InvalidDataException($"'{line}' is not a size in kB");
    }
}
