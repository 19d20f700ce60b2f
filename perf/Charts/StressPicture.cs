using System;
using System.Collections.Generic;
using System.Linq;
using ScottPlot;
using ScottPlot.Plottables;

namespace LowLevel.Perf;

/// <summary>artifacts/stress.png: along the time of the run what was live and what was resident whenever nobody worked, and below what was resident
/// between the rounds, when no arena was there.</summary>
internal static class StressPicture
{
    private const int Width = 1600;
    private const int Height = 1100;
    private const int PointsMax = 2000;
    private const double Mebi = 1 << 20;

    public static void Save(string path, IReadOnlyList<StressSample> samples, StressLevels levels) => OutputFiles.Write(path, Render(samples, levels));

    /// <summary>The picture as PNG.</summary>
    public static byte[] Render(IReadOnlyList<StressSample> samples, StressLevels levels)
    {
        PictureStyle.UseFont();
        var both = new Multiplot { Layout = new ScottPlot.MultiplotLayouts.Rows() };
        both.AddPlots(2);
        StressSample[] some = [.. samples.Where((_, i) => i % Math.Max(1, samples.Count / PointsMax) == 0)];
        double start = samples.Count == 0 ? 0 : samples[0].Seconds;
        Plot work = both.GetPlot(0);
        double[] seconds = [.. some.Select(s => s.Seconds - start)];
        Dots(work, seconds, [.. some.Select(s => s.ResidentBytes / Mebi)], "RSS of the process", "#0072B2");
        Dots(work, seconds, [.. some.Select(s => s.LiveBytes / Mebi)], "live in blocks and objects", "#222222");
        PictureStyle.Dress(work, "At each quiescence: random arenas, options and threads", "", "MiB");

        Plot between = both.GetPlot(1);
        double[] at = [.. levels.Points.Select(p => p.Seconds)];
        double[] level = [.. levels.Points.Select(p => p.Value / Mebi)];
        Scatter line = between.Add.ScatterLine(at, level);
        line.Color = Color.FromHex("#D55E00");
        line.LineWidth = 2.5f;
        line.LegendText = levels.Judge() is Trend trend ? $"RSS after a collection; slope {StressLevels.Text(trend)}" : "RSS after a collection";
        PictureStyle.Dress(between, "Between the rounds: no arena, no heap", "seconds", "MiB");
        between.Axes.SetLimits(0, Math.Max(1, at.DefaultIfEmpty(1).Max()), 0, 1.2 * level.DefaultIfEmpty(1).Max());
        return both.Render(Width, Height).GetImageBytes(ImageFormat.Png);
    }

    private static void Dots(Plot plot, double[] x, double[] y, string label, string colour)
    {
        Scatter dots = plot.Add.ScatterPoints(x, y);
        dots.Color = Color.FromHex(colour);
        dots.MarkerSize = 4;
        dots.LegendText = label;
    }
}
