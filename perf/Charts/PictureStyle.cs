using System;
using System.IO;
using ScottPlot;

namespace LowLevel.Perf;

/// <summary>What all pictures have in common. Text is drawn with the font in Fonts/, because a machine need not have any.</summary>
internal static class PictureStyle
{
    private const string Font = "DejaVu Sans";

    private static readonly Lazy<bool> FontIsAdded = new(AddFont);

    /// <summary>Before the first plot is made.</summary>
    public static void UseFont() => _ = FontIsAdded.Value;

    public static void Dress(Plot plot, string title, string xLabel, string yLabel)
    {
        plot.Font.Set(Font);
        plot.Title(title, 21);
        plot.XLabel(xLabel, 17);
        plot.YLabel(yLabel, 17);
        plot.Axes.Bottom.TickLabelStyle.FontSize = 15;
        plot.Axes.Left.TickLabelStyle.FontSize = 15;
        plot.Axes.Left.MinimumSize = 110;
        plot.Grid.MajorLineColor = Color.FromHex("#E4E4E4");
        plot.Axes.Right.IsVisible = false;
        plot.Axes.Top.IsVisible = false;
        plot.Legend.FontSize = 15;
        plot.Legend.FontName = Font;
        plot.Legend.SymbolWidth = 32;
        plot.Legend.ShadowColor = Colors.Transparent;
        plot.Legend.OutlineColor = Colors.Transparent;
        plot.Legend.Orientation = Orientation.Horizontal;
        plot.Legend.TightHorizontalWrapping = true;
        plot.ShowLegend(Edge.Bottom);
    }

    private static bool AddFont()
    {
        Fonts.AddFontFile(Font, Path.Combine(AppContext.BaseDirectory, "Fonts", "DejaVuSans.ttf"), bold: false, italic: false);
        Fonts.Default = Font;
        return true;
    }
}
