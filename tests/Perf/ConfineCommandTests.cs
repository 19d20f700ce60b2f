using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Interop.Linux;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The arena where a container takes things away: each kind in a process that is really confined, which it checks itself.</summary>
public sealed class ConfineCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-confine-");

    public static TheoryData<string> Kinds => [.. ConfinedKind.All.Select(k => k.Name)];

    public void Dispose() => folder.Delete(recursive: true);

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Nothing_is_lost_and_what_is_refused_is_said(string kind)
    {
        if (kind == "cgroup")
        {
            MemoryCgroup? group = MemoryCgroup.OfThisProcess()?.TryCreate($"lowlevel-test-{Environment.ProcessId}");
            Assert.SkipWhen(group is null, "this machine gives no memory cgroup to a process");
            group.TryRemove();
        }

        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, "confine", "--seconds", "1", "--seed", "2", "--kind", kind, "--json", json);
        Assert.True(code == 0, output);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement row = Assert.Single(report.RootElement.GetProperty("rows").EnumerateArray());
        Assert.Equal(0, row.GetProperty("violations").GetInt32());
        Assert.True(row.GetProperty("operations").GetInt64() > 0 || kind == "memfd", output);
        Assert.True(row.GetProperty("refusals_with_reason").GetInt32() > 0 || kind is not ("data" or "address-space" or "cgroup"), output);
    }

    [Theory]
    [InlineData("--kind", "solitary")]
    [InlineData("--seconds", "0")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["confine", option, value], output, error));
        Assert.Contains(option, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }
}
