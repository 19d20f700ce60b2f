using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;

namespace LowLevel.Generator;

/// <summary>The layouts and what is generated from them, on disk, under the root of the repository.</summary>
internal sealed class LayoutFiles(string root)
{
    /// <summary>What to run when something generated is out of date.</summary>
    public const string Command = "dotnet run --project Native/Generator";

    private static readonly UTF8Encoding s_utf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Folders that hold nothing but generated files, relative to the root.</summary>
    private static readonly string[] s_generated = ["Native/Generated", "tests/Native/Generated"];

    private static string LayoutsFolder => Path.Combine("Native", "Layouts");

    /// <summary>The first folder from <paramref name="start"/> upward that has Native/Layouts; null where none has.</summary>
    public static string? FindRoot(string start)
    {
        for (DirectoryInfo? folder = new(start); folder is not null; folder = folder.Parent)
        {
            if (HasLayouts(folder.FullName))
            {
                return folder.FullName;
            }
        }
        return null;
    }

    public static bool HasLayouts(string folder) => Directory.Exists(Path.Combine(folder, LayoutsFolder));

    /// <summary>All layout texts, by name. Line ends are LF whatever the checkout made of them.</summary>
    public List<LayoutText> ReadLayouts() =>
    [
        .. Directory.GetFiles(Path.Combine(root, LayoutsFolder), "*.layout")
            .Order(StringComparer.Ordinal)
            .Select(path => new LayoutText(
                Path.GetFileNameWithoutExtension(path),
                File.ReadAllText(path, s_utf8).Replace("\r\n", "\n", StringComparison.Ordinal))),
    ];

    /// <summary>What is to be generated: path relative to the root with forward slashes, and content.</summary>
    public static SortedDictionary<string, string> Generate(LayoutModel model)
    {
        SortedDictionary<string, string> files = new(StringComparer.Ordinal);
        foreach (Layout layout in model.Layouts)
        {
            files.Add($"{s_generated[0]}/{layout.Text.Name}.g.cs", CSharpWriter.Write(layout, model));
            files.Add($"{s_generated[1]}/{layout.Text.Name}Tests.g.cs", TestWriter.Write(layout, model));
        }
        files.Add($"{s_generated[1]}/{CProbeWriter.FileName}", CProbeWriter.Write(model));
        return files;
    }

    /// <summary>The first file that is not what it should be, in words; null where all are.</summary>
    public string? FindDifference(SortedDictionary<string, string> files)
    {
        foreach ((string path, string content) in files)
        {
            string full = Path.Combine(root, path);
            if (!File.Exists(full))
            {
                return $"{path} is missing";
            }
            if (!File.ReadAllBytes(full).AsSpan().SequenceEqual(s_utf8.GetBytes(content)))
            {
                return $"{path} differs from what its layout says";
            }
        }
        return FindSuperfluous(files).FirstOrDefault() is { } extra ? $"{extra} is superfluous: no layout has it" : null;
    }

    /// <summary>Writes what differs, each file beside its place first and then moved, and removes what no layout has.</summary>
    /// <returns>Number of files that were written or removed.</returns>
    public int Write(SortedDictionary<string, string> files)
    {
        int changed = 0;
        foreach ((string path, string content) in files)
        {
            string full = Path.Combine(root, path);
            byte[] bytes = s_utf8.GetBytes(content);
            if (File.Exists(full) && File.ReadAllBytes(full).AsSpan().SequenceEqual(bytes))
            {
                continue;
            }
            Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            string temporary = full + ".tmp";
            File.WriteAllBytes(temporary, bytes);
            File.Move(temporary, full, overwrite: true);
            changed++;
        }
        foreach (string path in FindSuperfluous(files).ToList())
        {
            File.Delete(Path.Combine(root, path));
            changed++;
        }
        return changed;
    }

    private IEnumerable<string> FindSuperfluous(SortedDictionary<string, string> files) => s_generated
        .Where(folder => Directory.Exists(Path.Combine(root, folder)))
        .SelectMany(folder => Directory.GetFiles(Path.Combine(root, folder)).Select(path => $"{folder}/{Path.GetFileName(path)}"))
        .Where(path => !files.ContainsKey(path))
        .Order(StringComparer.Ordinal);
}
