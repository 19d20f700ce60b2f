using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Allocator;
using LowLevel.Perf;
using Microsoft.Diagnostics.Tracing;
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
        JsonElement[] all = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        JsonElement[] rows = [.. all.Where(r => r.TryGetProperty("stage", out _))];
        CheckActivity(all, rows);
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
        string picture = Path.Combine(folder.FullName, "small.png");
        Assert.Equal([json, trace, picture], Directory.EnumerateFileSystemEntries(folder.FullName).Order(StringComparer.Ordinal));
        Assert.True(File.ReadAllBytes(picture).AsSpan(1, 3).SequenceEqual("PNG"u8));
        Assert.Contains("hottest stacks in managed code", output, StringComparison.Ordinal);
        Assert.Contains(TraceStacks.Read(trace).Hottest, s => s.Stack.StartsWith("TraceChildCommand.Burst < TraceChildCommand.Load", StringComparison.Ordinal));
        TraceActivity activity = TraceActivity.Read(trace);
        Assert.All(new[] { "allocated", "raw", "treated", "resident", "System.Runtime/working-set" }, c => Assert.True(activity.Counter(c).Count > 2, c));
        Assert.InRange(activity.Seconds, 0.9, 60);
    }

    /// <summary>A report is a batch: as many came back as the reactor settled, with as many bytes, and the host dropped each byte once.</summary>
    private static void CheckActivity(JsonElement[] all, JsonElement[] stages)
    {
        Dictionary<string, JsonElement> rows = all.Where(r => r.TryGetProperty("activity", out _)).ToDictionary(r => r.GetProperty("activity").GetString()!);
        Assert.Equal(["discards", "drains", "lock_waits", "refills", "reports", "slow_allocations"], rows.Keys.Order(StringComparer.Ordinal));
        JsonElement settle = stages.Single(r => r.GetProperty("stage").GetString() == "Settle");
        Assert.Equal(settle.GetProperty("count").GetInt64(), rows["reports"].GetProperty("count").GetInt64());
        Assert.Equal(settle.GetProperty("pages").GetInt64() * 4096, rows["reports"].GetProperty("bytes").GetInt64());
        Assert.Equal(rows["reports"].GetProperty("bytes").GetInt64(), rows["discards"].GetProperty("bytes").GetInt64());
        Assert.True(rows["refills"].GetProperty("blocks").GetInt64() > 0);
    }

    /// <summary>The runtime of the command waits for the recording: nothing of its short life is missed, and its own children are not held.</summary>
    [Fact]
    public void Any_program_is_traced_from_its_start_and_its_own_children_run()
    {
        string inner = Path.Combine(folder.FullName, "inner.nettrace");
        string trace = Path.Combine(folder.FullName, "outer.nettrace");
        string program = Path.Combine(AppContext.BaseDirectory, "LowLevel.Perf");
        string[] stress = ["--", program, "stress", "--seconds", "1", "--seed", "7"];
        (int code, string output) = PerfProcess.Run(folder.FullName, ["trace", "--output", trace, .. stress]);
        Assert.True(code == 0, output);
        Assert.Contains("the command ended with code 0", output, StringComparison.Ordinal);
        var names = new HashSet<string>();
        using (var source = new EventPipeEventSource(trace))
        {
            source.Dynamic.All += e => names.Add(e.EventName);
            source.Process();
        }

        // The first arena of the process is the first thing that it tells.
        Assert.Superset(new HashSet<string> { "ArenaCreated", "ArenaDisposed", "Refill", "Drain", "SlowAllocation" }, names);

        // A command that starts a child of its own: the child would wait for ever for a port that nobody serves.
        string[] nested = ["--", program, "trace", "--seconds", "0.2", "--output", inner];
        (code, output) = PerfProcess.Run(folder.FullName, ["trace", "--output", trace, .. nested]);
        Assert.Contains("the load: ", output, StringComparison.Ordinal);
        Assert.True(TraceStages.Read(inner).Events > 0, output);
        Assert.Equal(1, code); // the traced process itself has no arena, and that is said
        Assert.Contains("the process told no event of an arena", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("true", 1, "before a .NET runtime was up in it")]
    [InlineData("/nowhere/at/all", 2, "cannot be started")]
    [InlineData("dotnet run", 2, "the program itself")]
    public void A_command_that_cannot_be_traced_is_refused_in_one_line(string command, int code, string named)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        string trace = Path.Combine(folder.FullName, "none.nettrace");
        Assert.Equal(code, Program.Run(["trace", "--output", trace, "--", .. command.Split(' ')], output, error));
        Assert.Contains(named, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.FullName));
    }

    [Fact]
    public void Spans_are_counted_into_the_parts_of_the_time_that_they_fill()
    {
        TraceSpan[] spans = [new(1.5, 1e6, 10), new(0.25, 0.5e6, 5), new(4, 0.5e6, 7)];
        Assert.Equal([0.75, 0.5, 0, 0.5], TraceBins.Busy(spans, 4, 4).Select(v => Math.Round(v, 9)));
        Assert.Equal([5.0, 10, 0, 7], TraceBins.Sum(spans, 4, 4, s => s.Amount));
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
