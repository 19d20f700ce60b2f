using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;

namespace LowLevel.Tests.House;

/// <summary>The source tree that the running tests were built from: found by walking up from the test program to the folder
/// that holds LowLevel.sln, so that it works from any working directory.</summary>
internal static class Repository
{
    /// <summary>What builds, runs and version control write (.git is a file in a linked work tree); nothing of it is source.</summary>
    private static readonly HashSet<string> Output = new(StringComparer.Ordinal)
    {
        ".git", "bin", "obj", "artifacts", "BenchmarkDotNet.Artifacts", "TestResults", ".vs", ".vscode", ".idea", "node_modules",
    };

    private static readonly HashSet<string> TextExtensions = new(StringComparer.Ordinal)
    {
        ".cs", ".csproj", ".props", ".targets", ".sln", ".md", ".json", ".layout", ".txt", ".csv", ".yml", ".xml", ".c", ".h", ".sh",
        ".html", ".js", ".css", ".svg",
    };

    /// <summary>Full path of the repository's top folder.</summary>
    public static string Root { get; } = FindRoot(AppContext.BaseDirectory);

    /// <summary>Every text file, as a path from the root with forward slashes, in ordinal order. Files without an extension
    /// (LICENSE, .ci/run, .gitignore) count as text.</summary>
    public static IReadOnlyList<string> TextFiles { get; } = [.. Walk(Root).Where(IsText).Select(Relative).Order(StringComparer.Ordinal)];

    /// <summary>C# sources, written by hand or by the generator.</summary>
    public static IEnumerable<string> CSharp => TextFiles.Where(f => f.EndsWith(".cs", StringComparison.Ordinal));

    /// <summary>Project files.</summary>
    public static IEnumerable<string> Projects => TextFiles.Where(f => f.EndsWith(".csproj", StringComparison.Ordinal));

    /// <summary>Text of a file, byte order mark removed.</summary>
    public static string Read(string relative) => File.ReadAllText(Full(relative));

    public static string Full(string relative) => Path.Combine(Root, relative);

    /// <summary>The nearest folder upwards that holds LowLevel.sln.</summary>
    public static string FindRoot(string from)
    {
        for (DirectoryInfo? folder = new(from); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LowLevel.sln")))
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException($"No folder above {from} holds LowLevel.sln; these tests read the sources that they were built from.");
    }

    private static string Relative(string full) => Path.GetRelativePath(Root, full).Replace('\\', '/');

    private static bool IsText(string path)
    {
        string name = Path.GetFileName(path);
        string extension = Path.GetExtension(path);
        return extension.Length == 0 || TextExtensions.Contains(extension) || name.LastIndexOf('.') == 0;
    }

    private static IEnumerable<string> Walk(string folder)
    {
        IEnumerable<string> below = Directory.EnumerateDirectories(folder).Where(d => !Output.Contains(Path.GetFileName(d))).SelectMany(Walk);
        return Directory.EnumerateFiles(folder).Where(f => !Output.Contains(Path.GetFileName(f))).Concat(below);
    }
}
