using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.RegularExpressions;

namespace LowLevel.Tests.House;

/// <summary>The house's rules on one file. Each rule takes a path (from the root, forward slashes) and its text and gives the
/// violations as "path:line: what is wrong and what to do"; the tests beside this class plant one of each.
/// The patterns put one letter in brackets so that this file does not violate itself.</summary>
internal static class SourceRules
{
    public const int FileLinesMax = 400;
    public const int FunctionLinesMax = 70;
    public const int LineCharactersMax = 170;

    /// <summary>Layers from the ground up: a layer sees itself and those before it. The folder is the layer; of nested ones the inner, which
    /// stands after the outer.</summary>
    private static readonly (string Folder, string Name)[] Layers =
    [
        ("Native/", "LowLevel.Native"),
        ("Interop/", "LowLevel.Interop"),
        ("Allocator/", "LowLevel.Allocator"),
        ("Allocator/AspNetCore/", "LowLevel.Allocator.AspNetCore"),
        ("perf/", "LowLevel.Perf"),
        ("tests/", "LowLevel.Tests"),
    ];

    /// <summary>The topmost layer that is one project; above it a layer may hold several.</summary>
    private const int Adapter = 3;

    private static readonly (string Pattern, string Advice)[] BannedText =
    [
        (@"\b(?:[T]ODO|[F]IXME|[H]ACK|[X]XX)\b", "finish it, or say why it is so"),
        (@"(?<![\w./])/(?:[w]ork|[h]ome|[r]oot|[U]sers|[t]mp)/\w", "a path of one machine"),
        (@"\b[C]:\\", "a path of one machine"),
        (@"(?i)\b(?:[n]uget\.org/v|[a]rtifactory|[n]exus\.|pkgs\.[d]ev|[n]pmjs)", "a registry host: restore uses what the user has configured"),
    ];

    private static readonly (string Pattern, string Advice)[] BannedCode =
    [
        (@"\bunsafe\s+(?:\w+\s+)*(?:class|struct|record|interface)\b", "put unsafe on the members or blocks that need it"),
        (@"\b(?:LibraryImport|GeneratedRegex|LoggerMessage|JsonSerializable|JsonSerializerContext|OptionsValidator)\b", "a Roslyn source generator"),
    ];

    private static readonly (string Pattern, string Advice)[] BannedInTests =
    [
        (@"\bThread\.Sleep\b|\bTask\.Delay\b", "tests wait for events, never for time"),
    ];

    /// <summary>Every rule that looks at the text of one file.</summary>
    public static IEnumerable<string> Check(string path, string text)
    {
        IEnumerable<string> found = Whole(path, text).Concat(Banned(path, text, BannedText));
        if (path.EndsWith(".cs", StringComparison.Ordinal))
        {
            string code = CSharpText.CodeOnly(text);
            found = found.Concat(Banned(path, code, BannedCode)).Concat(Layering(path, code));
            found = found.Concat(Banned(path, text, [(@"(?m)^\s*#\s*region\b", "make it a type or a file")]));
            found = path.StartsWith("tests/", StringComparison.Ordinal) ? found.Concat(Banned(path, code, BannedInTests)) : found;
            found = IsGenerated(path) ? found : found.Concat(Lengths(path, text));
        }

        if (path.EndsWith(".csproj", StringComparison.Ordinal))
        {
            found = found.Concat(Project(path, text));
        }

        return found;
    }

    public static bool IsGenerated(string path) => path.EndsWith(".g.cs", StringComparison.Ordinal);

    private static IEnumerable<string> Whole(string path, string text)
    {
        if (text.Length > 0 && !text.EndsWith('\n'))
        {
            yield return $"{path}: the last line has no line end";
        }

        if (text.Contains('\r', StringComparison.Ordinal))
        {
            yield return $"{path}: line ends are CR LF; they are LF here";
        }
    }

    private static IEnumerable<string> Banned(string path, string text, (string Pattern, string Advice)[] rules) =>
        from rule in rules
        from match in Regex.Matches(text, rule.Pattern)
        select $"{Place(path, text, match.Index)}: '{match.Value.Trim()}': {rule.Advice}";

    /// <summary>Project references, usings and full names look down only. The generator stands on nothing, the adapter for
    /// ASP.NET Core on the allocator.</summary>
    private static IEnumerable<string> Layering(string path, string code)
    {
        int own = Array.FindLastIndex(Layers, l => path.StartsWith(l.Folder, StringComparison.Ordinal));
        for (int above = own + 1; own >= 0 && above < Layers.Length; above++)
        {
            foreach (Match match in Regex.Matches(code, Regex.Escape(Layers[above].Name) + @"\b"))
            {
                yield return $"{Place(path, code, match.Index)}: {Layers[own].Name} looks up to {match.Value}";
            }
        }
    }

    private static IEnumerable<string> Lengths(string path, string text)
    {
        string[] lines = text.Split('\n');
        if (lines.Length - 1 > FileLinesMax)
        {
            yield return $"{path}: {lines.Length - 1} lines; at most {FileLinesMax}: split it by concept";
        }

        foreach (Member member in CSharpText.Members(text).Where(m => m.Lines > FunctionLinesMax))
        {
            yield return $"{path}:{member.FirstLine}: {member.Declaration}: {member.Lines} lines; at most {FunctionLinesMax}, a screen";
        }

        for (int i = 0; i < lines.Length; i++)
        {
            if (lines[i].Length > LineCharactersMax)
            {
                yield return $"{path}:{i + 1}: {lines[i].Length} characters; at most {LineCharactersMax}";
            }
        }
    }

    private static IEnumerable<string> Project(string path, string text)
    {
        int own = Array.FindLastIndex(Layers, l => path.StartsWith(l.Folder, StringComparison.Ordinal));
        bool generator = path.StartsWith("Native/Generator/", StringComparison.Ordinal);
        foreach (Match reference in Regex.Matches(text, "<ProjectReference[^>]*Include=\"([^\"]+)\""))
        {
            string target = reference.Groups[1].Value.Replace('\\', '/');
            int layer = Array.FindLastIndex(Layers, l => target.Contains(l.Folder, StringComparison.Ordinal));
            bool nested = target is "../LowLevel.Allocator.csproj" or "../LowLevel.Interop.csproj";
            if (generator || (!nested && (layer < 0 || layer > own || (layer == own && own <= Adapter))))
            {
                yield return $"{Place(path, text, reference.Index)}: {target} is not below this project";
            }
        }

        foreach (Match version in Regex.Matches(text, "<Package(?:Reference|Version)[^>]*\\bVersion(?:Override)?="))
        {
            yield return $"{Place(path, text, version.Index)}: package versions stand in Directory.Packages.props";
        }

        foreach (Match analyzer in Regex.Matches(text, "OutputItemType=\"Analyzer\"|<Analyzer\\b"))
        {
            yield return $"{Place(path, text, analyzer.Index)}: a Roslyn plug-in of the project's own";
        }
    }

    private static string Place(string path, string text, int index) => $"{path}:{1 + text.AsSpan(0, index).Count('\n')}";
}
