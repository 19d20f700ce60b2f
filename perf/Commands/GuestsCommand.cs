using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Three guests, each on the same demand a third of its length later, under one host with one budget, beside the same three without a host
/// (each treats for itself) and with nothing given back.</summary>
internal sealed class GuestsCommand : ICommand
{
    /// <summary>Guests.</summary>
    public const int Count = 3;

    private const double CommonScale = 1.0 / 16;
    private const double BudgetOverPeak = 1.15;

    public string Name => "guests";

    public string Summary => "three guests on shifted demand under one budget: peak, integral, time against three alone; --scale 1/16, --speed 60, --rounds 3";

    public int Run(Arguments arguments)
    {
        int rounds = arguments.Integer("rounds", 3, 1, 99);
        ReplayPlan plan = ReplayPlan.Read(arguments, CommonScale, threads: 1);
        int budget = arguments.Integer("budget-mib", (int)(BudgetOverPeak * PeakOfSum(plan.Curve) / (1 << 20)), 16, 1 << 24);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine(
            $"guests: {Count} of {System.IO.Path.GetFileNameWithoutExtension(plan.Path)} at scale {plan.Scale:0.####}, speed {plan.Speed:0}, a third apart; " +
            $"peak of one {plan.Curve.PeakBytes >> 20} MiB, of the sum {PeakOfSum(plan.Curve) >> 20} MiB, budget {budget} MiB");
        GuestsKind[] kinds = [GuestsKind.UnderHost, GuestsKind.Alone, GuestsKind.KeepPeak];
        List<GuestsRun>[] runs = [.. kinds.Select(_ => new List<GuestsRun>())];
        for (int round = 0; round < rounds; round++)
        {
            foreach (int i in PeersPlan.InTurn([0, 1, 2], round, 0))
            {
                runs[i].Add(GuestsRun.Measure(plan, kinds[i], budget));
                Console.Out.WriteLine($"  {runs[i][^1].Line}");
            }
        }

        Write(kinds, runs, plan, report);
        report.Save();
        return Program.Success;
    }

    /// <summary>The most that all use together at one time.</summary>
    private static long PeakOfSum(DemandCurve curve)
    {
        DemandCurve[] shifted = [.. Enumerable.Range(0, Count).Select(i => curve.Shifted((double)i / Count))];
        return curve.Steps.Max(step => shifted.Sum(c => c.UsedAt(step.Seconds)));
    }

    private static void Write(GuestsKind[] kinds, List<GuestsRun>[] runs, ReplayPlan plan, JsonReport report)
    {
        double used = Count * plan.Curve.UsedIntegral;
        double alone = runs[1].Select(r => r.BusySeconds).Order().ElementAt(runs[1].Count / 2);
        Console.Out.WriteLine();
        Console.Out.WriteLine("medians                          peak, MiB   integral / used     time, s   to alone   taken back by guests   failed");
        for (int i = 0; i < kinds.Length; i++)
        {
            double peak = Middle(runs[i], r => r.PeakBytes);
            double integral = Middle(runs[i], r => r.Integral) / used;
            double time = Middle(runs[i], r => r.BusySeconds);
            Summary ratio = Statistics.Summarise([.. runs[i].Zip(runs[1], (a, b) => a.BusySeconds / b.BusySeconds)]);
            string range = $"{ratio.Median:0.000} ({ratio.Least:0.000}..{ratio.Most:0.000})";
            string row = $"{GuestsRun.Title(kinds[i]),-32}{peak / (1 << 20),10:0}{integral,18:0.00}{time,12:0.00}   {range,-22}";
            Console.Out.WriteLine($"{row}{runs[i].Max(r => r.Deflated) >> 8,8} MiB{runs[i].Sum(r => r.Failed),9}");
            report.Row(
                ("contestant", kinds[i].ToString()), ("peak_bytes", peak), ("integral_to_used", integral), ("busy_seconds", time),
                ("to_alone", ratio.Median), ("failed", runs[i].Sum(r => r.Failed)));
        }

        Console.Out.WriteLine($"time: what the guests' threads spend in allocate, touch and free; alone {alone:0.00} s. Charge and RSS net of each guest's baseline");
    }

    private static double Middle(List<GuestsRun> runs, Func<GuestsRun, double> value) => Statistics.Summarise([.. runs.Select(value)]).Median;
}
