using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using System.Threading.Tasks;
using LowLevel.Tests.House;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>The program that explores schedules (tests/Schedules), in its short form: what meets at the product's atomic words and locks holds
/// whoever goes on when, in sequential and in weak memory, and each way to break it is found.</summary>
public sealed class ScheduleTests
{
    private static readonly string[] s_cases =
    [
        "gate", "two drainers", "thread end", "zone lock", "atomic word", "signal", "worker", "cap queue", "cap moves", "discard gate", "ring with flags",
        "ring with event index", "serve and reset", "dispose", "thread pages", "stop and start", "close under treatment", "memory owner", "heap",
    ];

    private static readonly Lazy<(int Code, string Output)> s_short = new(static () => Run());

    /// <summary>The cases.</summary>
    public static TheoryData<string> Cases => [.. s_cases];

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_case_holds_under_every_schedule_that_is_tried_and_finds_every_way_to_break_it(string name)
    {
        string[] lines = [.. s_short.Value.Output.Split('\n').Where(line => line.StartsWith(name + ": ", StringComparison.Ordinal))];
        Assert.DoesNotContain("FINDING", s_short.Value.Output, StringComparison.Ordinal);
        Assert.Equal(3, lines.Count(line => !line.Contains(": mutation ", StringComparison.Ordinal)));
        string[] mutations = [.. lines.Where(line => line.Contains(": mutation ", StringComparison.Ordinal))];
        Assert.NotEmpty(mutations);
        Assert.All(mutations, line => Assert.Contains(": found after ", line, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_case_is_looked_at_here_and_the_short_form_ends_well()
    {
        (int code, string output) = s_short.Value;
        Match end = Regex.Match(output, @"(?m)^(\d+) cases, (\d+) schedules, (\d+) mutations, 0 failures");
        Assert.True(code == 0 && end.Success, output);
        Assert.Equal(s_cases.Length, int.Parse(end.Groups[1].Value, null));
        Assert.True(int.Parse(end.Groups[2].Value, null) >= 30_000, end.Value);
    }

    /// <summary>A figure that cannot be had again finds nothing: the same seed is the same schedule, step by step.</summary>
    [Fact]
    public void A_seed_is_a_schedule_that_can_be_run_again()
    {
        string[] broken = ["--case", "gate", "--mutation", "SkipFence ThreadCacheRegistry.Freeze"];
        Match seed = Regex.Match(Run([.. broken, "--random", "50000"]).Output, @"again: --seed (\d+)");
        Assert.True(seed.Success, "fifty thousand random schedules did not find the fence that is missing");
        string found = Run([.. broken, "--seed", seed.Groups[1].Value]).Output;
        Assert.Equal(found, Run([.. broken, "--seed", seed.Groups[1].Value]).Output);
        Assert.Matches("FINDING .*the owner and another are inside at once", found);
        Assert.Contains("a buffered write becomes visible", found, StringComparison.Ordinal);
    }

    private static (int Code, string Output) Run(params string[] arguments)
    {
        string configuration = Path.GetFileName(Path.GetDirectoryName(AppContext.BaseDirectory.TrimEnd('/')))!;
        string folder = Repository.Full($"tests/Schedules/bin/{configuration}/{Path.GetFileName(AppContext.BaseDirectory.TrimEnd('/'))}");
        ProcessStartInfo start = new(Path.Combine(folder, "LowLevel.Schedules")) { RedirectStandardOutput = true, RedirectStandardError = true };
        Array.ForEach(arguments, start.ArgumentList.Add);
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.GetAwaiter().GetResult());
    }
}
