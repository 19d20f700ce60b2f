using System;
using System.Collections.Generic;
using System.Linq;
using ScottPlot;

namespace LowLevel.Perf;

/// <summary>One server's curve, seconds from the end of its burst.</summary>
internal sealed record KestrelSeries(string Pool, IReadOnlyList<CurvePoint> Curve)
{
    public static KestrelSeries Of(KestrelRun run) => new(run.Pool, [.. run.Curve.Select(p => p with { Seconds = p.Seconds - run.IdleSince })]);
}

/// <summary>artifacts/kestrel.png: resident bytes of the server over time, RSS on the left and the cgroup's charge on the right.</summary>
internal static class KestrelPicture
{
    private const int Width = 1800;
    private const int Height = 780;

    public static void Save(string path, IReadOnlyList<KestrelSeries> series) => OutputFiles.Write(path, Render(series));

    /// <summary>The picture as PNG.</summary>
    public static byte[] Render(IReadOnlyList<KestrelSeries> series)
    {
        PictureStyle.UseFont();
        var both = new Multiplot { Layout = new ScottPlot.MultiplotLayouts.Columns() };
        both.AddPlots(2);
        double top = 1.08 * series.SelectMany(s => s.Curve).Select(p => Mebibytes(Math.Max(p.Usage.Rss, p.Usage.Charge ?? 0))).Append(1).Max();
        double least = 1.08 * series.SelectMany(s => s.Curve).Select(p => Mebibytes(Math.Min(p.Usage.Rss, p.Usage.Charge ?? 0))).Append(0).Min();
        Draw(both.GetPlot(0), series, "Resident set (RSS) of the web server", (least, top), u => u.Rss);
        Draw(both.GetPlot(1), series, "Charge of its memory cgroup", (least, top), u => u.Charge);
        return both.Render(Width, Height).GetImageBytes(ImageFormat.Png);
    }

    private static void Draw(Plot plot, IReadOnlyList<KestrelSeries> series, string title, (double Least, double Top) range, Func<Usage, long?> choose)
    {
        foreach (KestrelSeries one in series)
        {
            CurvePoint[] points = [.. one.Curve.Where(p => choose(p.Usage) is not null)];
            if (points.Length == 0)
            {
                continue;
            }

            bool ours = one.Pool == "arena";
            var line = plot.Add.ScatterLine(
                points.Select(p => p.Seconds).ToArray(), points.Select(p => Mebibytes(choose(p.Usage)!.Value)).ToArray());
            line.Color = Color.FromHex(ours ? "#0072B2" : "#D55E00");
            line.LineWidth = ours ? 4 : 2.5f;
            line.LegendText = ours ? "arena: Kestrel's buffers and the bodies" : "default: Kestrel's own pool, bodies from MemoryPool.Shared";
        }

        var end = plot.Add.VerticalLine(0, 1.5f, Color.FromHex("#888888"), LinePattern.Dotted);
        end.ExcludeFromLegend = true;
        var text = plot.Add.Text("burst ends", 0.5, range.Top * 0.985);
        text.LabelFontSize = 15;
        text.LabelFontColor = Color.FromHex("#555555");
        text.LabelAlignment = Alignment.UpperLeft;
        PictureStyle.Dress(plot, title, "seconds since the burst ended", "MiB, net of the idle baseline");
        CurvePoint[] all = [.. series.SelectMany(s => s.Curve)];
        plot.Axes.SetLimits(all.Select(p => p.Seconds).Append(0).Min(), all.Select(p => p.Seconds).Append(1).Max(), range.Least, range.Top);
    }

    private static double Mebibytes(long bytes) => bytes / 1048576.0;
}
