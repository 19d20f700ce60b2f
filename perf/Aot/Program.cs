using System;
using System.Globalization;

namespace LowLevel.Perf;

/// <summary>What is compiled ahead of time: the arena as a contestant of <c>perf peers</c>, with the same loops and the same protocol; and, with
/// <c>stress SEED ROUNDS</c>, rounds of the stress for tools that look at native programs (valgrind, perf stat).</summary>
internal static class Program
{
    private static int Main(string[] arguments)
    {
        if (arguments is ["stress", string seed, string rounds])
        {
            return Stress(ulong.Parse(seed, CultureInfo.InvariantCulture), int.Parse(rounds, CultureInfo.InvariantCulture));
        }

        using var load = new ArenaLoad();
        PeerServer.Serve(load, Console.In, Console.Out);
        return 0;
    }

    private static int Stress(ulong seed, int rounds)
    {
        int violations = 0;
        for (ulong i = 0; i < (ulong)rounds; i++)
        {
            var plan = StressPlan.For(seed + i);
            StressShared round = new StressRound(plan).Run();
            violations += round.Violations.Count;
            Console.Out.WriteLine($"seed {seed + i}: {round.Operations} operations, {round.Violations.Count} violations; {plan}");
            foreach (string violation in round.Violations)
            {
                Console.Out.WriteLine("  " + violation);
            }
        }

        return violations == 0 ? 0 : 1;
    }
}
