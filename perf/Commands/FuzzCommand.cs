using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Hostile device, hostile driver: each side of each boundary against inputs that are made from those which showed something new. A ring is
/// one input from its first byte to its last. What is wrong is printed as a line that <c>--replay</c> takes.</summary>
internal sealed class FuzzCommand : ICommand
{
    private const int SecondsMax = 24 * 3600;

    private static readonly TimeSpan s_progressInterval = TimeSpan.FromSeconds(30);

    public string Name => "fuzz";

    public string Summary =>
        "rings, messages and devices that lie, against the code that reads them; --target all --seconds 60 --rings N --seed 1 --corpus DIR --replay FILE --racing";

    public int Run(Arguments arguments)
    {
        string target = arguments.Choice("target", [FuzzTargets.All, .. FuzzTargets.Names]);
        int seconds = arguments.Integer("seconds", 60, 1, SecondsMax);
        int rings = arguments.Integer("rings", 0, 0, int.MaxValue);
        int seed = arguments.Integer("seed", 1, 0, int.MaxValue);
        string? corpus = arguments.Text("corpus");
        string? replay = arguments.Text("replay");
        bool races = arguments.Flag("racing");
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();
        if (corpus is not null && !Directory.Exists(corpus))
        {
            throw new UsageException($"option --corpus: there is no folder '{corpus}'; allowed: a folder");
        }

        if (replay is not null)
        {
            return Replay(target, replay);
        }

        string[] names = target == FuzzTargets.All ? FuzzTargets.Names : [target];
        var branches = BranchTrace.Find();
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"fuzz: {string.Join(", ", names)}, seed {seed}, guided by {(branches is null ? "outcomes" : "outcomes and branches")}");
        int findings = 0;
        foreach (string name in names)
        {
            TimeSpan time = TimeSpan.FromSeconds(names.Length == 1 ? seconds : seconds * FuzzTargets.Share(name));
            FuzzResult? result = Attack(name, rings, time, (ulong)seed, corpus, races, branches);
            if (result is not null)
            {
                findings += result.Finding is null ? 0 : 1;
                report.Row(
                    ("target", name), ("rings", result.Rings), ("seconds", result.Seconds), ("corpus", result.Corpus), ("seen", result.Seen),
                    ("findings", result.Finding is null ? 0 : 1), ("finding", result.Finding));
            }
        }

        report.Save();
        return findings == 0 ? Program.Success : Program.Failure;
    }

    private static FuzzResult? Attack(string name, int rings, TimeSpan time, ulong seed, string? corpus, bool races, BranchTrace? branches)
    {
        using IFuzzTarget target = FuzzTargets.Make(name);
        if (races)
        {
            if (target is not IRacingTarget racing)
            {
                return null;
            }

            racing.IsRacing = true;
        }

        string? path = corpus is null ? null : FuzzCorpus.PathOf(corpus, name);
        using var last = new LastInput(Path.Combine(Path.GetTempPath(), $"lowlevel-fuzz-{name}.last"));
        Console.Out.WriteLine($"{name}: the input under way is in {last.Path}");
        var map = new FuzzMap(branches);
        var loop = new FuzzLoop(target, map, last.Keep);
        TimeSpan told = TimeSpan.Zero;
        var watch = Stopwatch.StartNew();
        loop.Progress = done =>
        {
            if (watch.Elapsed - told >= s_progressInterval)
            {
                told = watch.Elapsed;
                Console.Out.WriteLine($"{told.TotalSeconds,6:0} s  {name}: {done} rings, {loop.Corpus.Count} kept, {map.Seen} seen");
            }
        };
        List<byte[]> given = path is null ? [] : FuzzCorpus.Load(path);
        FuzzResult result = loop.Run(given, rings == 0 ? long.MaxValue : rings, rings == 0 ? time : null, seed);
        if (result.Finding is null)
        {
            result = path is null || races ? result : Keep(result, target, map, path, [.. loop.Corpus, .. given]);
        }

        if (result.Finding is null)
        {
            Console.Out.WriteLine(
                $"{name}: {result.Rings} rings in {result.Seconds:0.0} s ({result.Rings / result.Seconds:0}/s), {result.Corpus} kept, {result.Seen} seen, no finding");
            return result;
        }

        Console.Out.WriteLine($"{name}: after {result.Rings} rings: {result.Finding}");
        Console.Out.WriteLine($"--target {name} --replay a file of {(result.Inputs.Count == 1 ? "this line" : "these lines")}:");
        Console.Out.WriteLine(string.Join('\n', result.Inputs.Select(static input => Convert.ToHexString(input).ToLowerInvariant())));
        return result;
    }

    /// <summary>What is kept is played once more, each input in a life of its own; that too may be a finding.</summary>
    private static FuzzResult Keep(FuzzResult result, IFuzzTarget target, FuzzMap map, string path, List<byte[]> inputs)
    {
        try
        {
            List<byte[]> kept = FuzzCorpus.Minimise(target, map, inputs);
            FuzzCorpus.Save(path, kept);
            return result with { Corpus = kept.Count };
        }
        catch (FuzzFinding e)
        {
            return result with { Finding = e.Message };
        }
    }

    private static int Replay(string target, string file)
    {
        if (target == FuzzTargets.All || !File.Exists(file))
        {
            throw new UsageException($"option --replay: '{file}' and --target '{target}'; allowed: a file of inputs, and the target that they are for");
        }

        IEnumerable<byte[]> inputs = file.EndsWith(".last", StringComparison.Ordinal) ? [LastInput.Read(File.ReadAllBytes(file))] : FuzzCorpus.Load(file);
        using IFuzzTarget made = FuzzTargets.Make(target);
        string? finding = FuzzLoop.Replay(made, inputs, new FuzzMap());
        Console.Out.WriteLine(finding ?? $"{target}: {inputs.Count()} rings, no finding");
        return finding is null ? Program.Success : Program.Failure;
    }
}
