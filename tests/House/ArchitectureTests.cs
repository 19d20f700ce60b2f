using System;
using System.Globalization;
using System.Linq;
using System.Text.RegularExpressions;
using Xunit;

namespace LowLevel.Tests.House;

/// <summary>ARCHITECTURE.md and SECURITY.md promise tests; here each promise is held against the sources.</summary>
public sealed class ArchitectureTests
{
    private static string Text => Repository.Read("ARCHITECTURE.md");

    private static string Tests => string.Join('\n', Repository.TextFiles
        .Where(f => f.StartsWith("tests/", StringComparison.Ordinal) && f.EndsWith(".cs", StringComparison.Ordinal))
        .Select(Repository.Read));

    [Fact]
    public void Each_fault_of_the_series_has_a_row_with_an_answer()
    {
        for (int fault = 1; fault <= 35; fault++)
        {
            string row = Row(string.Create(CultureInfo.InvariantCulture, $"| B{fault} |"));
            Assert.True(
                row.Contains('`', StringComparison.Ordinal) || row.Contains("Cannot arise:", StringComparison.Ordinal),
                $"B{fault} has neither a test nor a reason: {row}");
        }
    }

    [Fact]
    public void Each_patch_of_the_series_has_a_row()
    {
        for (int patch = 1; patch <= 11; patch++)
        {
            Assert.Contains('`', Row(string.Create(CultureInfo.InvariantCulture, $"| {patch} ")));
        }
    }

    [Theory]
    [InlineData("ARCHITECTURE.md")]
    [InlineData("SECURITY.md")]
    public void Each_test_that_is_named_exists(string document)
    {
        string tests = Tests;
        string text = Repository.Read(document);
        string[] names = [.. Regex.Matches(text, "`([A-Za-z0-9]+\\.)?([A-Z][A-Za-z0-9]*_[A-Za-z0-9_]+)(\\*?)`").Select(m => m.Groups[2].Value)];
        Assert.NotEmpty(names);
        Assert.All(names, name => Assert.Contains(" " + name, tests, StringComparison.Ordinal));
        string[] classes = [.. Regex.Matches(text, "`([A-Z][A-Za-z]+Tests)[.`]").Select(m => m.Groups[1].Value).Distinct()];
        Assert.NotEmpty(classes);
        Assert.All(classes, name => Assert.Contains("class " + name, tests, StringComparison.Ordinal));
    }

    private static string Row(string start)
    {
        string? row = Array.Find(Text.Split('\n'), line => line.StartsWith(start, StringComparison.Ordinal));
        Assert.True(row is not null, $"ARCHITECTURE.md has no row that begins with '{start}'");
        return row;
    }
}
