using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The command as a user starts it.</summary>
public sealed class FuzzCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-fuzz-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public void Every_target_is_attacked_and_what_was_worth_keeping_is_kept()
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "fuzz", "--rings", "300", "--seed", "5", "--corpus", folder.FullName, "--json", json);
        Assert.True(code == 0, output);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(FuzzTargets.Names, rows.Select(static row => row.GetProperty("target").GetString()));
        Assert.All(rows, static row => Assert.Equal((300, 0), (row.GetProperty("rings").GetInt64(), row.GetProperty("findings").GetInt32())));
        Assert.All(rows, row => Assert.Equal(
            row.GetProperty("corpus").GetInt32(), FuzzCorpus.Load(FuzzCorpus.PathOf(folder.FullName, row.GetProperty("target").GetString()!)).Count));
    }

    [Fact]
    public void A_file_of_inputs_is_played_again()
    {
        string file = Path.Combine(folder.FullName, "lines.hex");
        File.WriteAllText(file, "00010203\nff\n");
        (int code, string output) = PerfProcess.Run(folder.FullName, "fuzz", "--target", "device-queue", "--replay", file);
        Assert.Equal((0, "device-queue: 2 rings, no finding"), (code, output.Trim()));
    }

    [Theory]
    [InlineData("--target", "nothing")]
    [InlineData("--seconds", "0")]
    [InlineData("--rings", "-1")]
    [InlineData("--corpus", "nowhere")]
    [InlineData("--replay", "nowhere")]
    [InlineData("--speed", "9")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["fuzz", option, value], output, error));
        Assert.Contains(option, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }
}
