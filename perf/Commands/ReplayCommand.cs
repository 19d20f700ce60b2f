using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Drives the arena along a demand curve (<see cref="DemandLoad"/> describes how) with treatment on and off, one after the
/// other and in changing order, each run in a process and, where the machine lets it, a memory cgroup of its own. Footprint =
/// integral of what the process is charged for / integral of the bytes that the curve uses, over the curve's time; once for the
/// charge, once for RSS, both sampled at 20 Hz and net of the baseline. Where the curve runs at a speed, so does the delay before
/// treatment; what the kernel takes for a page is not sped up, so the time that treatment costs shows larger than it would be
/// at the trace's own speed. With <c>--table</c>: over order, delay and capacity, on the beginning of the curve.</summary>
internal sealed class ReplayCommand : ICommand
{
    public string Name => "replay";

    public string Summary =>
        "a demand for memory over time; --demand NAME or FILE, --scale 1/8, --speed 60, --threads 2, --rounds 1, --seed 1; --table, --table-seconds 720";

    public int Run(Arguments arguments)
    {
        ReplayPlan plan = ReplayPlan.Read(arguments);
        bool table = arguments.Flag("table");
        int rounds = table ? 1 : arguments.Integer("rounds", 1, 1, 99);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Introduce(plan);
        string demand = DemandFiles.NameOf(plan.Path);
        if (table)
        {
            IReadOnlyList<ReplayTableRow> rows = ReplayTable.Measure(plan, ReplayCell.Grid);
            ReplayTable.Write(Console.Out, rows);
            ReplayReport.WriteLate(Console.Out, rows.Select(r => r.Run), plan);
            foreach ((string, object?)[] row in ReplayTable.Rows(rows, demand))
            {
                report.Row(row);
            }
        }
        else
        {
            List<ReplayRun> runs = RunRounds(plan, rounds);
            ReplayReport.Write(Console.Out, runs, plan);
            runs.ForEach(r => report.Row(ReplayReport.Row(r, demand, null)));
        }

        report.Save();
        return Program.Success;
    }

    private static List<ReplayRun> RunRounds(ReplayPlan plan, int rounds)
    {
        List<ReplayRun> runs = [];
        for (int round = 0; round < rounds; round++)
        {
            // On first, then off first, and so on: what drifts with time falls on both.
            bool onFirst = round % 2 == 0;
            runs.Add(ReplayRun.Measure(plan, onFirst ? ReplayCell.Default : ReplayCell.Off));
            runs.Add(ReplayRun.Measure(plan, onFirst ? ReplayCell.Off : ReplayCell.Default));
        }

        return runs;
    }

    private static void Introduce(ReplayPlan plan)
    {
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"replay of {DemandFiles.NameOf(plan.Path)}: {plan.Trace.Steps.Count} steps over {plan.Trace.Seconds:0} s, peak {plan.Trace.PeakBytes >> 20} MiB; "
            + $"scale {plan.Scale:0.####} (peak {plan.Curve.PeakBytes >> 20} MiB), speed {plan.Speed:0.#} ({plan.Curve.Seconds:0.0} s a run), "
            + $"{plan.Threads} job threads"));
        Console.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"the delay before treatment is scaled with the speed: {ReplayCell.Default.Delay:0.##} s on the trace's clock is "
            + $"{ReplayCell.Default.Delay / plan.Speed * 1000:0.0} ms here"));
    }
}
