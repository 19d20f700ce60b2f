using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>A web server under a burst of uploads and downloads and then idle, with Kestrel's own pool and with ours, in turn.</summary>
internal sealed class KestrelCommand : ICommand
{
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(50);

    public string Name => "kestrel";

    public string Summary =>
        "a web server under a burst, then idle: default pools, ours; --rounds 3, --connections 256, --burst-seconds 10, --idle-seconds 60, --block-bytes 16384, --seed 1";

    /// <summary>The option that parent and server share.</summary>
    public static int ReadBlockBytes(Arguments arguments) => int.Parse(arguments.Choice(
        "block-bytes", "16384", "4096", "8192", "32768", "65536"), CultureInfo.InvariantCulture);

    public int Run(Arguments arguments)
    {
        int rounds = arguments.Integer("rounds", 3, 1, 100);
        var shape = new KestrelShape(
            arguments.Integer("connections", 256, 1, 4096),
            arguments.Number("burst-seconds", 10, 0.05, 3600),
            arguments.Number("idle-seconds", 60, 0.5, 3600),
            arguments.Integer("seed", 1, 0, int.MaxValue),
            ReadBlockBytes(arguments));
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Introduce(shape, rounds);
        List<KestrelRun> runs = [];
        try
        {
            foreach (int round in Enumerable.Range(1, rounds))
            {
                foreach (string pool in KestrelServer.Pools)
                {
                    var run = new KestrelRun(pool, round, shape);
                    runs.Add(run);
                    run.RunBurst(() => Watch(runs));
                    Console.Out.WriteLine(KestrelTable.Line(run));
                }
            }

            while (!runs.TrueForAll(r => r.IsFinished))
            {
                Watch(runs);
            }

            KestrelTable.Write(Console.Out, runs);
            runs.ForEach(r => report.Row(KestrelTable.Row(r)));
            string picture = Path.Combine("artifacts", "kestrel.png");
            KestrelPicture.Save(picture, [.. runs.Where(r => r.Round == 1).Select(KestrelSeries.Of)]);
            report.Save();
            Console.Out.WriteLine($"wrote {picture}");
        }
        finally
        {
            runs.ForEach(r => r.Dispose());
        }

        return Program.Success;
    }

    private static void Introduce(KestrelShape shape, int rounds)
    {
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine(
            $"kestrel: {shape.Connections} connections over loopback for {shape.BurstSeconds} s, a quarter of them slow; uploads and downloads of " +
            $"{KestrelBody.SmallestBytes >> 10} KiB to {KestrelBody.LargestBytes >> 20} MiB, held in one buffer each; Kestrel buffers up to 1 MiB each way " +
            $"(its default for responses is 64 KiB); server GC; then {shape.IdleSeconds} s idle; {rounds} rounds, seed {shape.Seed}");
    }

    // A server that has had its burst idles while the next one has its own.
    private static void Watch(List<KestrelRun> runs)
    {
        double start = ChildProcess.Now;
        runs.ForEach(r => r.Advance());
        Sampling.RestOf(start, SampleInterval);
    }
}
