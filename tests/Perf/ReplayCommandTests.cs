using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Allocator;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>Replays of an instant: what is run and what is told of it.</summary>
public sealed class ReplayCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-replay-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public void Three_rounds_give_medians_and_the_ratio_of_time_with_its_range()
    {
        string demand = Write("0,8388608,1048576\n1,4194304,0\n2,1048576,0\n");
        (int code, string output, JsonElement[] rows) = Replay("--demand", demand, "--scale", "1", "--speed", "1000", "--rounds", "3");
        Assert.True(code == 0, output);
        Assert.Contains("medians of the rounds", output, StringComparison.Ordinal);
        Assert.Contains("time, treatment on / off:", output, StringComparison.Ordinal);
        Assert.DoesNotContain("published", output, StringComparison.Ordinal);
        Assert.Equal([true, false, false, true, true, false], rows.Select(r => r.GetProperty("treatment").GetBoolean()));
        Assert.All(rows, r => Assert.Equal("demand", r.GetProperty("demand").GetString()));
    }

    [Fact]
    public void A_table_has_each_cell_between_two_runs_without_treatment()
    {
        string demand = Write("0,2097152,1048576\n1,1048576,0\n500,2097152,0\n");
        ReplayPlan plan = ReplayPlan.Read(Arguments.Parse(["--demand", demand, "--scale", "1", "--speed", "1000", "--table", "--table-seconds", "2"]));
        Assert.Equal(0.002, plan.Curve.Seconds, 6);
        ReplayCell[] cells = [ReplayCell.Default, new(true, 4, 0.25, 512)];
        var rows = ReplayTable.Measure(plan, cells);
        Assert.Equal(cells, rows.Select(r => r.Run.Cell));
        Assert.All(rows, r => Assert.True(!r.Before.Treated && !r.After.Treated && r.TimeRatio > 0));
        Assert.Same(rows[0].After, rows[1].Before);

        using var output = new StringWriter();
        ReplayTable.Write(output, rows);
        Assert.Contains("default policy", output.ToString(), StringComparison.Ordinal);
        var fields = ReplayTable.Rows(rows, "demand").Select(r => r.ToDictionary(f => f.Name, f => f.Value)).ToArray();
        Assert.Equal([true, true, false, false, false], fields.Select(f => f["treatment"]));
        Assert.Equal([null, 4, null, null, null], fields.Select(f => f["minimum_order"]));
        Assert.Equal([1.0, 0.25, null, null, null], fields.Select(f => f["delay_seconds"]));
        Assert.Equal([256, 512, null, null, null], fields.Select(f => f["capacity"]));
        Assert.True(ReplayCell.Grid.Count >= 12);
    }

    [Fact]
    public void A_cell_reaches_the_arena_whole_and_its_delay_runs_on_the_traces_clock()
    {
        var cell = new ReplayCell(true, 4, 0.25, 512);
        ReplayCell read = ReplayCell.Read(Arguments.Parse(cell.ToArguments()));
        Assert.Equal(cell, read);
        AerationOptions options = read.Options(speed: 10).Aeration;
        Assert.Equal((true, 4, 512), (options.Enabled, options.MinimumOrder, options.ReactorCapacity));
        Assert.Equal(TimeSpan.FromMilliseconds(25), options.Delay);

        Assert.Equal(ReplayCell.Default, ReplayCell.Read(Arguments.Parse(ReplayCell.Default.ToArguments())));
        AerationOptions plain = ReplayCell.Default.Options(speed: 1).Aeration;
        var fresh = new AerationOptions();
        Assert.Equal((fresh.MinimumOrder, fresh.Delay, fresh.ReactorCapacity), (plain.MinimumOrder, plain.Delay, plain.ReactorCapacity));
        Assert.False(ReplayCell.Read(Arguments.Parse(ReplayCell.Off.ToArguments())).Options(1).Aeration.Enabled);
        Assert.Equal(ReplayCell.Grid.Count, ReplayCell.Grid.Distinct().Count());
    }

    [Theory]
    [InlineData("clang-build")]
    [InlineData("batch-waves")]
    [InlineData("service-day")]
    [InlineData("step-idle")]
    public void A_shipped_demand_is_found_by_its_name(string name)
    {
        string path = DemandFiles.Read(Arguments.Parse(["--demand", name]));
        Assert.Equal(name, DemandFiles.NameOf(path));
        DemandCurve curve = DemandCurve.Load(path);
        Assert.InRange(curve.Steps.Count, 300, 2000);
        Assert.InRange(curve.Seconds, 30 * 60, 60 * 60);
        Assert.InRange(curve.PeakBytes, 8L << 30, 16L << 30);
    }

    [Fact]
    public void The_invented_demands_are_what_their_generator_writes()
    {
        using var output = new StringWriter();
        Assert.Equal(0, Program.Run(["demand-files", "--folder", folder.FullName], output, output));
        Assert.Equal(SyntheticDemand.Names.Append(DemandFiles.Recorded).Order(StringComparer.Ordinal), DemandFiles.Names);
        Assert.All(SyntheticDemand.Names, name =>
        {
            string shipped = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Demand", name + ".csv"));
            Assert.Equal(shipped, File.ReadAllText(Path.Combine(folder.FullName, name + ".csv")));
        });
    }

    [Theory]
    [InlineData("--demand", "nobodys-day")]
    [InlineData("--table-seconds", "5")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["replay", option, value], output, error));
        Assert.Contains(option, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public void The_beginning_of_a_curve_ends_where_it_is_cut_with_what_is_in_use_there()
    {
        DemandCurve curve = DemandCurve.Parse(new StringReader("seconds,used_bytes,page_cache_bytes\n0,10,0\n10,20,0\n30,5,0\n"));
        DemandCurve start = curve.Until(15);
        Assert.Equal(15, start.Seconds);
        Assert.Equal((10 * 10) + (20 * 5), start.UsedIntegral);
        Assert.Same(curve, curve.Until(30));
    }

    private string Write(string steps)
    {
        string path = Path.Combine(folder.FullName, "demand.csv");
        File.WriteAllText(path, "seconds,used_bytes,page_cache_bytes\n" + steps);
        return path;
    }

    private (int Code, string Output, JsonElement[] Rows) Replay(params string[] options)
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(folder.FullName, ["replay", .. options, "--json", json]);
        using JsonDocument report = JsonDocument.Parse(code == 0 ? File.ReadAllText(json) : """{"rows":[]}""");
        return (code, output, [.. report.RootElement.GetProperty("rows").EnumerateArray().Select(r => r.Clone())]);
    }
}
