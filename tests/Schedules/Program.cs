using System;
using System.Diagnostics;
using System.Linq;

namespace Schedules;

/// <summary>The product's lock-free and lock-crossing pieces under a scheduler that decides who goes on at each atomic operation and lock, and
/// when a write leaves its thread's store buffer. The sources are compiled once more with Seam/ in the place of the framework's Volatile,
/// Interlocked, Monitor, Lock, SpinWait and Thread, so that nothing of this is in the product.
/// <code>
/// LowLevel.Schedules                              all cases, short form; every mutation must be found
/// LowLevel.Schedules --random N --seconds S       N random schedules over all cases, at most S seconds
/// LowLevel.Schedules --case NAME --seed S         one random schedule again, with what happened
/// LowLevel.Schedules --case NAME --choices 0.1.2 [--weak] [--mutation TEXT]
/// </code></summary>
internal static class Program
{
    private const long MutationRandomMax = 20_000;

    public static int Main(string[] arguments)
    {
        Trace.Listeners.Clear();
        Trace.Listeners.Add(new AssertionListener());
        LowLevel.Native.SchedulePoint.Reached = static () => Seam.Point("plain work");
        Gate.KeepToProcessor(int.Parse(Of(arguments, "--processor") ?? (Environment.ProcessorCount - 1).ToString(null as IFormatProvider), null));
        ScheduleCase[] cases = [.. AllCases.Make().Where(c => Of(arguments, "--case") is not string name || c.Name == name)];
        if (Of(arguments, "--mutation") is string mutation)
        {
            Mutation.InForce = cases[0].Mutations.Single(m => m.ToString() == mutation);
        }

        if (Of(arguments, "--choices") is string choices)
        {
            return Tell(new Explorer(cases[0]).Again(choices, arguments.Contains("--weak")));
        }

        if (Of(arguments, "--seed") is string seed && Of(arguments, "--case") is not null && !arguments.Contains("--random"))
        {
            return Tell(new Explorer(cases[0]).Again(ulong.Parse(seed, null)));
        }

        ulong first = ulong.Parse(Of(arguments, "--seed") ?? "1", null);
        return Of(arguments, "--random") is string random
            ? RandomLong(cases, first, long.Parse(random, null), double.Parse(Of(arguments, "--seconds") ?? "1500", null))
            : Short(cases, first, long.Parse(Of(arguments, "--most") ?? "1500", null));
    }

    /// <summary>Each case: all schedules within its bound, in sequential and in weak memory, some random ones, then its mutations.</summary>
    private static int Short(ScheduleCase[] cases, ulong seed, long most)
    {
        long schedules = 0;
        int failures = 0;
        int mutations = 0;
        long began = Stopwatch.GetTimestamp();
        foreach (ScheduleCase one in cases)
        {
            Explorer explorer = new(one);
            (string Mode, Outcome Found)[] searches =
            [
                ("all", explorer.All(weak: false, one.Preemptions, most)),
                ("all, weak memory", explorer.All(weak: true, one.Preemptions, most)),
                ("random", explorer.Random(seed, most / 2)),
            ];
            foreach ((string mode, Outcome found) in searches)
            {
                schedules += found.Schedules;
                failures += found.Finding is null ? 0 : 1;
                Say($"{one.Name}: {mode}: {found.Schedules} schedules{(found.All ? $", all with {one.Preemptions} preemptions" : "")}", found);
            }

            foreach (Mutation mutation in one.Mutations)
            {
                Mutation.InForce = mutation;
                Outcome found = FindMutation(explorer, one, seed, most * 4);
                Mutation.InForce = null;
                mutations++;
                failures += found.Finding is null ? 1 : 0;
                Console.WriteLine($"{one.Name}: mutation {mutation}: {(found.Finding is null ? "NOT FOUND" : "found")} after {found.Schedules} schedules: "
                    + $"{FirstLine(found.Finding)}");
            }
        }

        double seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
        Console.WriteLine($"{cases.Length} cases, {schedules} schedules, {mutations} mutations, {failures} failures, {seconds:F1} s");
        return failures == 0 ? 0 : 1;
    }

    private static Outcome FindMutation(Explorer explorer, ScheduleCase one, ulong seed, long most)
    {
        Outcome found = explorer.All(weak: false, one.Preemptions, most / 2);
        long before = found.Schedules;
        if (found.Finding is null)
        {
            found = explorer.All(weak: true, one.Preemptions, most / 2);
            before += found.Schedules;
        }

        if (found.Finding is null)
        {
            found = explorer.Random(seed, MutationRandomMax);
            before += found.Schedules;
        }

        return found with { Schedules = before };
    }

    private static int RandomLong(ScheduleCase[] cases, ulong seed, long count, double seconds)
    {
        long began = Stopwatch.GetTimestamp();
        long schedules = 0;
        int failures = 0;
        for (int i = 0; i < cases.Length; i++)
        {
            double until = seconds * (i + 1) / cases.Length;
            Outcome found = new Explorer(cases[i]).Random(seed, (count + cases.Length - 1) / cases.Length, () => Stopwatch.GetElapsedTime(began).TotalSeconds > until);
            schedules += found.Schedules;
            failures += found.Finding is null ? 0 : 1;
            Say($"{cases[i].Name}: random from seed {seed}: {found.Schedules} schedules, {Stopwatch.GetElapsedTime(began).TotalSeconds:F0} s", found);
        }

        Console.WriteLine($"{cases.Length} cases, {schedules} random schedules, {failures} failures, {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} s");
        return failures == 0 ? 0 : 1;
    }

    private static void Say(string line, Outcome found) => Console.WriteLine(found.Finding is null
        ? line
        : $"{line}\n    FINDING {found.Finding}\n    again: {(found.Seed != 0 ? $"--seed {found.Seed}" : $"--choices {found.Choices}")}");

    private static int Tell((string? Finding, System.Collections.Generic.List<string> Trace) again)
    {
        again.Trace.ForEach(Console.WriteLine);
        Console.WriteLine(again.Finding is null ? "no finding" : "FINDING " + again.Finding);
        return again.Finding is null ? 0 : 1;
    }

    private static string FirstLine(string? text) => text?.Split('\n')[0] ?? string.Empty;

    private static string? Of(string[] arguments, string name) => Array.IndexOf(arguments, name) is >= 0 and int at ? arguments[at + 1] : null;

    /// <summary>An assertion of a debug build that does not hold is a finding, and not the end of the program.</summary>
    private sealed class AssertionListener : TraceListener
    {
        public override void Write(string? message)
        {
        }

        public override void WriteLine(string? message)
        {
        }

        public override void Fail(string? message, string? detailMessage) => Seam.Require(holds: false, message ?? "an assertion");
    }
}
