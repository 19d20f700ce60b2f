using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Allocator;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The whole of <c>perf trace</c> on a short load: a process that starts another one and looks at it from outside.</summary>
public sealed class TraceCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-trace-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public void Every_stage_is_seen_from_outside_with_its_times_and_pages()
    {
        string trace = Path.Combine(folder.FullName, "small.nettrace");
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "trace", "--seconds", "1", "--output", trace, "--json", json);
        Assert.True(code == 0, output);

        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        Assert.Equal("trace", report.RootElement.GetProperty("command").GetString());
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(Enum.GetNames<Stage>(), rows.Select(r => r.GetProperty("stage").GetString()!));
        Assert.All(rows, r =>
        {
            Assert.True(r.GetProperty("count").GetInt64() > 0, $"no {r}");
            Assert.InRange(r.GetProperty("p99_microseconds").GetDouble(), 0, r.GetProperty("total_microseconds").GetDouble() + 1);
            Assert.Equal(0, r.GetProperty("events_lost").GetInt64());
        });
        Assert.InRange(rows.Sum(r => r.GetProperty("share").GetDouble()), 0.99, 1.01);
        Assert.All(new[] { "Fill", "Decant" }, stage =>
            Assert.True(rows.Single(r => r.GetProperty("stage").GetString() == stage).GetProperty("pages").GetInt64() >= 512));
        Assert.All(Enum.GetNames<Stage>(), stage => Assert.Contains($"\n{stage} ", output, StringComparison.Ordinal));

        TraceStages again = TraceStages.Read(trace);
        Assert.True(again.Events > 5, "the file cannot be read a second time");
        Assert.True(again.Samples > 0, "no stack was sampled");
        Assert.Equal([json, trace], Directory.EnumerateFileSystemEntries(folder.FullName).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("--seconds", "0", "--seconds")]
    [InlineData("--output", "/nowhere/at/all.nettrace", "--output")]
    [InlineData("--profile", "cpu", "--profile")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value, string named)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["trace", option, value], output, error));
        Assert.Contains(named, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
        Assert.Equal(string.Empty, output.ToString());
    }
}
