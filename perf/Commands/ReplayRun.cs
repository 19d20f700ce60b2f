using System;
using System.Globalization;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>One run along the curve.</summary>
internal sealed record ReplayRun(
    ReplayCell Cell,
    double? Footprint,
    double FootprintRss,
    double BusySeconds,
    double MeanLate,
    double MostLate,
    double CpuSeconds)
{
    // Behind the clock by more than this share of the run, what was in use is no longer what the curve says.
    private const double LateTolerance = 0.05;

    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(50);

    public bool Treated => Cell.Treated;

    /// <summary>Whether the load kept up with the curve.</summary>
    public bool IsLate(ReplayPlan plan) => MostLate > plan.Curve.Seconds * LateTolerance;

    public static ReplayRun Measure(ReplayPlan plan, ReplayCell cell)
    {
        using ChildProcess child = ChildProcess.Start(cell.Name, ["replay-child", .. cell.ToArguments(), .. plan.ToArguments()]);
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
                    $"{now - start,5:0} s  {cell.Name}: used {live >> 20} MiB, rss {usage.Rss >> 20} MiB, charge {(usage.Charge ?? 0) >> 20} MiB"));
            }

            Thread.Sleep(SampleInterval); // the rhythm of the samples
        }

        child.Send("finish");
        double used = plan.Curve.UsedIntegral;
        return new ReplayRun(
            cell,
            footprint.Charge / used,
            footprint.Rss / used,
            BusySeconds: end.Value.Number(1),
            MeanLate: end.Value.Number(2),
            MostLate: end.Value.Number(3),
            CpuSeconds: end.Value.Number(4));
    }
}

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
