using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The demand curves that come with the program, known by name.</summary>
internal static class DemandFiles
{
    /// <summary>The one that was recorded, for which there are published figures.</summary>
    public const string Recorded = "clang-build";

    private static string Folder => Path.Combine(AppContext.BaseDirectory, "Demand");

    public static IReadOnlyList<string> Names => [.. Directory.GetFiles(Folder, "*.csv").Select(Path.GetFileNameWithoutExtension).Order(StringComparer.Ordinal)!];

    /// <summary>The path of <c>--demand</c>: a name of these, or a file.</summary>
    public static string Read(Arguments arguments)
    {
        string given = arguments.Text("demand", Recorded)!;
        return Names.Contains(given) ? Path.Combine(Folder, given + ".csv")
            : File.Exists(given) ? given
            : throw new UsageException($"option --demand: there is no file '{given}'; allowed: a file that can be read, or one of {string.Join(", ", Names)}");
    }

    /// <summary>What a row calls it: the file's name alone.</summary>
    public static string NameOf(string path) => Path.GetFileNameWithoutExtension(path);
}
