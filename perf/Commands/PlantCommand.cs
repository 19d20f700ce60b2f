using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The main job: a service-like load (<see cref="ServiceLoad"/>) against the arena with treatment and without,
/// NativeMemory and ArrayPool, each in a process and, where the machine lets it, a memory cgroup of its own. The bursts of the
/// contestants run one after another; each one's idle phase overlaps the next one's bursts. RSS is statm's at 20 Hz for the curves
/// and peaks and smaps_rollup's at the named instants; all figures are net of the baseline, which is read after the warm-up and
/// before the arena or the first buffer exists.</summary>
internal sealed class PlantCommand : ICommand
{
    private static readonly TimeSpan SampleInterval = TimeSpan.FromMilliseconds(50);

    private double _lastProgress;

    public string Name => "plant";

    public string Summary => "bursts, survivors, idleness: what stays resident; --blocks mixed|large, --scale 1, --threads 4, --seed 1";

    /// <summary>The options that parent and child share.</summary>
    public static LoadShape ReadShape(Arguments arguments)
    {
        double scale = arguments.Number("scale", 1, 1.0 / 64, 8);
        int threads = arguments.Integer("threads", 4, 1, 64);
        var seed = (ulong)arguments.Integer("seed", 1, 0, int.MaxValue);
        return arguments.Choice("blocks", "mixed", "large") == "large"
            ? LoadShape.Large(scale, threads, seed)
            : LoadShape.Mixed(scale, threads, seed);
    }

    public int Run(Arguments arguments)
    {
        LoadShape shape = ReadShape(arguments);
        string blocks = arguments.Choice("blocks", "mixed", "large");
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Introduce(shape, blocks);
        string[] options =
        [
            "--blocks", blocks,
            "--scale", arguments.Text("scale", "1")!,
            "--threads", arguments.Text("threads", "4")!,
            "--seed", arguments.Text("seed", "1")!,
        ];
        List<PlantRun> runs = [];
        try
        {
            RunAll(runs, shape, options);
            PlantTable.Write(Console.Out, runs);
            foreach (PlantRun run in runs)
            {
                report.Row(PlantTable.Row(run));
            }

            string stem = Path.Combine("artifacts", blocks == "mixed" ? "plant" : "plant-large");
            PlantSeries[] series = [.. runs.Select(PlantSeries.Of)];
            PlantPicture.Save(stem + ".png", series, blocks);
            PlantPage.Save(stem + ".html", series, blocks);
            report.Save();
            Console.Out.WriteLine($"wrote {stem}.html and {stem}.png");
        }
        finally
        {
            runs.ForEach(r => r.Dispose());
        }

        return Program.Success;
    }

    private static void Introduce(LoadShape shape, string blocks)
    {
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine(
            $"plant --blocks {blocks}: {shape.Threads} threads, {shape.Bursts} bursts to {shape.PeakBytes >> 20} MiB, buffers of " +
            $"{shape.SmallestBytes >> 10} KiB to {(shape.SmallestBytes << (shape.Classes - 1)) >> 20} MiB, every page touched, " +
            $"{shape.Survivors:0 %} survive, then {PlantRun.Instants[^1]} s idle; seed {shape.Seed}");
    }

    private void RunAll(List<PlantRun> runs, LoadShape shape, string[] options)
    {
        foreach (string contestant in BufferSource.Names)
        {
            var run = new PlantRun(contestant, shape.Bursts, options);
            runs.Add(run);
            AdvanceUntil(runs, () => run.IdleSince is not null);
        }

        AdvanceUntil(runs, () => runs.TrueForAll(r => r.IsFinished));
    }

    private void AdvanceUntil(List<PlantRun> runs, Func<bool> done)
    {
        while (!done())
        {
            double start = ChildProcess.Now;
            runs.ForEach(r => r.Advance());
            if (start - _lastProgress >= 2)
            {
                _lastProgress = start;
                Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{start,5:0} s  ")
                    + string.Join(" | ", runs.Where(r => !r.IsFinished).Select(r => r.Describe())));
            }

            Sampling.RestOf(start, SampleInterval);
        }
    }
}
