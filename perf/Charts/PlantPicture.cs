using System;
using System.Collections.Generic;
using System.Linq;
using ScottPlot;

namespace LowLevel.Perf;

/// <summary>artifacts/plant.png: resident bytes over time, one line a contestant, RSS on the left and the cgroup's charge on the
/// right.</summary>
internal static class PlantPicture
{
    private const int Width = 1800;
    private const int Height = 780;

    public static void Save(string path, IReadOnlyList<PlantSeries> series, string blocks) =>
        OutputFiles.Write(path, Render(series, blocks));

    /// <summary>The picture as PNG.</summary>
    public static byte[] Render(IReadOnlyList<PlantSeries> series, string blocks)
    {
        PictureStyle.UseFont();
        var both = new Multiplot { Layout = new ScottPlot.MultiplotLayouts.Columns() };
        both.AddPlots(2);
        double top = 1.08 * series.Max(s => s.Curve.Max(p => Math.Max(Mebibytes(p.Usage.Rss), Mebibytes(p.Usage.Charge ?? 0))));
        string what = blocks == "large" ? "buffers of 2 and 4 MiB" : "buffers of 4 KiB to 2 MiB";
        Draw(both.GetPlot(0), series, $"Resident set (RSS), {what}", top, p => p.Rss);
        Draw(both.GetPlot(1), series, $"Charge of the memory cgroup, {what}", top, p => p.Charge);
        return both.Render(Width, Height).GetImageBytes(ImageFormat.Png);
    }

    private static void Draw(Plot plot, IReadOnlyList<PlantSeries> series, string title, double top, Func<Usage, long?> choose)
    {
        foreach (PlantSeries one in series)
        {
            CurvePoint[] points = [.. one.Curve.Where(p => choose(p.Usage) is not null)];
            if (points.Length == 0)
            {
                continue;
            }

            var line = plot.Add.ScatterLine(
                points.Select(p => p.Seconds).ToArray(),
                points.Select(p => Mebibytes(choose(p.Usage)!.Value)).ToArray());
            line.Color = Color.FromHex(one.Colour);
            line.LineWidth = one.Contestant == "arena" ? 4 : 2.5f;
            line.LegendText = one.Contestant;
        }

        DrawLive(plot, series[0]);
        DrawEndOfBursts(plot, top);
        PictureStyle.Dress(plot, title, "seconds since the last burst ended", "MiB, net of the baseline");
        plot.Axes.SetLimits(series.Min(s => s.Curve[0].Seconds), PlantRun.Instants[^1] + 0.5, 0, top);
    }

    // Live bytes are the same for all but for the speed of the bursts: the first contestant's stand for all.
    private static void DrawLive(Plot plot, PlantSeries first)
    {
        var live = plot.Add.ScatterLine(
            first.Curve.Select(p => p.Seconds).ToArray(),
            first.Curve.Select(p => Mebibytes(p.Live)).ToArray());
        live.Color = Color.FromHex("#222222");
        live.LineWidth = 2;
        live.LinePattern = LinePattern.Dashed;
        live.LegendText = $"live bytes ({first.Contestant})";
    }

    private static void DrawEndOfBursts(Plot plot, double top)
    {
        var end = plot.Add.VerticalLine(0, 1.5f, Color.FromHex("#888888"), LinePattern.Dotted);
        end.ExcludeFromLegend = true;
        var text = plot.Add.Text("last burst ends", 0.15, top * 0.985);
        text.LabelFontSize = 15;
        text.LabelFontColor = Color.FromHex("#555555");
        text.LabelAlignment = Alignment.UpperLeft;
    }

    private static double Mebibytes(long bytes) => bytes / 1048576.0;
}
