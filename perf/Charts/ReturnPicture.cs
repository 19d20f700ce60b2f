using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using ScottPlot;

namespace LowLevel.Perf;

/// <summary>artifacts/return.png: the charge over time as a multiple of live bytes, one line a contestant; on the left from each
/// one's last free, on the right from the end of its second allocation. The axis is logarithmic, because what counts lies between
/// 1.0 and 1.2 and what is kept goes up to ten times as much.</summary>
internal static class ReturnPicture
{
    private const int Width = 1900;
    private const int Height = 980;
    private const double Least = 0.93;
    private const double Target = 1.06;

    private static readonly double[] Ticks = [1, 1.06, 1.2, 1.5, 2, 3, 4, 6, 8, 11, 16, 24];

    public static void Save(string path, IReadOnlyList<ReturnCurve> curves) => OutputFiles.Write(path, Render(curves));

    /// <summary>The picture as PNG.</summary>
    public static byte[] Render(IReadOnlyList<ReturnCurve> curves)
    {
        PictureStyle.UseFont();
        var both = new Multiplot { Layout = new ScottPlot.MultiplotLayouts.Columns() };
        both.AddPlots(2);
        double top = 1.15 * curves.SelectMany(c => c.AfterFree.Concat(c.AfterSecond)).Select(p => p.Multiple).Append(2).Max();
        Draw(both.GetPlot(0), curves, c => c.AfterFree, top, "Nine blocks in ten freed, then idle", "seconds since the last free");
        Draw(both.GetPlot(1), curves, c => c.AfterSecond, top, "A quarter of it allocated again, then idle", "seconds since the second allocation");
        return both.Render(Width, Height).GetImageBytes(ImageFormat.Png);
    }

    private static void Draw(
        Plot plot,
        IReadOnlyList<ReturnCurve> curves,
        Func<ReturnCurve, IReadOnlyList<MultiplePoint>> choose,
        double top,
        string title,
        string xLabel)
    {
        // Ours last, so that they lie above the others.
        foreach (ReturnCurve curve in curves.OrderBy(c => c.Contestant == ReturnContestant.Ours ? 2 : IsOurs(c) ? 1 : 0))
        {
            MultiplePoint[] points = [.. choose(curve).Where(p => p.Multiple > 0)];
            if (points.Length > 0)
            {
                var line = plot.Add.ScatterLine(points.Select(p => p.Seconds).ToArray(), points.Select(p => Math.Log10(p.Multiple)).ToArray());
                (string colour, LinePattern pattern) = StyleOf(curve.Contestant);
                line.Color = Color.FromHex(colour);
                line.LinePattern = pattern;
                line.LineWidth = curve.Contestant == ReturnContestant.Ours ? 4.5f : 2.5f;
                line.LegendText = curve.Contestant;
            }
        }

        var target = plot.Add.HorizontalLine(Math.Log10(Target), 1.5f, Color.FromHex("#888888"), LinePattern.Dotted);
        target.ExcludeFromLegend = true;
        PictureStyle.Dress(plot, title, xLabel, "charge, net of the baseline, as a multiple of live bytes (log)");
        double[] ticks = [.. Ticks.Where(t => t < top)];
        plot.Axes.Left.SetTicks(
            [.. ticks.Select(Math.Log10)],
            [.. ticks.Select(t => t.ToString("0.##", CultureInfo.InvariantCulture))]);
        double[] seconds = [.. curves.SelectMany(choose).Select(p => p.Seconds).Append(0)];
        plot.Axes.SetLimits(seconds.Min(), Math.Max(1, seconds.Max()), Math.Log10(Least), Math.Log10(top));
    }

    private static bool IsOurs(ReturnCurve curve) => curve.Contestant.StartsWith(ReturnContestant.Ours, StringComparison.Ordinal);

    // Colours that the colour-blind tell apart (Okabe and Ito 2008); ours share one and differ in their dashes.
    private static (string Colour, LinePattern Pattern) StyleOf(string contestant) => contestant switch
    {
        "arena" => ("#0072B2", LinePattern.Solid),
        "arena-worker-order9" => ("#0072B2", LinePattern.Dashed),
        "arena-worker-order0" => ("#0072B2", LinePattern.Dotted),
        "arena-delay-250ms" => ("#0072B2", LinePattern.DenselyDashed),
        "arena-untreated" => ("#56B4E9", LinePattern.Dashed),
        "native-memory" => ("#D55E00", LinePattern.Solid),
        "array-pool" => ("#009E73", LinePattern.Solid),
        "mmap" => ("#000000", LinePattern.Dotted),
        "mimalloc" => ("#CC79A7", LinePattern.Solid),
        "tcmalloc" => ("#9A7D00", LinePattern.Dashed),
        "jemalloc" => ("#E69F00", LinePattern.Dashed),
        "jemalloc-tuned" => ("#E69F00", LinePattern.Solid),
        _ => ("#777777", LinePattern.Solid),
    };
}
