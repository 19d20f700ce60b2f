using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The result of <c>perf kestrel</c> as text and as rows.</summary>
internal static class KestrelTable
{
    private const double LeastDifference = 100;

    public static void Write(TextWriter output, IReadOnlyList<KestrelRun> runs)
    {
        output.WriteLine();
        output.WriteLine("medians of the rounds; MiB net of the idle baseline, RSS | charge of the server's memory cgroup");
        output.WriteLine(
            $"{"pool",-10}{"requests/s",12}{"p50 ms",10}{"p99 ms",10}{"CPU s",8}{"peak",16}" +
            string.Concat(runs[0].Instants.Select(i => Format($"after {i:0.##} s").PadLeft(16))) + $"{"baseline RSS",15}");
        foreach (string pool in KestrelServer.Pools)
        {
            KestrelRun[] own = [.. runs.Where(r => r.Pool == pool)];
            output.WriteLine(
                Format($"{pool,-10}{Median(own, r => r.Burst!.RequestsPerSecond),12:0}{Median(own, r => r.Burst!.P50),10:0.0}") +
                Format($"{Median(own, r => r.Burst!.P99),10:0.0}{Median(own, r => r.CpuSeconds),8:0.0}") +
                Both(own, r => new Usage(r.PeakRss, r.PeakCharge)).PadLeft(16) +
                string.Concat(runs[0].Instants.Select((_, i) => Both(own, r => r.After[i]).PadLeft(16))) +
                Format($"{Median(own, r => r.Baseline.Rss / 1048576.0),15:0}"));
        }

        Targets(output, runs);
    }

    /// <summary>The line after a burst.</summary>
    public static string Line(KestrelRun run) => Format(
        $"round {run.Round}, {run.Pool}: {run.Burst!.Requests} requests, {run.Burst.Bytes >> 20} MiB in {run.Burst.Seconds:0.0} s, peak RSS {run.PeakRss >> 20} MiB");

    /// <summary>The row of <c>--json</c>.</summary>
    public static (string Name, object? Value)[] Row(KestrelRun run)
    {
        List<(string, object?)> fields =
        [
            ("pool", run.Pool),
            ("round", run.Round),
            ("requests", run.Burst!.Requests),
            ("body_bytes", run.Burst.Bytes),
            ("burst_seconds", run.Burst.Seconds),
            ("requests_per_second", run.Burst.RequestsPerSecond),
            ("p50_milliseconds", run.Burst.P50),
            ("p99_milliseconds", run.Burst.P99),
            ("cpu_seconds", run.CpuSeconds),
            ("baseline_rss_bytes", run.Baseline.Rss),
            ("baseline_charge_bytes", run.Baseline.Charge),
            ("peak_rss_bytes", run.PeakRss),
            ("peak_charge_bytes", run.PeakCharge),
        ];
        for (int i = 0; i < run.Instants.Count; i++)
        {
            fields.Add((Format($"rss_bytes_after_{run.Instants[i]:0.##}s"), run.After[i].Rss));
            fields.Add((Format($"charge_bytes_after_{run.Instants[i]:0.##}s"), run.After[i].Charge));
        }

        fields.Add(("pages_treated", run.PagesTreated));
        fields.Add(("charge_source", run.ChargeSource));
        return [.. fields];
    }

    private static void Targets(TextWriter output, IReadOnlyList<KestrelRun> runs)
    {
        KestrelRun[] theirs = [.. runs.Where(r => r.Pool == "default")];
        KestrelRun[] ours = [.. runs.Where(r => r.Pool == "arena")];
        Summary speed = Statistics.Summarise([.. ours.Zip(theirs, (o, t) => o.Burst!.RequestsPerSecond / t.Burst!.RequestsPerSecond)]);
        double kept = Median(theirs, r => r.After[1].Rss / 1048576.0);
        double left = Median(ours, r => r.After[1].Rss / 1048576.0);
        string falls = Word(kept - left >= LeastDifference || left <= kept / 2);
        output.WriteLine();
        output.WriteLine(Format(
            $"requests/s, ours to default: {speed.Median:0.000} [{speed.Low:0.000}, {speed.High:0.000}]; to reach 1: {Word(speed.Median >= 1)}"));
        output.WriteLine(Format(
            $"RSS {ours[0].Instants[1]:0.##} s after the burst: {left:0} MiB, default {kept:0} MiB; to reach {LeastDifference} MiB less, or half: {falls}"));
    }

    private static string Word(bool reached) => reached ? "reached" : "not reached";

    private static string Both(KestrelRun[] runs, Func<KestrelRun, Usage> choose)
    {
        string charge = Array.TrueForAll(runs, r => choose(r).Charge is not null) ? Format($"{Median(runs, r => choose(r).Charge!.Value / 1048576.0):0}") : "-";
        return Format($"{Median(runs, r => choose(r).Rss / 1048576.0):0} | {charge}");
    }

    private static double Median(KestrelRun[] runs, Func<KestrelRun, double> choose) => Statistics.Summarise([.. runs.Select(choose)]).Median;

    private static string Format(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
