using System.Collections.Generic;
using System.Globalization;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The table under a map: each state with its colour, its whole pageblocks and its bytes.</summary>
internal sealed class MapLegend
{
    private const double Line = 22;
    private const double Swatch = 14;
    private const double NameAt = 24;
    private const double CountEndsAt = 250;
    private const double BytesEndAt = 390;

    private readonly ArenaMap _map;
    private readonly List<(PageblockState State, string Name, string Bytes)> _rows = [];

    public MapLegend(ArenaMap map)
    {
        _map = map;
        Add(PageblockState.Allocated, "taken", map.TakenBytes);
        Add(PageblockState.Cached, "threads' pages", map.CachedBytes);
        Add(PageblockState.Raw, "free, raw", map.RawBytes);
        Add(PageblockState.Treated, "free, treated", map.TreatedBytes);
        AddIfAny(PageblockState.InReactor, "in reactor", map.InReactorBytes);
        AddIfAny(PageblockState.Inflated, "inflated", map.InflatedBytes);
        AddIfAny(PageblockState.Quarantined, "quarantined", map.QuarantinedBytes);
        _rows.Add((PageblockState.Mixed, "mixed (from the foot)", "counted above"));
        AddIfAny(PageblockState.Isolated, "isolated", map.IsolatedBytes);
        Add(PageblockState.NeverUsed, "never used", map.NeverUsedBytes);
    }

    /// <summary>Pixels.</summary>
    public double Height => (_rows.Count + 1) * Line;

    /// <summary>"1,234.5 MiB", "12.3 GiB", "0 MiB".</summary>
    public static string Bytes(long bytes) => bytes >= 10L << 30
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):#,##0.#} GiB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 20):#,##0.#} MiB");

    /// <summary>"1,234".</summary>
    public static string Count(int count) => count.ToString("#,##0", CultureInfo.InvariantCulture);

    public void Draw(IMapCanvas canvas, double x, double y)
    {
        MapInk soft = new(13, MapColours.Soft, EndsAt: true);
        MapInk ink = new(13, MapColours.Ink);
        canvas.Text(soft, x + CountEndsAt, y + Swatch, "whole pageblocks");
        canvas.Text(soft, x + BytesEndAt, y + Swatch, "bytes in all");
        foreach ((PageblockState state, string name, string bytes) in _rows)
        {
            y += Line;
            // A mixed one is shown by an example: a bit of each kind that is common.
            PageblockCell example = state == PageblockState.Mixed ? PageblockCell.Of(false, 128, 100, 156, 128, 0, 0, 0) : new(state, 0, 0, 0, 0, 0, 0, 0);
            MapPicture.DrawCell(canvas, example, x, y + 1, Swatch + 1);
            canvas.Text(ink, x + NameAt, y + Swatch - 1, name);
            canvas.Text(ink with { EndsAt = true }, x + CountEndsAt, y + Swatch - 1, Count(_map.CountOf(state)));
            canvas.Text(state == PageblockState.Mixed ? soft : ink with { EndsAt = true }, x + BytesEndAt, y + Swatch - 1, bytes);
        }
    }

    private void Add(PageblockState state, string name, long bytes) => _rows.Add((state, name, Bytes(bytes)));

    private void AddIfAny(PageblockState state, string name, long bytes)
    {
        if (bytes > 0 || _map.CountOf(state) > 0)
        {
            Add(state, name, bytes);
        }
    }
}

/// <summary>The colours of a map: of those that the colour-blind tell apart (Okabe and Ito 2008), what is not resident in light ones.</summary>
internal static class MapColours
{
    /// <summary>Of text.</summary>
    public const string Ink = "#222222";

    /// <summary>Of less important text.</summary>
    public const string Soft = "#666666";

    /// <summary>The colour of a state; mixed pageblocks have those of their shares.</summary>
    public static string Of(PageblockState state) => state switch
    {
        PageblockState.Allocated => "#0072B2",
        PageblockState.Cached => "#56B4E9",
        PageblockState.Raw => "#E69F00",
        PageblockState.Treated => "#A6DBC8",
        PageblockState.InReactor => "#F0E442",
        PageblockState.Isolated => "#CC79A7",
        PageblockState.Inflated => "#999999",
        PageblockState.Quarantined => "#D55E00",
        PageblockState.NeverUsed => "#EEEEEE",
        _ => Soft,
    };

    /// <summary>The parts of a mixed cell, from the foot up; they make <see cref="PageblockLimits.PagesPerPageblock"/> pages.</summary>
    public static (PageblockState Kind, int Pages)[] SharesOf(PageblockCell cell) =>
    [
        (PageblockState.Allocated, cell.TakenPages),
        (PageblockState.Cached, cell.CachedPages),
        (PageblockState.Raw, cell.RawPages),
        (PageblockState.InReactor, cell.InReactorPages),
        (PageblockState.Inflated, cell.InflatedPages),
        (PageblockState.Quarantined, cell.QuarantinedPages),
        (PageblockState.Treated, cell.TreatedPages),
    ];
}
