using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using Xunit;

namespace LowLevel.Tests.House;

/// <summary>The rules, applied to every source of this repository.</summary>
public sealed class TidyTests
{
    [Fact]
    public void Every_source_keeps_the_house_rules()
    {
        string[] found = [.. Repository.TextFiles.SelectMany(f => SourceRules.Check(f, Repository.Read(f)))];
        Assert.True(found.Length == 0, $"{found.Length} violations:\n{string.Join('\n', found)}");
    }

    /// <summary>A walk that finds nothing would keep every rule.</summary>
    [Fact]
    public void The_walk_sees_all_layers_and_no_build_output()
    {
        Assert.All(new[] { "Native/", "Interop/", "Allocator/", "perf/", "tests/" }, folder =>
            Assert.Contains(Repository.CSharp, f => f.StartsWith(folder, StringComparison.Ordinal)));
        Assert.Contains("LICENSE", Repository.TextFiles);
        Assert.Contains(".ci/run", Repository.TextFiles);
        Assert.DoesNotContain(Repository.TextFiles, f => Regex.IsMatch(f, "(^|/)(bin|obj|artifacts)/"));
    }

    [Fact]
    public void The_solution_is_in_the_classic_format_and_lists_every_project()
    {
        string solution = Repository.Read("LowLevel.sln");
        Assert.Contains("Microsoft Visual Studio Solution File, Format Version 12.00", solution, StringComparison.Ordinal);
        IEnumerable<string> listed = Regex.Matches(solution, "\"([^\"]+\\.csproj)\"").Select(m => m.Groups[1].Value.Replace('\\', '/'));
        Assert.Equal(Repository.Projects.Order(StringComparer.Ordinal), listed.Order(StringComparer.Ordinal));
    }

    /// <summary>One line for each package, nothing floating, nothing that no project uses. No file but this one says where packages come from.</summary>
    [Fact]
    public void Package_versions_are_exact_and_stand_in_one_file()
    {
        string versions = Repository.Read("Directory.Packages.props");
        IReadOnlyList<Match> packages = Regex.Matches(versions, "<PackageVersion Include=\"([^\"]+)\" Version=\"([^\"]+)\" />");
        Assert.NotEmpty(packages);
        Assert.All(packages, p => Assert.Matches(@"^\d+\.\d+\.\d+(\.\d+)?$", p.Groups[2].Value));
        string projects = string.Concat(Repository.Projects.Append("Directory.Build.props").Select(Repository.Read));
        Assert.All(packages, p => Assert.Contains($"<PackageReference Include=\"{p.Groups[1].Value}\"", projects, StringComparison.Ordinal));
        Assert.DoesNotContain(Repository.TextFiles, f => Path.GetFileName(f).Equals("nuget.config", StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>An analyzer rule that is off and gives no reason is a rule that somebody was too tired to follow.</summary>
    [Fact]
    public void Every_exception_from_an_analyzer_rule_stands_under_a_reason()
    {
        string[] lines = Repository.Read(".editorconfig").Split('\n');
        bool explained = false;
        foreach (string line in lines)
        {
            bool exception = line.StartsWith("dotnet_diagnostic.", StringComparison.Ordinal);
            Assert.True(!exception || explained, $".editorconfig: {line} has no reason above it");
            explained = line.StartsWith('#') || (exception && explained);
        }
    }

    /// <summary>What a clone gets is what is on disk here: text is UTF-8, and no file has control characters (a solution file indents by tabs).</summary>
    [Fact]
    public void Text_is_plain_utf_8()
    {
        var strict = new UTF8Encoding(false, throwOnInvalidBytes: true);
        Assert.All(Repository.TextFiles, f =>
        {
            string text = strict.GetString(File.ReadAllBytes(Repository.Full(f)));
            Assert.DoesNotContain(text, c => char.IsControl(c) && c != '\n' && !(c == '\t' && f.EndsWith(".sln", StringComparison.Ordinal)));
        });
    }

    /// <summary>What the README promises is what is run before a change is taken.</summary>
    [Fact]
    public void The_checks_run_the_test_command_that_the_README_tells()
    {
        Assert.SkipUnless(Repository.TextFiles.Contains("README.md"), "there is no README.md yet");
        string command = Assert.Single(Regex.Matches(Repository.Read(".ci/run"), "dotnet test [^|>\n]*?(?= 2>&1)")).Value;
        Assert.Contains(command + "\n", Repository.Read("README.md"), StringComparison.Ordinal);
    }
}
