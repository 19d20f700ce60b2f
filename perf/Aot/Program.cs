using System;
using System.Diagnostics;
using System.Globalization;

namespace LowLevel.Perf;

/// <summary>What is compiled ahead of time: the arena as a contestant of <c>perf peers</c>, with the same loops and the same protocol; and, with
/// <c>stress SEED SECONDS</c>, the rounds of the stress, for tools that look at native programs, and without a JIT whose code grows.</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments is ["stress", string seed, string seconds])
        {
            return Stress(ulong.Parse(seed, CultureInfo.InvariantCulture), int.Parse(seconds, CultureInfo.InvariantCulture));
        }

        using var load = new ArenaLoad();
        PeerServer.Serve(load, Console.In, Console.Out);
        return 0;
    }

    private static int Stress(ulong seed, int seconds)
    {
        (int rounds, int violations, long operations) = (0, 0, 0);
        var levels = new StressLevels();
        var watch = Stopwatch.StartNew();
        do
        {
            var plan = StressPlan.For(seed + (ulong)rounds++);
            StressShared round = new StressRound(plan).Run();
            levels.Sample();
            violations += round.Violations.Count;
            operations += round.Operations;
            foreach (string violation in round.Violations)
            {
                Console.Out.WriteLine($"{plan}: {violation}");
            }
        }
        while (watch.Elapsed < TimeSpan.FromSeconds(seconds) && violations == 0);

        string growth = levels.Judge() is Trend trend ? StressLevels.Text(trend) : "unknown";
        Console.Out.WriteLine($"{rounds} rounds, {operations} operations, {violations} violations; between the rounds RSS grows by {growth}");
        return violations == 0 && levels.FindGrowth() is null ? 0 : 1;
    }
}
