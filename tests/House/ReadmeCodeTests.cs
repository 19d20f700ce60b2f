using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using Xunit;

namespace LowLevel.Tests.House;

/// <summary>C# in a README is C# that is compiled: each block stands in a sample, line for line, between the comments
/// "// README: begin" and "// README: end". A name after "begin" ("// README: begin heap") makes a block of its own; what stands between
/// comments of the same name, or of none, in one file is one block.</summary>
public sealed class ReadmeCodeTests
{
    private static IEnumerable<string> Readmes => Repository.TextFiles.Where(f => Regex.IsMatch(f, @"^(?:(?:Native|Interop|Allocator)/.*)?README\.md$"));

    private static IEnumerable<(string Name, string Text)> Compiled => Repository.CSharp
        .Where(f => f.StartsWith("perf/samples/", StringComparison.Ordinal))
        .SelectMany(f => Marked(Repository.Read(f)).Select(block => ($"{f}: {block.Key}", block.Value)));

    [Fact]
    public void Every_block_of_a_README_is_compiled_in_a_sample()
    {
        string[] compiled = [.. Compiled.Select(c => c.Text)];
        Assert.Contains("README.md", Readmes);
        Assert.NotEmpty(Blocks(Repository.Read("README.md")));
        Assert.All(Readmes, readme => Assert.All(Blocks(Repository.Read(readme)), block =>
            Assert.True(compiled.Contains(block), $"{readme}: no sample in perf/samples has these lines:\n{block}")));
    }

    [Fact]
    public void Every_marked_block_of_a_sample_is_in_a_README()
    {
        string[] told = [.. Readmes.SelectMany(r => Blocks(Repository.Read(r)))];
        Assert.NotEmpty(Compiled);
        Assert.All(Compiled, block => Assert.True(told.Contains(block.Text), $"no README has {block.Name}:\n{block.Text}"));
    }

    [Fact]
    public void Marked_lines_of_one_name_are_one_block()
    {
        const string Source = "a\n// README: begin\nb\n// README: end\nc\n// README: begin heap\nd\n\n// README: end\n// README: begin\ne\n// README: end\nf\n";
        Dictionary<string, string> blocks = Marked(Source);
        Assert.Equal(["", "heap"], blocks.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("b\ne\n", blocks[""]);
        Assert.Equal("d\n\n", blocks["heap"]);
        Assert.Equal(["b\ne\n"], Blocks("x\n```csharp\nb\ne\n```\n```\nno\n```\n"));
    }

    [Theory]
    [InlineData("// README: begin\na\n")]
    [InlineData("a\n// README: end\n")]
    [InlineData("// README: begin\n// README: begin\n// README: end\n")]
    public void A_mark_without_its_other_half_is_found(string source) =>
        Assert.Contains("README: ", Assert.Throws<FormatException>(() => Marked(source)).Message, StringComparison.Ordinal);

    private static IEnumerable<string> Blocks(string markdown) =>
        Regex.Matches(markdown, @"^```csharp\n(.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline).Select(m => m.Groups[1].Value);

    private static Dictionary<string, string> Marked(string source)
    {
        var blocks = new Dictionary<string, StringBuilder>(StringComparer.Ordinal);
        StringBuilder? open = null;
        foreach (string line in source.TrimEnd('\n').Split('\n'))
        {
            Match mark = Regex.Match(line, @"^\s*// README: (?:(?<end>end)|begin ?(?<name>.*))$");
            bool ends = mark.Groups["end"].Success;
            if (!mark.Success)
            {
                open?.Append(line).Append('\n');
            }
            else if (ends != open is not null)
            {
                throw new FormatException($"'{line}' has no other half");
            }
            else
            {
                open = ends ? null : blocks.TryGetValue(mark.Groups["name"].Value, out StringBuilder? known) ? known : blocks[mark.Groups["name"].Value] = new();
            }
        }

        return open is null ? blocks.ToDictionary(b => b.Key, b => b.Value.ToString()) : throw new FormatException("README: begin has no README: end");
    }
}
