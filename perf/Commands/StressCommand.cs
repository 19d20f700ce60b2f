using System;
using System.Diagnostics;

namespace LowLevel.Perf;

/// <summary>Round after round, each with an arena of random options under more threads than cores; ends well only if at every
/// quiescence the arena's invariants held, every byte had its owner and every block kept what was written into it.</summary>
internal sealed class StressCommand : ICommand
{
    private static readonly TimeSpan ProgressInterval = TimeSpan.FromSeconds(5);

    public string Name => "stress";

    public string Summary => "many threads, random options, nothing lost; --seconds 30, --seed N (default: random)";

    public int Run(Arguments arguments)
    {
        int seconds = arguments.Integer("seconds", 30, 1, 86_400);
        int seed = arguments.Integer("seed", Random.Shared.Next(), 0, int.MaxValue);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"stress: {seconds} s, seed {seed}");
        long operations = 0;
        long refusals = 0;
        int rounds = 0;
        int violations = 0;
        var watch = Stopwatch.StartNew();
        TimeSpan told = TimeSpan.Zero;
        do
        {
            ulong roundSeed = (ulong)seed + (ulong)rounds;
            var plan = StressPlan.For(roundSeed);
            StressShared round = new StressRound(plan).Run();
            rounds++;
            operations += round.Operations;
            refusals += round.Refusals;
            violations = round.Violations.Count;
            if (violations > 0)
            {
                Console.Out.WriteLine($"round {rounds} (--seed {roundSeed} begins with it): {plan}");
                Console.Out.WriteLine("  " + string.Join("\n  ", round.Violations));
            }
            else if (watch.Elapsed - told >= ProgressInterval)
            {
                told = watch.Elapsed;
                Console.Out.WriteLine($"{told.TotalSeconds,5:0} s  {rounds} rounds, {operations} operations; last: {plan}");
            }
        }
        while (violations == 0 && watch.Elapsed < TimeSpan.FromSeconds(seconds));

        Console.Out.WriteLine($"seed {seed}: {rounds} rounds, {operations} operations, {refusals} refused for want of memory, {violations} violations");
        report.Row(("seed", seed), ("rounds", rounds), ("operations", operations), ("refusals", refusals), ("violations", violations));
        report.Save();
        return violations == 0 ? Program.Success : Program.Failure;
    }
}
