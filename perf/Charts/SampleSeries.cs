using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>Invented curves of the shape that the plant measures, for looking at the pictures without measuring.</summary>
internal static class SampleSeries
{
    /// <param name="withCharge">Without: as on a machine that gives no process a cgroup of its own.</param>
    public static PlantSeries[] Create(bool withCharge) =>
        [.. BufferSource.Names.Select((name, i) => new PlantSeries(name, Curve(i, withCharge), [.. PlantSeries.Headings.Select(_ => "1.00")], i < 2 ? Maps(i) : []))];

    // 600 pageblocks: filled in the bursts, then mixed; treated after a second if the contestant does so.
    private static List<MapPoint> Maps(int contestant)
    {
        var maps = new List<MapPoint>();
        for (double t = -9; t <= PlantRun.Instants[^1]; t += 0.5)
        {
            int used = (int)Math.Min(600, (t + 9) * 150);
            bool treated = contestant == 0 && t > 1;
            PageblockCell Cell(int i) => t < 0 && i % 3 != 0
                ? PageblockCell.Of(false, 512, 0, 0, 0, 0, 0, 0)
                : PageblockCell.Of(false, i % 5 * 20, 0, treated ? 0 : 512 - (i % 5 * 20), treated ? 512 - (i % 5 * 20) : 0, 0, 0, 0);
            maps.Add(new MapPoint(t, string.Concat(Enumerable.Range(0, used).Select(i => MapText.LetterOf(Cell(i))))));
        }

        return maps;
    }

    private static List<CurvePoint> Curve(int contestant, bool withCharge)
    {
        var points = new List<CurvePoint>();
        for (double t = -9; t <= PlantRun.Instants[^1]; t += 0.05)
        {
            double burst = t < 0 ? Math.Max(0, Math.Sin((t + 9) / 9 * 3 * Math.PI)) : 0;
            double live = 200 + (1800 * burst);
            double kept = contestant switch { 0 => t < 1.2 ? 0.3 : 0.01, 1 => 1, 2 => 0.8, _ => 1.2 };
            double resident = Math.Max(live * 1.03, 2000 * kept);
            points.Add(new CurvePoint(t, new Usage(Bytes(resident), withCharge ? Bytes(resident * 1.02) : null), Bytes(live)));
        }

        return points;
    }

    private static long Bytes(double mebibytes) => (long)(mebibytes * 1048576);
}
