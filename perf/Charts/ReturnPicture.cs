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

    private static readonly double[] Multiples = [1, 1.06, 1.2, 1.5, 2, 3, 4, 6, 8, 11, 16, 24];
    private static readonly double[] Instants = [0, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 20, 30];

    public static void Save(string path, IReadOnlyList<ReturnCurve> curves) => OutputFiles.Write(path, Render(curves));

    /// <summary>The picture as PNG.</summary>
    public static byte[] Render(IReadOnlyList<ReturnCurve> curves)
    {
        PictureStyle.UseFont();
        var both = new Multiplot { Layout = new ScottPlot.MultiplotLayouts.Columns() };
        both.AddPlots(2);
        double top = 1.15 * curves.SelectMany(c => c.AfterFree.Concat(c.AfterSecond)).Select(p => p.Multiple).Append(2).Max();
        DrawFirst(both.GetPlot(0), curves, top);
        DrawSecond(both.GetPlot(1), curves, top);
        return both.Render(Width, Height).GetImageBytes(ImageFormat.Png);
    }

    // Most happens in the first seconds: their roots are what lies along the axis.
    private static void DrawFirst(Plot plot, IReadOnlyList<ReturnCurve> curves, double top)
    {
        double end = Math.Max(1, curves.SelectMany(c => c.AfterFree).Select(p => p.Seconds).Append(0).Max());
        Draw(plot, curves, c => [.. c.AfterFree.Select(p => p with { Seconds = Math.Sqrt(p.Seconds) })]);
        PictureStyle.Dress(
            plot,
            "Nine blocks in ten freed, then idle",
            "seconds since the last free (square-root scale)",
            "charge, net of the baseline, as a multiple of live bytes (log scale)");
        double[] seconds = [.. Instants.Where(t => t <= end)];
        plot.Axes.Bottom.SetTicks([.. seconds.Select(Math.Sqrt)], [.. seconds.Select(Text)]);
        Limit(plot, Math.Sqrt(end), top);
    }

    private static void DrawSecond(Plot plot, IReadOnlyList<ReturnCurve> curves, double top)
    {
        Draw(plot, curves, c => c.AfterSecond);
        PictureStyle.Dress(plot, "A quarter as much allocated again, then idle", "seconds since the second allocation", "");
        Limit(plot, Math.Max(1, curves.SelectMany(c => c.AfterSecond).Select(p => p.Seconds).Append(0).Max()), top);
    }

    private static void Draw(Plot plot, IReadOnlyList<ReturnCurve> curves, Func<ReturnCurve, IReadOnlyList<MultiplePoint>> choose)
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
    }

    private static void Limit(Plot plot, double right, double top)
    {
        double[] ticks = [.. Multiples.Where(t => t < top)];
        plot.Axes.Left.SetTicks([.. ticks.Select(Math.Log10)], [.. ticks.Select(Text)]);
        plot.Axes.SetLimits(0, right * 1.02, Math.Log10(Least), Math.Log10(top));
    }

    private static string Text(double number) => number.ToString("0.##", CultureInfo.InvariantCulture);

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
