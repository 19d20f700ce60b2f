using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Host;

namespace LowLevel.Perf;

/// <summary>How the three live.</summary>
internal enum GuestsKind
{
    /// <summary>One host, one budget.</summary>
    UnderHost,

    /// <summary>Each treats for itself.</summary>
    Alone,

    /// <summary>Nothing is given back.</summary>
    KeepPeak,
}

/// <summary>Three guests to the end of their curves.</summary>
internal sealed record GuestsRun(GuestsKind Kind, double PeakBytes, double Integral, double BusySeconds, long Deflated, int Failed)
{
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(50);

    public string Line => string.Create(
        CultureInfo.InvariantCulture, $"{Title(Kind)}: peak {(long)PeakBytes >> 20} MiB, time {BusySeconds:0.00} s, {Failed} failed");

    public static string Title(GuestsKind kind) => kind switch
    {
        GuestsKind.UnderHost => "under one host",
        GuestsKind.Alone => "without a host",
        _ => "without treatment",
    };

    public static GuestsRun Measure(ReplayPlan plan, GuestsKind kind, int budgetMebibytes)
    {
        string path = Path.Combine(Path.GetTempPath(), $"lowlevel-guests-{Environment.ProcessId}");
        File.Delete(path);
        using HostServer? host = kind == GuestsKind.UnderHost
            ? new HostServer(new HostOptions { Path = path, BudgetBytes = (ulong)budgetMebibytes << 20, Interval = TimeSpan.FromMilliseconds(100) })
            : null;
        host?.Start();
        ReplayCell cell = kind == GuestsKind.KeepPeak ? ReplayCell.Off : ReplayCell.Default;
        ChildProcess[] children = new ChildProcess[GuestsCommand.Count];
        try
        {
            for (int i = 0; i < children.Length; i++)
            {
                GuestRole role = new(host is null ? null : path, (double)i / children.Length, (int)(plan.Curve.PeakBytes * 5 / 4 >> 20));
                children[i] = ChildProcess.Start($"guest {i}", ["replay-child", .. cell.ToArguments(), .. plan.ToArguments(), .. role.ToArguments()]);
            }

            return Follow(plan, kind, host, children);
        }
        finally
        {
            Array.ForEach(children, c => c?.Dispose());
        }
    }

    private static GuestsRun Follow(ReplayPlan plan, GuestsKind kind, HostServer? host, ChildProcess[] children)
    {
        Array.ForEach(children, c => c.WaitFor("warm"));
        Usage[] baselines = [.. children.Select(c => c.Exact())];
        Array.ForEach(children, c => c.Send("go"));
        double start = children.Select(c => c.WaitFor("start").Seconds).Max();
        var footprint = new FootprintIntegral(plan.Curve.Seconds);
        double peak = 0;
        long deflated = 0;
        List<double> busy = [];
        HashSet<ChildProcess> running = [.. children];
        int failed = 0;
        while (running.Count != 0)
        {
            foreach (ChildProcess child in running.ToArray())
            {
                failed += Read(child, running, busy) ? 0 : 1;
            }

            Usage sum = new(0, 0);
            for (int i = 0; i < children.Length; i++)
            {
                Usage usage = children[i].Sample().Net(baselines[i]);
                sum = new Usage(sum.Rss + usage.Rss, sum.Charge + usage.Charge);
            }

            footprint.Add(ChildProcess.Now - start, sum);
            peak = Math.Max(peak, sum.Charge ?? sum.Rss);
            deflated = host?.Guests.Sum(g => g.DeflatedPages) ?? 0;
            Thread.Sleep(SampleInterval); // the rhythm of the samples
        }

        Array.ForEach(children, c => c.Send("finish"));
        return new GuestsRun(kind, peak, footprint.Charge ?? footprint.Rss, busy.Sum(), deflated, failed);
    }

    /// <summary>False: the guest has failed.</summary>
    private static bool Read(ChildProcess child, HashSet<ChildProcess> running, List<double> busy)
    {
        try
        {
            while (child.TryRead(out Message message))
            {
                if (message.Subject == "end")
                {
                    busy.Add(message.Number(1));
                    running.Remove(child);
                }
            }

            return true;
        }
        catch (MeasurementException)
        {
            running.Remove(child);
            return false;
        }
    }
}
