using System;
using System.Globalization;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Where everything of a map's picture stands: title, cells in rows from the arena's start, what was never used as one line, the
/// legend. Drawn on any canvas, so that SVG and PNG show the same.</summary>
internal sealed class MapPicture
{
    /// <summary>Width and height that the cells of a picture of its own fit into, unless they would be too small to see.</summary>
    public const double PageWidth = 1024;

    /// <summary>See <see cref="PageWidth"/>.</summary>
    public const double PageHeight = 640;

    private const double Left = 84;
    private const double Top = 64;
    private const double Margin = 16;
    private const double CellMax = 16;
    private const double CellMin = 3;
    private const int ColumnsMin = 32;
    private const int ColumnsMax = 512;
    private const int SectionLine = 22;
    private const int TailLine = 30;

    private readonly ArenaMap _map;
    private readonly string _title;
    private readonly int _columns;
    private readonly double _cell;
    private readonly MapLegend _legend;

    /// <param name="map">What is shown.</param>
    /// <param name="title">Null: the arena's size.</param>
    /// <param name="width">Of the cells, in pixels; more where they would be smaller than 3 pixels.</param>
    /// <param name="height">Of the cells; more where they do not fit.</param>
    public MapPicture(ArenaMap map, string? title, double width, double height)
    {
        _map = map;
        _title = title ?? $"Arena of {MapLegend.Bytes((long)map.Count * BytesPerCell)}";
        for (_columns = ColumnsMin; _columns < ColumnsMax && RowsOf(map, _columns) * CellOf(width, _columns) > height; _columns *= 2)
        {
        }

        _cell = CellOf(width, _columns);
        _legend = new MapLegend(map);
        Width = Left + Math.Max(width, _columns * _cell) + Margin;
        double cells = 0;
        foreach (MapSection section in map.Sections)
        {
            cells += HeadingOf(map) + (RowsOf(section, _columns) * _cell) + TailOf(section);
        }

        LegendTop = Top + cells + Margin;
        Height = LegendTop + _legend.Height + Margin;
    }

    /// <summary>Pixels.</summary>
    public double Width { get; }

    /// <summary>Pixels.</summary>
    public double Height { get; }

    private double LegendTop { get; }

    private static long BytesPerCell => 1L << (PageblockLimits.PageblockOrder + PageblockLimits.PageShift);

    /// <summary>Draws all of it with its upper left corner at a place.</summary>
    public void Draw(IMapCanvas canvas, double x, double y)
    {
        canvas.Text(new MapInk(18, MapColours.Ink), x + Margin, y + 26, _title);
        string used = $"{MapLegend.Count(_map.UsedCount)} of {MapLegend.Count(_map.Count)} pageblocks (2 MiB, one a cell) ever used";
        canvas.Text(new MapInk(13, MapColours.Soft), x + Margin, y + 48, $"{used}; a row is {MapLegend.Bytes(_columns * BytesPerCell)}");
        double at = y + Top;
        foreach (MapSection section in _map.Sections)
        {
            if (HeadingOf(_map) > 0)
            {
                canvas.Text(new MapInk(13, MapColours.Ink), x + Margin, at + 15, string.Create(CultureInfo.InvariantCulture, $"zone {section.Zone}"));
            }

            at += HeadingOf(_map);
            DrawRows(canvas, section, x, at);
            at += RowsOf(section, _columns) * _cell;
            DrawTail(canvas, section, x, at);
            at += TailOf(section);
        }

        _legend.Draw(canvas, x + Left, y + LegendTop);
    }

    private void DrawRows(IMapCanvas canvas, MapSection section, double x, double y)
    {
        int rows = RowsOf(section, _columns);
        int labelled = (int)Math.Ceiling(36 / _cell);
        for (int row = 0; row < rows; row++)
        {
            if (row % labelled == 0)
            {
                long offset = (section.Start + ((long)row * _columns)) * BytesPerCell;
                canvas.Text(new MapInk(12, MapColours.Soft, EndsAt: true), x + Left - 8, y + (row * _cell) + Math.Max(_cell, 10), MapLegend.Bytes(offset));
            }

            for (int column = 0; column < _columns; column++)
            {
                int index = (row * _columns) + column;
                if (index >= section.Pageblocks)
                {
                    return;
                }

                PageblockCell cell = index < section.Cells.Count ? section.Cells[index] : default;
                DrawCell(canvas, cell, x + Left + (column * _cell), y + (row * _cell), _cell);
            }
        }
    }

    /// <summary>A cell; a mixed one from the foot up: what is in use first, what is given back last. Space between cells where there is room.</summary>
    public static void DrawCell(IMapCanvas canvas, PageblockCell cell, double x, double y, double size)
    {
        double inner = size >= 6 ? size - 1 : size;
        if (cell.State != PageblockState.Mixed)
        {
            canvas.Fill(MapColours.Of(cell.State), x, y, inner, inner);
            return;
        }

        double foot = y + inner;
        foreach ((PageblockState kind, int pages) in MapColours.SharesOf(cell))
        {
            if (pages > 0)
            {
                double height = inner * pages / PageblockLimits.PagesPerPageblock;
                foot -= height;
                canvas.Fill(MapColours.Of(kind), x, foot, inner, height);
            }
        }
    }

    /// <summary>What was never used, however much: one line.</summary>
    private void DrawTail(IMapCanvas canvas, MapSection section, double x, double y)
    {
        if (TailOf(section) == 0)
        {
            return;
        }

        int left = Math.Max(section.Pageblocks - (RowsOf(section, _columns) * _columns), 0);
        canvas.Fill(MapColours.Of(PageblockState.NeverUsed), x + Left, y + 5, _columns * _cell, TailLine - 12);
        string note = $"never used: another {MapLegend.Count(left)} pageblocks, {MapLegend.Bytes(left * BytesPerCell)}";
        canvas.Text(new MapInk(12, MapColours.Soft), x + Left + 8, y + 18, note);
    }

    private double TailOf(MapSection section) => section.Pageblocks > RowsOf(section, _columns) * _columns ? TailLine : 0;

    private static double HeadingOf(ArenaMap map) => map.Sections.Count > 1 ? SectionLine : 0;

    private static int RowsOf(MapSection section, int columns) => (section.Cells.Count + columns - 1) / columns;

    private static int RowsOf(ArenaMap map, int columns)
    {
        int rows = 0;
        foreach (MapSection section in map.Sections)
        {
            rows += RowsOf(section, columns);
        }

        return rows;
    }

    private static double CellOf(double width, int columns) => Math.Clamp(Math.Floor(width / columns), CellMin, CellMax);
}
