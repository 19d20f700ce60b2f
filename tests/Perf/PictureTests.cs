using System;
using System.Diagnostics;
using System.IO;
using System.Text.Json;
using LowLevel.Perf;
using SkiaSharp;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class PictureTests
{
    private static string Host => Path.Combine(AppContext.BaseDirectory, "LowLevel.Perf.dll");

    [Fact]
    public void Where_no_font_configuration_is_the_picture_has_its_text()
    {
        using SKBitmap picture = RenderInChild("dotnet", $"exec \"{Host}\" picture-child --output");
        AssertHasText(picture);
    }

    [Fact]
    public void Where_no_font_file_is_but_our_own_the_picture_has_its_text()
    {
        const string Hide = "for d in /usr/share/fonts /usr/local/share/fonts; do [ ! -d $d ] || mount -t tmpfs none $d || exit 9; done";
        Assert.SkipUnless(
            Run("unshare", $"--map-root-user --mount sh -c \"{Hide}\"") == 0,
            "this machine lets nobody hide its fonts in a mount namespace of their own");
        using SKBitmap picture = RenderInChild("unshare", $"--map-root-user --mount sh -c \"{Hide}; exec dotnet exec '{Host}' picture-child --output $0\"");
        AssertHasText(picture);
    }

    [Fact]
    public void Without_a_charge_the_right_half_has_axes_and_live_bytes_but_no_contestant()
    {
        using SKBitmap with = SKBitmap.Decode(PlantPicture.Render(SampleSeries.Create(withCharge: true), "mixed"));
        using SKBitmap without = SKBitmap.Decode(PlantPicture.Render(SampleSeries.Create(withCharge: false), "mixed"));
        SKColor arena = SKColor.Parse("#0072B2");
        int half = with.Width / 2;
        Assert.True(Count(with, half, 0, half, 700, c => c == arena) > 500);
        Assert.Equal(0, Count(without, half, 0, half, 700, c => c == arena));
        Assert.True(Count(without, 0, 0, half, 700, c => c == arena) > 500);
    }

    [Fact]
    public void The_page_stands_alone_and_holds_every_contestants_curve()
    {
        string page = PlantPage.Render(SampleSeries.Create(withCharge: true), "large");
        Assert.DoesNotContain("/*DATA*/", page, StringComparison.Ordinal);
        foreach (string outside in new[] { "src=", "href=", "@import", "url(", "https://" })
        {
            Assert.DoesNotContain(outside, page, StringComparison.Ordinal);
        }

        int start = page.IndexOf("const data = ", StringComparison.Ordinal) + "const data = ".Length;
        int end = page.IndexOf(";\n", start, StringComparison.Ordinal);
        using JsonDocument data = JsonDocument.Parse(page[start..end]);
        JsonElement series = data.RootElement.GetProperty("series");
        Assert.Equal(4, series.GetArrayLength());
        Assert.Equal("arena", series[0].GetProperty("name").GetString());
        Assert.Equal(data.RootElement.GetProperty("headings").GetArrayLength(), series[0].GetProperty("cells").GetArrayLength());
        Assert.True(series[3].GetProperty("points").GetArrayLength() > 400);
    }

    // Titles at the top of both halves, the axis labels at the left edge and the legends at the foot: all dark on white.
    private static void AssertHasText(SKBitmap picture)
    {
        int half = picture.Width / 2;
        for (int panel = 0; panel < 2; panel++)
        {
            int left = panel * half;
            Assert.True(Count(picture, left, 0, half, 32, IsDark) > 800, "the title is missing");
            Assert.True(Count(picture, left, 100, 30, 550, IsDark) > 300, "the label of the vertical axis is missing");
            Assert.True(Count(picture, left, picture.Height - 45, half, 45, IsDark) > 800, "the legend is missing");
        }
    }

    private static bool IsDark(SKColor colour) => colour.Red < 100 && colour.Green < 100 && colour.Blue < 100;

    private static int Count(SKBitmap picture, int left, int top, int width, int height, Predicate<SKColor> wanted)
    {
        int count = 0;
        for (int y = top; y < top + height; y++)
        {
            for (int x = left; x < left + width; x++)
            {
                count += wanted(picture.GetPixel(x, y)) ? 1 : 0;
            }
        }

        return count;
    }

    private static SKBitmap RenderInChild(string program, string arguments)
    {
        string folder = Directory.CreateTempSubdirectory("lowlevel-").FullName;
        try
        {
            string path = Path.Combine(folder, "picture.png");
            Assert.Equal(0, Run(program, $"{arguments} {path}"));
            return SKBitmap.Decode(path);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // A font configuration that points nowhere, and a home without fonts.
    private static int Run(string program, string arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardError = true };
        start.Environment["FONTCONFIG_FILE"] = "/nowhere/fonts.conf";
        start.Environment["FONTCONFIG_PATH"] = "/nowhere";
        start.Environment["XDG_DATA_HOME"] = "/nowhere";
        try
        {
            using Process process = Process.Start(start)!;
            string error = process.StandardError.ReadToEnd();
            process.WaitForExit();
            TestContext.Current.TestOutputHelper?.WriteLine(error);
            return process.ExitCode;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return -1;
        }
    }
}
