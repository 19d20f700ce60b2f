using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text.Json;
using System.Text.RegularExpressions;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The live view: what the model makes of reports, what the frame makes of the model, and the whole against a process.</summary>
public sealed class WatchTests
{
    private const string Tags = "lowlevel.arena.name=web,lowlevel.arena.id=1";
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    [Fact]
    public void A_frame_shows_the_plant_from_the_user_to_the_host()
    {
        List<string> lines = WatchFrame.Lines(Model(), 1234, TimeSpan.FromSeconds(7), Second);
        Assert.Equal(
            [
                "process 1234   RSS 812.5 MiB   watched for 7 s",
                "",
                "arena 1 web   reserved 4,096.0 MiB   resident at most 800.0 MiB",
                "  allocated           512.0 MiB  ####################",
                "  thread caches        64.0 MiB  ###",
                "  free, raw           256.0 MiB  ##########",
                "  in the reactor        0.0 MiB",
                "  free, treated     1,024.0 MiB  ########################################",
                "  free blocks by order       0      1      2      3      4      5      6      7      8      9     10",
                "    raw                     33      0      0      0      0      0      0      0      0      0      0",
                "    treated                 44      0      0      0      0      0      0      0      0      0     55",
                "  cycles 90 (3/s)   lost batches 0 (0/s)",
                "",
                "reactor: Decant ended last   Decant 2/s, 0.3 ms   Fill 1/s, 0.1 ms",
            ],
            lines);
    }

    [Fact]
    public void Without_a_terminal_it_is_one_line_for_an_arena()
    {
        string line = Assert.Single(WatchFrame.Plain(Model(), TimeSpan.FromSeconds(7), Second));
        Assert.Equal(
            "    7 s  rss 812.5 MiB  arena 1  allocated 512.0 MiB  cached 64.0 MiB  raw 256.0 MiB  in_reactor 0.0 MiB  treated 1,024.0 MiB" +
            "  cycles 90 (3/s)  lost_batches 0 (0/s)  stage Decant",
            line);
        Assert.DoesNotContain('\u001b', line);
    }

    [Fact]
    public void Before_the_first_report_the_view_says_so()
    {
        WatchModel empty = new() { ResidentBytes = 1 << 20 };
        Assert.Contains("no arena has reported yet", WatchFrame.Lines(empty, 1, Second, Second)[1], StringComparison.Ordinal);
        Assert.EndsWith("no arena has reported yet", Assert.Single(WatchFrame.Plain(empty, Second, Second)), StringComparison.Ordinal);
        Assert.Contains("no stage seen yet", WatchFrame.Lines(empty, 1, Second, Second)[^1], StringComparison.Ordinal);
    }

    [Fact]
    public void What_it_does_not_know_it_leaves_alone()
    {
        WatchModel model = Model();
        List<string> before = WatchFrame.Lines(model, 1, Second, Second);
        model.Take("lowlevel.arena.of_tomorrow", Tags, 5, 1);
        model.Take("lowlevel.heap.slabs", Tags, 5, null);
        model.Take("lowlevel.arena.raw", Tags, double.NaN, null);
        model.Take("lowlevel.arena.free_blocks", Tags + ",lowlevel.order=11,lowlevel.state=raw", 5, null);
        model.Take("lowlevel.arena.free_blocks", Tags + ",lowlevel.order=-1,lowlevel.state=raw", 5, null);
        model.Take("lowlevel.arena.free_blocks", Tags + ",lowlevel.order=3,lowlevel.state=lost", 5, null);
        model.Take("lowlevel.arena.faults", Tags + ",lowlevel.fault=madvise", 5, null);
        Assert.Equal(before, WatchFrame.Lines(model, 1, Second, Second));
    }

    [Theory]
    [InlineData("")]
    [InlineData("lowlevel.arena.id")]
    [InlineData(",,=,a=b=c")]
    public void Tags_of_any_form_belong_to_the_first_arena(string tags)
    {
        WatchModel model = new();
        model.Take("lowlevel.arena.raw", tags, 1 << 20, null);
        Assert.Equal("1", Assert.Single(model.Arenas.Values).Id);
    }

    [Fact]
    public void Arenas_stand_in_the_order_of_their_numbers_and_rare_states_where_there_are_any()
    {
        WatchModel model = new();
        foreach (int id in new[] { 10, 9, 2 })
        {
            model.Take("lowlevel.arena.quarantined", string.Create(CultureInfo.InvariantCulture, $"lowlevel.arena.id={id}"), id == 9 ? 1 << 20 : 0, 0);
        }

        List<string> lines = WatchFrame.Lines(model, 1, Second, Second);
        Assert.Equal(["arena 2", "arena 9", "arena 10"], lines.Where(l => l.StartsWith("arena", StringComparison.Ordinal)));
        Assert.Contains("quarantined", Assert.Single(lines, l => l.Contains("quarantined", StringComparison.Ordinal)), StringComparison.Ordinal);
    }

    [Fact]
    public void Stages_are_counted_per_interval_and_the_last_one_stays_known()
    {
        WatchModel model = Model();
        model.EndInterval();
        Assert.Empty(model.Stages);
        Assert.Equal("reactor: Decant ended last", WatchFrame.Lines(model, 1, Second, Second)[^1]);
    }

    /// <summary>A process that was not prepared, watched from another one: the figures that the hook publishes in it arrive, and the stages
    /// of its own arena.</summary>
    [Fact]
    public void A_process_is_watched_from_outside_line_by_line_where_there_is_no_terminal()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-watch-");
        Dictionary<string, string> hook = new() { ["DOTNET_STARTUP_HOOKS"] = typeof(WatchTests).Assembly.Location };
        using ChildProcess child = ChildProcess.Start("watched", ["trace-child", "--seconds", "8"], hook);
        try
        {
            string process = child.WaitFor("ready").Words[1];
            child.Send("go");
            string json = Path.Combine(folder.FullName, "rows.json");
            (int code, string output) = PerfProcess.Run(folder.FullName, "watch", process, "--seconds", "5", "--json", json);
            Assert.True(code == 0, output);
            string[] lines = output.TrimEnd().Split('\n');
            Assert.DoesNotContain('\u001b', output);
            Assert.InRange(lines.Count(l => l.Contains("  arena 77  ", StringComparison.Ordinal)), 2, 6);
            Assert.Contains(lines, l => Regex.IsMatch(l, @"  arena 1  allocated [0-9.]+ MiB  cached [0-9.]+ MiB .*  cycles [1-9]"));
            string last = lines.Last(l => l.Contains("  arena 77  ", StringComparison.Ordinal));
            Assert.Contains("allocated 512.0 MiB  cached 64.0 MiB  raw 256.0 MiB  in_reactor 2.0 MiB  treated 1,024.0 MiB", last, StringComparison.Ordinal);
            Assert.Matches(@"rss [1-9][0-9,]*\.[0-9] MiB", last);
            Assert.Matches(@"cycles [0-9]+ \(3/s\)", last);
            Assert.Matches("stage (Idle|Fill|React|Settle|Decant)$", last);
            using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
            JsonElement row = report.RootElement.GetProperty("rows").EnumerateArray().Single(r => r.GetProperty("arena").GetString() == "77");
            Assert.Equal(1024L << 20, row.GetProperty("treated").GetInt64());
            Assert.Equal(800L << 20, row.GetProperty("resident").GetInt64());
        }
        finally
        {
            child.WaitFor("done");
            child.Send("finish");
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void A_process_that_is_not_there_is_named()
    {
        using Process gone = Process.Start(new ProcessStartInfo("true"))!;
        gone.WaitForExit();
        (int code, string error) = Run("watch", gone.Id.ToString(CultureInfo.InvariantCulture), "--seconds", "1");
        Assert.Equal((Program.Failure, $"there is no process {gone.Id}"), (code, error));
    }

    [Fact]
    public void A_process_without_a_diagnostics_port_is_named_with_the_reasons()
    {
        using Process other = Process.Start(new ProcessStartInfo("cat") { RedirectStandardInput = true })!;
        try
        {
            (int code, string error) = Run("watch", other.Id.ToString(CultureInfo.InvariantCulture), "--seconds", "1");
            Assert.Equal(Program.Failure, code);
            Assert.StartsWith($"process {other.Id} has no diagnostics port that serves", error, StringComparison.Ordinal);
            Assert.Contains("DOTNET_EnableDiagnostics=0", error, StringComparison.Ordinal);
        }
        finally
        {
            other.StandardInput.Close();
            other.WaitForExit();
        }
    }

    [Theory]
    [InlineData("PID", "watch")]
    [InlineData("PID", "watch", "--seconds", "1")]
    [InlineData("'abc'", "watch", "abc")]
    [InlineData("'-5'", "watch", "-5")]
    [InlineData("'0'", "watch", "0")]
    [InlineData("'99999999999'", "watch", "99999999999")]
    [InlineData("'12'", "watch", "1", "12")]
    [InlineData("--seconds", "watch", "1", "--seconds", "0")]
    [InlineData("--fast", "watch", "1", "--fast")]
    [InlineData("'1'", "stress", "1")]
    public void Bad_input_ends_with_one_line_and_code_2(string named, params string[] arguments)
    {
        (int code, string error) = Run(arguments);
        Assert.Equal(Program.BadUsage, code);
        Assert.Contains(named, error, StringComparison.Ordinal);
    }

    private static (int Code, string Error) Run(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = Program.Run(arguments, output, error);
        Assert.Equal(string.Empty, output.ToString());
        return (code, Assert.Single(error.ToString().TrimEnd().Split('\n')));
    }

    private static WatchModel Model()
    {
        WatchModel model = new() { ResidentBytes = 1625L << 19 };
        (string Name, double Mebibytes)[] bytes =
            [("reserved", 4096), ("resident", 800), ("allocated", 512), ("cached", 64), ("raw", 256), ("in_reactor", 0), ("treated", 1024), ("quarantined", 0)];
        foreach ((string name, double mebibytes) in bytes)
        {
            model.Take("lowlevel.arena." + name, Tags, mebibytes * (1 << 20), 0);
        }

        model.Take("lowlevel.arena.cycles", Tags, 90, 3);
        model.Take("lowlevel.arena.lost_batches", Tags, 0, 0);
        (int Order, string State, string Type, int Blocks)[] free =
            [(0, "raw", "unmovable", 11), (0, "raw", "movable", 22), (0, "treated", "unmovable", 44), (10, "treated", "unmovable", 55)];
        foreach ((int order, string state, string type, int blocks) in free)
        {
            string tags = string.Create(CultureInfo.InvariantCulture, $"{Tags},lowlevel.order={order},lowlevel.migrate_type={type},lowlevel.state={state}");
            model.Take("lowlevel.arena.free_blocks", tags, blocks, 0);
        }

        model.TakeStage("Fill", 512, 100);
        model.TakeStage("Decant", 512, 100);
        model.TakeStage("Decant", 512, 200);
        return model;
    }
}
