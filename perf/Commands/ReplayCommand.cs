using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>Drives the arena along a demand curve (<see cref="DemandLoad"/> describes how) with treatment on and off, one after the
/// other and in changing order, each run in a process and, where the machine lets it, a memory cgroup of its own. Footprint =
/// integral of what the process is charged for / integral of the bytes that the curve uses, over the curve's time; once for the
/// charge, once for RSS, both sampled at 20 Hz and net of the baseline. Where the curve runs at a speed, so does the delay before
/// treatment; what the kernel takes for a page is not sped up, so the time that treatment costs shows larger than it would be
/// at the trace's own speed.</summary>
internal sealed class ReplayCommand : ICommand
{
    // Behind the clock by more than this share of the run, what was in use is no longer what the curve says.
    private const double LateTolerance = 0.05;

    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(50);

    public string Name => "replay";

    public string Summary => "a recorded demand for memory; --demand FILE, --scale 1/8, --speed 60, --threads 2, --rounds 1, --seed 1";

    public int Run(Arguments arguments)
    {
        ReplayPlan plan = ReplayPlan.Read(arguments);
        int rounds = arguments.Integer("rounds", 1, 1, 99);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Introduce(plan);
        List<ReplayRun> runs = [];
        for (int round = 0; round < rounds; round++)
        {
            // On first, then off first, and so on: what drifts with time falls on both.
            bool onFirst = round % 2 == 0;
            runs.Add(Measure(plan, onFirst));
            runs.Add(Measure(plan, !onFirst));
        }

        Print(runs, plan.Curve.Seconds);
        foreach (ReplayRun run in runs)
        {
            report.Row(
                ("treatment", run.Treated),
                ("footprint", run.Footprint),
                ("footprint_rss", run.FootprintRss),
                ("seconds", run.BusySeconds),
                ("cpu_seconds", run.CpuSeconds));
        }

        report.Save();
        return Program.Success;
    }

    private static void Introduce(ReplayPlan plan)
    {
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"replay: {plan.Trace.Steps.Count} steps over {plan.Trace.Seconds:0} s, peak {plan.Trace.PeakBytes >> 20} MiB; scale {plan.Scale:0.####} "
            + $"(peak {plan.Curve.PeakBytes >> 20} MiB), speed {plan.Speed:0.#} ({plan.Curve.Seconds:0.0} s a run), {plan.Threads} job threads"));
        Console.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"the delay before treatment is scaled with the speed: 1 s on the trace's clock is {plan.Delay.TotalMilliseconds:0.0} ms here"));
    }

    private static ReplayRun Measure(ReplayPlan plan, bool treated)
    {
        string name = treated ? "treatment on" : "treatment off";
        using ChildProcess child = ChildProcess.Start(name, ["replay-child", "--treatment", treated ? "on" : "off", .. plan.ToArguments()]);
        child.WaitFor("warm");
        Usage baseline = child.Exact();
        child.Send("go");
        double start = child.WaitFor("start").Seconds;
        var footprint = new FootprintIntegral(plan.Curve.Seconds);
        Message? end = null;
        long live = 0;
        double nextProgress = start;
        while (end is null)
        {
            while (end is null && child.TryRead(out Message message))
            {
                live = message.Subject == "live" ? message.Whole(1) : live;
                end = message.Subject == "end" ? message : null;
            }

            double now = ChildProcess.Now;
            Usage usage = child.Sample().Net(baseline);
            footprint.Add(now - start, usage);
            if (now >= nextProgress)
            {
                nextProgress += 5;
                Console.Out.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"{now - start,5:0} s  {name}: used {live >> 20} MiB, rss {usage.Rss >> 20} MiB, charge {(usage.Charge ?? 0) >> 20} MiB"));
            }

            Thread.Sleep(SampleInterval);
        }

        child.Send("finish");
        double used = plan.Curve.UsedIntegral;
        return new ReplayRun(
            treated,
            footprint.Charge / used,
            footprint.Rss / used,
            BusySeconds: end.Value.Number(1),
            MeanLate: end.Value.Number(2),
            MostLate: end.Value.Number(3),
            CpuSeconds: end.Value.Number(4));
    }

    private static void Print(List<ReplayRun> runs, double curveSeconds)
    {
        Console.Out.WriteLine();
        Console.Out.WriteLine($"{"",-44}{"footprint",10}{"by RSS",8}{"time s",9}{"CPU s",8}   late, mean | most");
        foreach (ReplayRun run in runs)
        {
            Console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{(run.Treated ? "arena, treatment on" : "arena, treatment off"),-44}{run.Footprint?.ToString("0.00", CultureInfo.InvariantCulture) ?? "-",10}"
                + $"{run.FootprintRss,8:0.00}{run.BusySeconds,9:0.00}{run.CpuSeconds,8:0.00}   {run.MeanLate * 1000:0} ms | {run.MostLate * 1000:0} ms"));
        }

        if (runs.Exists(r => r.MostLate > curveSeconds * LateTolerance))
        {
            Console.Out.WriteLine("late: the machine could not follow; the footprint means little. Take a lower --speed or --scale");
        }

        Console.Out.WriteLine("published, whole guests, the same build (HyperAlloc artifact, EuroSys'25):");
        Console.Out.WriteLine($"{"Linux free page reporting, order 9",-44}{"1.76",10}");
        Console.Out.WriteLine($"{"HyperAlloc",-44}{"1.38",10}");
        Console.Out.WriteLine($"{"Linux free page reporting, order 0",-44}{"1.13",10}   at +18 % build time");
        Console.Out.WriteLine("time: what the job threads spend in allocate, touch and free; late: behind the run's own clock when a step began");
    }
}

/// <summary>One run.</summary>
internal sealed record ReplayRun(
    bool Treated,
    double? Footprint,
    double FootprintRss,
    double BusySeconds,
    double MeanLate,
    double MostLate,
    double CpuSeconds);

/// <summary>Byte-seconds under two sampled curves, by trapezoids, from 0 to an end.</summary>
internal sealed class FootprintIntegral(double end)
{
    private double _lastSeconds;
    private Usage _last = new(0, 0);

    public double Rss { get; private set; }

    /// <summary>Null where a sample had none.</summary>
    public double? Charge { get; private set; } = 0;

    public void Add(double seconds, Usage usage)
    {
        double until = Math.Min(seconds, end);
        double width = until - _lastSeconds;
        if (width > 0)
        {
            double part = width / (seconds - _lastSeconds);
            Rss += width * (_last.Rss + ((usage.Rss - _last.Rss) * part / 2));
            Charge += width * (_last.Charge + ((usage.Charge - _last.Charge) * part / 2));
        }

        _lastSeconds = seconds;
        _last = usage;
    }
}
