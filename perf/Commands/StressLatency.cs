using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>The tail of allocate, first touch and free under treatment against without, in turn in one run.</summary>
internal static class StressLatency
{
    private static readonly (string Name, double Share)[] Shares = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

    /// <summary>Measures and writes the table.</summary>
    public static void Run(int rounds, double seconds, int seed, JsonReport report)
    {
        int threads = Environment.ProcessorCount;
        Console.Out.WriteLine($"latency: {threads} threads, {rounds} rounds of {seconds} s with treatment (delay 100 ms) and as many without, in turn");
        Measure(true, 1, threads, seed); // compiled by then
        List<LatencyLoad>[] runs = [[], []];
        for (int round = 0; round < rounds; round++)
        {
            foreach (int i in PeersPlan.InTurn([0, 1], round, 0))
            {
                runs[i].Add(Measure(i == 0, seconds, threads, seed + round));
            }
        }

        Console.Out.WriteLine();
        string heads = string.Concat(Shares.Select(s => $"{s.Name,10}")) + $"{"max",10}";
        Console.Out.WriteLine($"{"ns, medians of rounds",-24}  {heads}     {heads}   (with treatment, then without)");
        Write("allocate", runs, l => l.Allocate, report);
        Write("first touch", runs, l => l.Touch, report);
        Write("free", runs, l => l.Free, report);
        Console.Out.WriteLine($"pairs: {runs[0].Sum(l => l.Free.Count)} with, {runs[1].Sum(l => l.Free.Count)} without; two reads of the clock are in each time");
    }

    private static LatencyLoad Measure(bool treated, double seconds, int threads, int seed)
    {
        using PageArena arena = PageArena.Create(new PageArenaOptions
        {
            SizeBytes = 1 << 30,
            Aeration = new AerationOptions { Enabled = treated, Delay = TimeSpan.FromMilliseconds(100) },
        });
        LatencyLoad load = LatencyLoad.Run(arena, seconds, threads, (ulong)seed);
        if (treated != arena.GetStatistics().PagesTreated > 0)
        {
            throw new MeasurementException($"{arena.GetStatistics().PagesTreated} pages treated where treatment is {(treated ? "on" : "off")}");
        }

        return load;
    }

    private static void Write(string what, List<LatencyLoad>[] runs, Func<LatencyLoad, LatencyHistogram> of, JsonReport report)
    {
        List<(string, object?)> row = [("operation", what)];
        string line = $"{what,-24}";
        foreach ((string name, List<LatencyLoad> some) in new[] { ("treated", runs[0]), ("untreated", runs[1]) })
        {
            line += name == "treated" ? "  " : "     ";
            foreach ((string quantile, double share) in Shares)
            {
                double ns = Nanoseconds([.. some.Select(l => of(l).Quantile(share))]);
                row.Add(($"{name}_{quantile}_ns", ns));
                line += $"{ns,10:0}";
            }

            double most = Nanoseconds([.. some.Select(l => of(l).Most)]);
            row.Add(($"{name}_max_ns", most));
            line += $"{most,10:0}";
        }

        Summary ratio = Statistics.Summarise([.. runs[0].Zip(runs[1], (a, b) => (double)of(a).Quantile(0.999) / of(b).Quantile(0.999))]);
        row.Add(("p99.9_treated_to_untreated", ratio.Median));
        Console.Out.WriteLine($"{line}   p99.9 ratio {ratio.Median:0.00} [{ratio.Least:0.00}, {ratio.Most:0.00}]");
        report.Row([.. row]);
    }

    private static double Nanoseconds(long[] ticks) => Statistics.Summarise([.. ticks.Select(t => (double)t)]).Median * 1e9 / Stopwatch.Frequency;
}
