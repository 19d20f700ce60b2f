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

    private const string Temporary = ".tmp";

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
    /// <exception cref="IOException">A text cannot be read or is not UTF-8, or there is none.</exception>
    public List<LayoutText> ReadLayouts()
    {
        string[] paths = Directory.GetFiles(Path.Combine(root, LayoutsFolder), "*.layout");
        Array.Sort(paths, StringComparer.Ordinal);
        // Without this, an empty folder would mean that everything generated is superfluous.
        return paths.Length != 0
            ? [.. paths.Select(ReadLayout)]
            : throw new FileNotFoundException($"no *.layout in {Path.Combine(root, LayoutsFolder)}; allowed: at least one");
    }

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

    /// <summary>Writes what differs, and removes what no layout has. All files are written beside their places before the
    /// first is moved there, so that a full disk leaves everything as it was.</summary>
    /// <returns>Number of files that were written or removed.</returns>
    public int Write(SortedDictionary<string, string> files)
    {
        List<string> changed = [];
        foreach ((string path, string content) in files)
        {
            string full = Path.Combine(root, path);
            byte[] bytes = s_utf8.GetBytes(content);
            if (!File.Exists(full) || !File.ReadAllBytes(full).AsSpan().SequenceEqual(bytes))
            {
                Directory.CreateDirectory(Path.GetDirectoryName(full)!);
                File.WriteAllBytes(full + Temporary, bytes);
                changed.Add(full);
            }
        }
        foreach (string full in changed)
        {
            File.Move(full + Temporary, full, overwrite: true);
        }
        List<string> superfluous = [.. FindSuperfluous(files)];
        superfluous.ForEach(path => File.Delete(Path.Combine(root, path)));
        return changed.Count + superfluous.Count;
    }

    private static LayoutText ReadLayout(string path)
    {
        try
        {
            string text = File.ReadAllText(path, s_utf8).Replace("\r\n", "\n", StringComparison.Ordinal);
            return new LayoutText(Path.GetFileNameWithoutExtension(path), text);
        }
        catch (DecoderFallbackException problem)
        {
            throw new IOException($"{path}: byte {problem.Index} is no UTF-8; allowed: UTF-8 text", problem);
        }
    }

    private IEnumerable<string> FindSuperfluous(SortedDictionary<string, string> files) => s_generated
        .Where(folder => Directory.Exists(Path.Combine(root, folder)))
        .SelectMany(folder => Directory.GetFiles(Path.Combine(root, folder)).Select(path => $"{folder}/{Path.GetFileName(path)}"))
        .Where(path => !files.ContainsKey(path))
        .Order(StringComparer.Ordinal);
}
