using System;
using System.Globalization;
using System.IO;

namespace LowLevel.Interop.Linux;

/// <summary>How memory stands for this process at one instant; what the machine does not tell is null.</summary>
/// <param name="LimitBytes">The least limit of the memory cgroup and those above it.</param>
/// <param name="ChargeBytes">Of the group among them that is nearest to its own limit: what it is charged, without file pages that the
/// kernel can drop at once (the working set by which containers are judged).</param>
/// <param name="ChargeLimitBytes">That group's limit.</param>
/// <param name="StalledPercent">0 to 100: the share of the last 10 s in which some task waited for memory (PSI), of the group where
/// it is counted, else of the machine.</param>
internal readonly record struct MemoryReading(ulong? LimitBytes, ulong? ChargeBytes, ulong? ChargeLimitBytes, double? StalledPercent)
{
    /// <summary>Reads the group's files and the stalls. A handful of small files: tens of microseconds.</summary>
    /// <param name="group">Null: there is none.</param>
    /// <param name="machinePressureFile">/proc/pressure/memory; asked where the group (always in version 1) has no such file.</param>
    public static MemoryReading Of(MemoryCgroup? group, string machinePressureFile)
    {
        (ulong Charge, ulong Limit)? tightest = group?.Tightest;
        double? stalled = group is { Version: 2 } ? StalledOf(Path.Combine(group.Folder, "memory.pressure")) : null;
        return new(group?.EffectiveLimitBytes, tightest?.Charge, tightest?.Limit, stalled ?? StalledOf(machinePressureFile));
    }

    /// <summary>avg10 of the line "some avg10=0.12 avg60=0.05 avg300=0.01 total=12345" (Documentation/accounting/psi.rst).</summary>
    internal static bool TryParseStalled(string text, out double percent)
    {
        const string Field = "avg10=";
        percent = 0;
        foreach (string line in text.Split('\n'))
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length >= 2 && words[0] == "some" && words[1].StartsWith(Field, StringComparison.Ordinal))
            {
                return double.TryParse(words[1].AsSpan(Field.Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out percent)
                    && percent is >= 0 and <= 100;
            }
        }

        return false;
    }

    private static double? StalledOf(string file)
    {
        if (!File.Exists(file))
        {
            return null; // asked each second: an exception each time would cost more than all the rest of it
        }

        try
        {
            return TryParseStalled(File.ReadAllText(file), out double percent) ? percent : null;
        }
        catch (IOException)
        {
            return null; // gone meanwhile, or a kernel that was started without PSI (EOPNOTSUPP)
        }
        catch (UnauthorizedAccessException)
        {
            return null;
        }
    }
}
