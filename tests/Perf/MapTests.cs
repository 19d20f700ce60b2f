using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text.Json;
using System.Xml.Linq;
using LowLevel.Allocator;
using LowLevel.Perf;
using SkiaSharp;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The map as text and as pictures, and the command that makes them.</summary>
public sealed class MapTests
{
    [Fact]
    public void A_letter_stands_for_one_look_and_whole_states_are_never_rounded_to()
    {
        Dictionary<char, (string Colour, int Parts)[]> key = MapText.Key.ToDictionary(k => k.Letter, k => k.Stack);
        Assert.Equal(50, key.Count);
        Assert.All(key.Values, stack => Assert.Equal(8, stack.Sum(p => p.Parts)));
        Assert.All(key.Keys, letter => Assert.True(char.IsAsciiLetterOrDigit(letter)));
        for (int taken = 0; taken <= 512; taken++)
        {
            for (int raw = 0; raw <= 512 - taken; raw += 3)
            {
                PageblockCell cell = PageblockCell.Of(false, taken, 0, raw, 512 - taken - raw, 0, 0, 0);
                int colours = (taken > 0 ? 1 : 0) + (raw > 0 ? 1 : 0) + (taken + raw < 512 ? 1 : 0);
                Assert.Equal(colours, key[MapText.LetterOf(cell)].Length);
            }
        }

        Assert.Equal([("#0072B2", 2), ("#E69F00", 4), ("#A6DBC8", 2)], key[MapText.LetterOf(PageblockCell.Of(false, 128, 0, 256, 128, 0, 0, 0))]);
        Assert.Equal([("#CC79A7", 8)], key[MapText.LetterOf(PageblockCell.Of(true, 128, 0, 256, 128, 0, 0, 0))]);
        Assert.Equal([("#EEEEEE", 8)], key[MapText.LetterOf(default)]);
    }

    [Fact]
    public void The_text_of_a_map_has_a_letter_for_each_pageblock_up_to_the_last_used_one()
    {
        PageblockCell raw = PageblockCell.Of(false, 0, 0, 512, 0, 0, 0, 0);
        char used = MapText.LetterOf(raw);
        char never = MapText.LetterOf(default);
        Assert.Equal("", MapText.Of(new ArenaMap([new MapSection(0, 0, 9, [])])));
        Assert.Equal($"{used}{used}", MapText.Of(new ArenaMap([new MapSection(0, 0, 9, [raw, raw]), new MapSection(1, 9, 9, [])])));
        Assert.Equal($"{used}{never}{never}{used}", MapText.Of(new ArenaMap([new MapSection(0, 0, 3, [raw]), new MapSection(1, 3, 9, [raw])])));
    }

    [Fact]
    public void Png_and_svg_show_the_same_maps_side_by_side()
    {
        PageblockCell[] cells = [.. Enumerable.Range(0, 300).Select(i => PageblockCell.Of(false, i, 0, 512 - i, 0, 0, 0, 0))];
        PageblockCell[] treated = [.. Enumerable.Range(0, 300).Select(i => PageblockCell.Of(false, 0, 0, 0, 512, 0, 0, 0))];
        MapPanels panels = new("two", [("first", new ArenaMap([new MapSection(0, 0, 900, cells)])), ("second", new ArenaMap([new MapSection(0, 0, 900, treated)]))]);
        using SKBitmap picture = SKBitmap.Decode(panels.RenderPng());
        XElement svg = XElement.Parse(panels.RenderSvg());
        Assert.Equal((int)Math.Ceiling(panels.Width), picture.Width);
        int half = picture.Width / 2;
        Assert.True(Count(picture, 0, half, "#E69F00") > 20_000, "no raw on the left");
        Assert.True(Count(picture, half, picture.Width, "#A6DBC8") > 40_000, "no treated on the right");
        Assert.True(Count(picture, half, picture.Width, "#E69F00") < 400, "raw on the right, beside the legend");
        Assert.True(Count(picture, 0, picture.Width, "#222222") > 300, "no text");
        string[] texts = [.. svg.Descendants().Where(e => e.Name.LocalName == "text").Select(e => e.Value)];
        Assert.All(new[] { "two", "first", "second" }, t => Assert.Contains(t, texts));
    }

    /// <summary>A letter of this font is at most about three fifths as wide as high, on average.</summary>
    [Fact]
    public void No_line_of_text_runs_out_of_the_picture()
    {
        PageblockCell[] cells = [.. Enumerable.Repeat(PageblockCell.Of(false, 512, 0, 0, 0, 0, 0, 0), 1114)];
        MapPanels panels = new("one", [("after treatment", new ArenaMap([new MapSection(0, 0, 48_212, cells)]))]);
        Assert.All(XElement.Parse(panels.RenderSvg()).Elements().Where(e => e.Name.LocalName == "text"), text =>
        {
            double Of(string name) => double.Parse(text.Attribute(name)!.Value, CultureInfo.InvariantCulture);
            double length = 0.6 * Of("font-size") * text.Value.Length;
            bool endsThere = text.Attribute("text-anchor") is not null;
            Assert.True(endsThere ? Of("x") - length >= 0 : Of("x") + length <= panels.Width, text.Value);
        });
    }

    [Fact]
    public void The_page_has_a_map_for_each_arena_whose_letters_its_key_explains()
    {
        string page = PlantPage.Render(SampleSeries.Create(withCharge: true), "mixed");
        int start = page.IndexOf("const data = ", StringComparison.Ordinal) + "const data = ".Length;
        using JsonDocument data = JsonDocument.Parse(page[start..page.IndexOf(";\n", start, StringComparison.Ordinal)]);
        JsonElement key = data.RootElement.GetProperty("mapKey");
        JsonElement[] series = [.. data.RootElement.GetProperty("series").EnumerateArray()];
        Assert.Equal([true, true, false, false], series.Select(s => s.GetProperty("maps").GetArrayLength() > 0));
        foreach (JsonElement map in series.SelectMany(s => s.GetProperty("maps").EnumerateArray()))
        {
            Assert.Equal(JsonValueKind.Number, map[0].ValueKind);
            Assert.All(map[1].GetString()!, letter => Assert.True(key.TryGetProperty(letter.ToString(), out _), $"letter {letter}"));
        }

        Assert.Equal(5, data.RootElement.GetProperty("mapLegend").GetArrayLength());
        string[] parts = ["id=\"maps\"", "id=\"moment\"", "id=\"play\"", "function mapPanel", "mapKey["];
        Assert.All(parts, part => Assert.Contains(part, page, StringComparison.Ordinal));
        Assert.True(page.Length < 200_000, $"{page.Length} letters");
    }

    [Fact]
    public void The_command_draws_three_moments_and_says_what_it_drew()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-map-");
        try
        {
            string json = Path.Combine(folder.FullName, "rows.json");
            (int code, string output) = PerfProcess.Run(folder.FullName, "map", "--scale", "1/16", "--json", json);
            Assert.True(code == 0, output);
            using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
            JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
            Assert.Equal(["full", "after the burst", "after treatment"], rows.Select(r => r.GetProperty("moment").GetString()!));
            long[] resident = [.. rows.Select(r => r.GetProperty("raw_bytes").GetInt64() + r.GetProperty("cached_bytes").GetInt64())];
            Assert.True(resident[1] > 100 << 20 && resident[0] < resident[1] / 2 && resident[2] < resident[1] / 2, "free and resident: " + string.Join(", ", resident));
            Assert.True(rows[2].GetProperty("treated_bytes").GetInt64() > resident[1] / 2);
            Assert.InRange(rows[0].GetProperty("taken_bytes").GetInt64(), 112 << 20, 144 << 20);
            using SKBitmap picture = SKBitmap.Decode(Path.Combine(folder.FullName, "artifacts", "map.png"));
            Assert.True(picture.Width > 1500);
            Assert.Equal("svg", XElement.Load(Path.Combine(folder.FullName, "artifacts", "map.svg")).Name.LocalName);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static int Count(SKBitmap picture, int from, int to, string colour)
    {
        SKColor wanted = SKColor.Parse(colour);
        return Enumerable.Range(from, to - from).Sum(x => Enumerable.Range(0, picture.Height).Count(y => picture.GetPixel(x, y) == wanted));
    }
}
