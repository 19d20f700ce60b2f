using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Diagnostics;

/// <summary>The SVG is well-formed, draws each cell once and in its colour, and says what is counted.</summary>
public sealed class MapPictureTests
{
    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    [Fact]
    public void An_arena_s_picture_is_well_formed_and_names_every_state_with_count_and_bytes()
    {
        using ArenaProbe probe = new(512);
        uint[] blocks = probe.TakeMany(40, 9);
        probe.Free(blocks.Take(10));
        XElement svg = Draw(probe.Arena.GetMap());
        string[] texts = Texts(svg);
        Assert.Contains("Arena of 512 MiB", texts);
        Assert.Contains(texts, t => t.EndsWith("of 256 pageblocks (2 MiB, one a cell) ever used; a row is 64 MiB", StringComparison.Ordinal));
        string[] expected =
            ["taken", "threads' pages", "free, raw", "free, treated", "mixed (from the foot)", "never used", "whole pageblocks", "bytes in all", "60 MiB"];
        Assert.All(expected, t => Assert.Contains(t, texts));
        Assert.DoesNotContain("isolated", texts);
        Assert.Equal(30 + 1, Rectangles(svg, "#0072B2").Count(r => r.Width > 5 && Math.Abs(r.Width - r.Height) < 0.01));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(31)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(1100)]
    [InlineData(4096)]
    [InlineData(131072)]
    public void Each_used_cell_has_its_place_and_nothing_lies_outside_or_upon_another(int used)
    {
        PageblockCell taken = PageblockCell.Of(false, 512, 0, 0, 0, 0, 0, 0);
        XElement svg = Draw(MapOf(131072, [.. Enumerable.Repeat(taken, used)]));
        (double X, double Y, double Width, double Height)[] cells = [.. Rectangles(svg, "#0072B2")];
        double width = Number(svg, "width");
        double height = Number(svg, "height");
        Assert.All(cells, c => Assert.True(c.X >= 0 && c.Y >= 0 && c.X + c.Width <= width && c.Y + c.Height <= height, $"{c} is outside"));

        // Two swatches of the legend (taken, and the example of a mixed one) are of this colour as well.
        Assert.Equal(used + 2, cells.Length);
        Assert.Equal(cells.Length, cells.Select(c => (c.X, c.Y)).Distinct().Count());
        Assert.True(cells.All(c => c.Width >= 2), "cells are too small to see");
        Assert.Equal(used < 131072, Texts(svg).Any(t => t.StartsWith("never used: another", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_mixed_cell_is_filled_by_its_shares_from_the_foot_up()
    {
        XElement svg = Draw(MapOf(4, [PageblockCell.Of(false, 128, 0, 256, 64, 64, 0, 0)]));
        (double X, double Y, double Width, double Height)[] parts =
            [.. new[] { "#0072B2", "#E69F00", "#F0E442", "#A6DBC8" }.Select(c => Rectangles(svg, c).First())];
        Assert.Equal([0.25, 0.5, 0.125, 0.125], parts.Select(p => Math.Round(p.Height / parts.Sum(q => q.Height), 2) switch { 0.12 or 0.13 => 0.125, var v => v }));
        Assert.Equal(parts.Select(p => p.Y).OrderDescending(), parts.Select(p => p.Y));
    }

    [Fact]
    public void Zones_are_drawn_one_below_the_other_with_their_own_rest()
    {
        PageblockCell raw = PageblockCell.Of(false, 0, 0, 512, 0, 0, 0, 0);
        ArenaMap map = new([new MapSection(0, 0, 100, [raw, raw]), new MapSection(1, 100, 100, [raw])]);
        string[] texts = Texts(Draw(map));
        Assert.Contains("zone 0", texts);
        Assert.Contains("zone 1", texts);
        Assert.Equal(2, texts.Count(t => t == "never used: another 68 pageblocks, 136 MiB"));
        Assert.Equal(PageblockState.Raw, map[100].State);
        Assert.Equal(PageblockState.NeverUsed, map[99].State);
        Assert.Equal(PageblockState.NeverUsed, map[199].State);
    }

    [Fact]
    public void A_title_may_hold_any_letter()
    {
        SvgCanvas canvas = new(10, 10);
        canvas.Text(new MapInk(12, "#000000"), 1, 2, "a < b & \"c\" > d");
        using StringWriter text = new(CultureInfo.InvariantCulture);
        canvas.Write(text);
        Assert.Equal("a < b & \"c\" > d", Assert.Single(Texts(XElement.Parse(text.ToString()))));
    }

    [Fact]
    public void No_writer_no_picture()
    {
        using ArenaProbe probe = new(16);
        ArenaMap map = probe.Arena.GetMap();
        Assert.Throws<ArgumentNullException>("output", () => map.WriteSvg(null!));
    }

    [Fact]
    public void States_have_colours_of_their_own()
    {
        PageblockState[] drawn = [.. Enum.GetValues<PageblockState>().Where(s => s != PageblockState.Mixed)];
        Assert.Equal(drawn.Length, drawn.Select(MapColours.Of).Distinct().Count());
    }

    private static ArenaMap MapOf(int pageblocks, List<PageblockCell> cells) => new([new MapSection(0, 0, pageblocks, cells)]);

    private static XElement Draw(ArenaMap map)
    {
        using StringWriter text = new(CultureInfo.InvariantCulture);
        map.WriteSvg(text);
        return XElement.Parse(text.ToString());
    }

    private static double Number(XElement svg, string attribute) => double.Parse(svg.Attribute(attribute)!.Value, CultureInfo.InvariantCulture);

    private static string[] Texts(XElement svg) => [.. svg.Elements(Svg + "text").Select(t => t.Value)];

    private static IEnumerable<(double X, double Y, double Width, double Height)> Rectangles(XElement svg, string colour)
    {
        string? path = svg.Elements(Svg + "path").SingleOrDefault(p => p.Attribute("fill")!.Value == colour)?.Attribute("d")!.Value;
        const string Rectangle = @"M([0-9.]+) ([0-9.]+)h([0-9.]+)v([0-9.]+)h-([0-9.]+)z";
        Assert.Matches($"^({Rectangle})*$", path ?? "");
        return Regex.Matches(path ?? "", Rectangle).Select(m =>
        {
            double[] n = [.. m.Groups.Values.Skip(1).Select(g => double.Parse(g.Value, CultureInfo.InvariantCulture))];
            Assert.Equal(n[2], n[4]);
            return (n[0], n[1], n[2], n[3]);
        });
    }
}
