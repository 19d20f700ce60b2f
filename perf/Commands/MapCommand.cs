using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>The map of an arena at three moments of a burst of the plant's load: when it holds the most, when nine tenths were given
/// back, and when what rests has been treated.</summary>
internal sealed class MapCommand : ICommand
{
    // Whole pageblocks are treated up to 1.25 delays after their last use, holes of mixed ones up to two; then nothing moves any more.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(500);
    private const int RestsAtLeast = 5;
    private const int RestsAtMost = 30;

    public string Name => "map";

    public string Summary => "an arena's pageblocks by state, full, after the burst, treated; --blocks mixed|large, --scale 1/2, --threads 4, --seed 1";

    public int Run(Arguments arguments)
    {
        double scale = arguments.Number("scale", 0.5, 1.0 / 64, 8);
        int threads = arguments.Integer("threads", 4, 1, 64);
        var seed = (ulong)arguments.Integer("seed", 1, 0, int.MaxValue);
        string blocks = arguments.Choice("blocks", "mixed", "large");
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        LoadShape shape = (blocks == "large" ? LoadShape.Large(scale, threads, seed) : LoadShape.Mixed(scale, threads, seed)) with { Bursts = 1 };
        Console.Out.WriteLine(Machine.Line());
        List<(string Title, ArenaMap Map)> moments = Live(shape);
        Write(moments);
        foreach ((string title, ArenaMap map) in moments)
        {
            AddRow(report, title, map);
        }

        string what = blocks == "large" ? "buffers of 2 and 4 MiB" : "buffers of 4 KiB to 2 MiB";
        MapPanels panels = new($"One burst to {shape.PeakBytes >> 20} MiB, {what}; a tenth survives", moments);
        string stem = Path.Combine("artifacts", blocks == "mixed" ? "map" : "map-large");
        OutputFiles.Write(stem + ".svg", panels.RenderSvg());
        OutputFiles.Write(stem + ".png", panels.RenderPng());
        report.Save();
        Console.Out.WriteLine($"wrote {stem}.svg and {stem}.png");
        return Program.Success;
    }

    private static List<(string Title, ArenaMap Map)> Live(LoadShape shape)
    {
        using var load = new ServiceLoad(shape);
        using var source = BufferSource.Create("arena");
        List<(string Title, ArenaMap Map)> moments = [];
        load.RunBurst(source, () => { }, () => Look("full"));
        Look("after the burst");
        WaitForTreatment(source);
        Look("after treatment");
        source.Verify();
        load.GiveBackAll();
        return moments;

        void Look(string moment)
        {
            long start = Stopwatch.GetTimestamp();
            moments.Add((moment, source.Map!));
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{moment}: map taken in {Stopwatch.GetElapsedTime(start).TotalMilliseconds:0.00} ms"));
        }
    }

    private static void WaitForTreatment(BufferSource source)
    {
        long before = -1;
        for (int rest = 0; rest < RestsAtMost && (rest < RestsAtLeast || source.Statistics!.PagesTreated != before); rest++)
        {
            before = source.Statistics!.PagesTreated;
            Thread.Sleep(Rest); // as an idle program rests: the arena's own worker is what is waited for
        }
    }

    private static void Write(List<(string Title, ArenaMap Map)> moments)
    {
        Console.Out.WriteLine("pageblocks (2 MiB) by state, and MiB in all");
        Console.Out.WriteLine($"{"moment",-18}{"allocated",10}{"mixed",8}{"raw",8}{"treated",9}{"never used",12}"
            + $"{"taken MiB",12}{"threads' MiB",14}{"raw MiB",10}{"treated MiB",13}");
        foreach ((string title, ArenaMap map) in moments)
        {
            PageblockState[] states = [PageblockState.Allocated, PageblockState.Mixed, PageblockState.Raw, PageblockState.Treated, PageblockState.NeverUsed];
            int[] counts = [.. states.Select(map.CountOf)];
            Console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{title,-18}{counts[0],10}{counts[1],8}{counts[2],8}{counts[3],9}{counts[4],12}")
                + string.Create(CultureInfo.InvariantCulture, $"{map.TakenBytes >> 20,12}{map.CachedBytes >> 20,14}{map.RawBytes >> 20,10}{map.TreatedBytes >> 20,13}"));
        }
    }

    private static void AddRow(JsonReport report, string title, ArenaMap map)
    {
        List<(string, object?)> fields = [("moment", title), .. Enum.GetValues<PageblockState>().Select(s => ($"pageblocks_{JsonName(s)}", (object?)map.CountOf(s)))];
        fields.AddRange([("taken_bytes", map.TakenBytes), ("cached_bytes", map.CachedBytes), ("raw_bytes", map.RawBytes), ("treated_bytes", map.TreatedBytes)]);
        report.Row([.. fields]);
    }

    private static string JsonName(PageblockState state) => state switch
    {
        PageblockState.NeverUsed => "never_used",
        PageblockState.InReactor => "in_reactor",
        PageblockState.Allocated => "allocated",
        PageblockState.Cached => "cached",
        PageblockState.Mixed => "mixed",
        PageblockState.Raw => "raw",
        PageblockState.Treated => "treated",
        PageblockState.Isolated => "isolated",
        PageblockState.Inflated => "inflated",
        _ => "quarantined",
    };
}
