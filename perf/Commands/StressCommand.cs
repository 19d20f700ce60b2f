using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Round after round, each with an arena of random options under more threads than cores; ends well only if at every
/// quiescence the arena's invariants held, every byte had its owner, every block and object kept what was written into it, and what is resident
/// between the rounds did not grow. With <c>--latency</c> instead: the tail of single operations, with treatment and without.</summary>
internal sealed class StressCommand : ICommand
{
    private static readonly TimeSpan ProgressInterval = TimeSpan.FromSeconds(5);

    public string Name => "stress";

    public string Summary => "many threads, random options, hosts killed, nothing lost, nothing grows; --seconds 30, --seed N (default: random); --latency [--rounds 9]";

    public int Run(Arguments arguments)
    {
        int seconds = arguments.Integer("seconds", 30, 1, 86_400);
        int seed = arguments.Integer("seed", Random.Shared.Next(), 0, int.MaxValue);
        bool latency = arguments.Flag("latency");
        int rounds = latency ? arguments.Integer("rounds", 9, 1, 99) : 0;
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        if (latency)
        {
            StressLatency.Run(rounds, 3, seed, report);
            report.Save();
            return Program.Success;
        }

        Console.Out.WriteLine($"stress: {seconds} s, seed {seed}");
        using var hosts = new StressHosts((ulong)seed);
        var run = new StressRun((ulong)seed, hosts);
        run.Until(TimeSpan.FromSeconds(seconds), ProgressInterval);
        Console.Out.WriteLine(run.Result());
        StressPicture.Save("artifacts/stress.png", run.Samples, run.Levels);
        report.Row(
            ("seed", seed), ("rounds", run.Rounds), ("operations", run.Operations), ("refusals", run.Refusals), ("violations", run.Violations),
            ("hosted_rounds", run.HostedRounds), ("hosts_killed", hosts.Killed), ("slope_bytes_per_second", run.Levels.Judge()?.Slope));
        report.Save();
        return run.Violations == 0 ? Program.Success : Program.Failure;
    }
}

/// <summary>The rounds of one run, and what they add up to.</summary>
internal sealed class StressRun(ulong seed, StressHosts hosts)
{
    private const int SamplesMax = 100_000;

    public int Rounds { get; private set; }

    public int HostedRounds { get; private set; }

    public long Operations { get; private set; }

    public long Refusals { get; private set; }

    public int Violations { get; private set; }

    public List<StressSample> Samples { get; } = [];

    public StressLevels Levels { get; } = new();

    /// <summary>Rounds until the time is over or something was found.</summary>
    public void Until(TimeSpan end, TimeSpan progress)
    {
        var watch = Stopwatch.StartNew();
        TimeSpan told = TimeSpan.Zero;
        do
        {
            ulong roundSeed = seed + (ulong)Rounds;
            var plan = StressPlan.For(roundSeed, hosts.Path);
            StressShared round = new StressRound(plan).Run();
            Take(round);
            if (Violations > 0)
            {
                Console.Out.WriteLine($"round {Rounds} (--seed {roundSeed} begins with it): {plan}");
                Console.Out.WriteLine("  " + string.Join("\n  ", round.Violations));
            }
            else if (watch.Elapsed - told >= progress)
            {
                told = watch.Elapsed;
                Console.Out.WriteLine($"{told.TotalSeconds,5:0} s  {Rounds} rounds, {Operations} operations; last: {plan}");
            }
        }
        while (Violations == 0 && watch.Elapsed < end);

        if (Levels.FindGrowth() is string growth)
        {
            Violations++;
            Console.Out.WriteLine(growth);
        }

        if (hosts.Failure is Exception failure)
        {
            throw new MeasurementException($"no hosts any more: {failure.Message}");
        }
    }

    /// <summary>The last line.</summary>
    public string Result() =>
        $"seed {seed}: {Rounds} rounds ({HostedRounds} under a host elsewhere, {hosts.Killed} hosts killed), {Operations} operations, " +
        $"{Refusals} refused for want of memory, {Violations} violations; between the rounds RSS grows by " +
        (Levels.Judge() is Trend trend ? StressLevels.Text(trend) : "what cannot be said of so short a run");

    private void Take(StressShared round)
    {
        Rounds++;
        HostedRounds += round.Plan.IsHosted ? 1 : 0;
        Operations += round.Operations;
        Refusals += round.Refusals;
        Violations = round.Violations.Count;
        Samples.AddRange(round.Samples.Take(SamplesMax - Samples.Count));
        Levels.Sample();
    }
}
