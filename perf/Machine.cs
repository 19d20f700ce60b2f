using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;

namespace LowLevel.Perf;

/// <summary>What a figure depends on and what may be told: no host name, no path.</summary>
internal static class Machine
{
    public static (string Name, object? Value)[] Describe() =>
    [
        ("cpu", CpuModel()),
        ("cores", Environment.ProcessorCount),
        ("kernel", FirstLine("/proc/sys/kernel/osrelease")),
        ("dotnet", RuntimeInformation.FrameworkDescription),
        ("transparent_huge_pages", HugePageMode()),
    ];

    /// <summary>One line for the head of a table.</summary>
    public static string Line() => string.Join(", ", Describe().Select(f => f.Name switch
    {
        "cores" => $"{f.Value} cores",
        "kernel" => $"Linux {f.Value}",
        "transparent_huge_pages" => $"THP {f.Value}",
        _ => $"{f.Value}",
    }));

    private static string CpuModel() =>
        Lines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(':', 2)[1].Trim() ?? "unknown";

    private static string HugePageMode()
    {
        string modes = FirstLine("/sys/kernel/mm/transparent_hugepage/enabled");
        int open = modes.IndexOf('[', StringComparison.Ordinal);
        int close = modes.IndexOf(']', StringComparison.Ordinal);
        return open >= 0 && close > open ? modes[(open + 1)..close] : modes;
    }

    private static string FirstLine(string path) => Lines(path).FirstOrDefault() ?? "unknown";

    private static string[] Lines(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (IOException)
        {
            return [];
        }
    }
}
