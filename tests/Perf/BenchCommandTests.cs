using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class BenchCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-bench-");

    public void Dispose() => folder.Delete(recursive: true);

    /// <summary>A dry run measures nothing; it proves that each benchmark does what it says on a real arena.</summary>
    [Fact]
    public void Every_benchmark_runs()
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "bench", "--job", "dry", "--json", json);
        Assert.True(code == 0, output);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        string[] names = [.. report.RootElement.GetProperty("rows").EnumerateArray().Select(r => r.GetProperty("benchmark").GetString()!)];
        Assert.Equal(
            ["BlockBenchmarks.Batch", "BlockBenchmarks.Pair", "BlockBenchmarks.PairFromTheZone", "ReactorBenchmarks.Decant", "ReactorBenchmarks.Fill",
                "RingBenchmarks.RoundTrip"],
            names.Distinct().Order(StringComparer.Ordinal));
        Assert.Equal((3 * 3) + (2 * 2) + (2 * 2), names.Length);
        Assert.All(report.RootElement.GetProperty("rows").EnumerateArray(), r => Assert.True(r.GetProperty("mean_ns").GetDouble() > 0, $"{r}"));
    }

    /// <summary>The smallest limit that there is: the rows are there and say something.</summary>
    [Fact]
    public void The_limit_has_a_row_for_each_way_to_drop()
    {
        string json = Path.Combine(folder.FullName, "limit.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "bench", "--limit", "--blocks", "4", "--rounds", "2", "--json", json);
        Assert.True(code == 0, output);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal("madvise", rows[0].GetProperty("mode").GetString());
        Assert.All(rows, row => Assert.Equal("limit", row.GetProperty("row").GetString()));
        foreach (string field in (string[])["bytes_per_cpu_second", "bytes_per_cpu_second_bare", "ratio", "min", "max"])
        {
            Assert.All(rows, row => Assert.True(row.GetProperty(field).GetDouble() > 0, $"{row}"));
        }
    }

    [Theory]
    [InlineData("--blocks", "0", "--blocks")]
    [InlineData("--capacity", "1025", "--capacity")]
    [InlineData("--filter", "nothing-of-this-name", "--filter")]
    [InlineData("--job", "endless", "--job")]
    [InlineData("--runtimes", "net8.0", "--runtimes")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value, string named)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["bench", option, value], output, error));
        Assert.Contains(named, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }
}
