using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using ScottPlot;
using ScottPlot.Plottables;

namespace LowLevel.Perf;

/// <summary>artifacts/trace.png: along the time of one recording, what the reactor did, what the host dropped and how often it was told, and
/// where the memory was.</summary>
internal static class TracePicture
{
    private const int Width = 1600;
    private const int Height = 1500;
    private const int BinsMax = 100;
    private const double Mebi = 1 << 20;

    private static readonly (Stage Stage, string Colour)[] StageColours =
        [(Stage.Fill, "#0072B2"), (Stage.React, "#E69F00"), (Stage.Settle, "#56B4E9"), (Stage.Decant, "#009E73")];

    private static readonly (string Counter, double Unit, string Label, string Colour)[] Memory =
    [
        ("allocated", Mebi, "allocated", "#222222"),
        ("cached", Mebi, "in threads' pages", "#CC79A7"),
        ("raw", Mebi, "free, raw", "#D55E00"),
        ("treated", Mebi, "free, treated", "#009E73"),
        ("resident", Mebi, "arena resident (upper bound)", "#56B4E9"),
        (TraceSession.Runtime + "/working-set", Mebi / 1e6, "RSS of the process", "#0072B2"),
    ];

    public static void Save(string path, TraceActivity activity) => OutputFiles.Write(path, Render(activity));

    /// <summary>The picture as PNG.</summary>
    public static byte[] Render(TraceActivity activity)
    {
        PictureStyle.UseFont();
        var all = new Multiplot { Layout = new ScottPlot.MultiplotLayouts.Rows() };
        all.AddPlots(3);
        double end = Math.Max(0.1, activity.Seconds);
        int bins = (int)Math.Clamp(end / 0.05, 10, BinsMax);
        DrawStages(all.GetPlot(0), activity, end, bins);
        DrawTreated(all.GetPlot(1), activity, end, bins);
        DrawMemory(all.GetPlot(2), activity, end);
        return all.Render(Width, Height).GetImageBytes(ImageFormat.Png);
    }

    private static void DrawStages(Plot plot, TraceActivity activity, double end, int bins)
    {
        double[] below = new double[bins];
        foreach ((Stage stage, string colour) in StageColours)
        {
            double[] share = [.. TraceBins.Busy(activity.Stages[stage], end, bins).Select(s => 100 * s)];
            AddBars(plot, stage.ToString(), colour, below, share, end);
            below = [.. below.Zip(share, (a, b) => a + b)];
        }

        PictureStyle.Dress(plot, "The reactor: what it was at (the rest: idle)", "", "% of the time");
        plot.Axes.SetLimits(0, end, 0, 1.1 * Math.Max(1, below.Max()));
        LeaveRoom(plot);
    }

    private static void DrawTreated(Plot plot, TraceActivity activity, double end, int bins)
    {
        double width = end / bins;
        double[] rate = [.. TraceBins.Sum(activity.Reports, end, bins, s => s.Amount / Mebi).Select(v => v / width)];
        AddBars(plot, "given back, MiB per second (left)", "#009E73", new double[bins], rate, end);
        double[] reports = [.. TraceBins.Sum(activity.Reports, end, bins, _ => 1).Select(v => v / width)];
        Scatter line = plot.Add.ScatterLine([.. Enumerable.Range(0, bins).Select(i => (i + 0.5) * width)], reports);
        line.Color = Color.FromHex("#D55E00");
        line.LineWidth = 2.5f;
        line.LegendText = "reports per second (right)";
        line.Axes.YAxis = plot.Axes.Right;
        PictureStyle.Dress(plot, "The host: what it was told of and dropped", "", "MiB per second");
        plot.Axes.Right.IsVisible = true;
        plot.Axes.Right.Label.Text = "reports per second";
        plot.Axes.Right.Label.FontSize = 17;
        plot.Axes.Right.TickLabelStyle.FontSize = 15;
        plot.Axes.Right.MinimumSize = 90;
        plot.Axes.Right.MaximumSize = 90;
        plot.Axes.SetLimits(0, end, 0, 1.15 * Math.Max(1, rate.Max()));
        plot.Axes.SetLimitsY(0, 1.15 * Math.Max(1, reports.Max()), plot.Axes.Right);
    }

    private static void DrawMemory(Plot plot, TraceActivity activity, double end)
    {
        double top = 1;
        foreach ((string counter, double unit, string label, string colour) in Memory)
        {
            IReadOnlyList<(double Seconds, double Value)> values = activity.Counter(counter);
            if (values.Count == 0)
            {
                continue;
            }

            // The runtime's counter is in 10^6 bytes.
            double[] mebibytes = [.. values.Select(v => unit == Mebi ? v.Value / Mebi : v.Value / unit)];
            Scatter line = plot.Add.ScatterLine([.. values.Select(v => v.Seconds)], mebibytes);
            line.Color = Color.FromHex(colour);
            line.LineWidth = counter == "allocated" ? 3.5f : 2.5f;
            line.LegendText = label;
            top = Math.Max(top, mebibytes.Max());
        }

        PictureStyle.Dress(plot, "The memory, by the counters (each 0.1 s)", "seconds since the recording began", "MiB");
        plot.Axes.SetLimits(0, end, 0, 1.1 * top);
        LeaveRoom(plot);
    }

    /// <summary>The same time stands above the same place: as much room on the right as the panel with a second axis takes.</summary>
    private static void LeaveRoom(Plot plot)
    {
        plot.Axes.Right.IsVisible = true;
        plot.Axes.Right.MinimumSize = 90;
        plot.Axes.Right.MaximumSize = 90;
        plot.Axes.Right.FrameLineStyle.Width = 0;
        plot.Axes.Right.SetTicks([], []);
    }

    private static void AddBars(Plot plot, string label, string colour, double[] below, double[] values, double end)
    {
        double width = end / values.Length;
        Color fill = Color.FromHex(colour);
        Bar[] each = [.. values.Select((v, i) => new Bar
        {
            Position = (i + 0.5) * width,
            ValueBase = below[i],
            Value = below[i] + v,
            Size = width,
            FillColor = fill,
            LineWidth = 0,
        })];
        BarPlot bars = plot.Add.Bars(each);
        bars.LegendText = label;
    }
}
