using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using SkiaSharp;

namespace LowLevel.Perf;

/// <summary>Maps of one arena at several moments, side by side, as SVG and as PNG: the same drawing on two canvases.</summary>
internal sealed class MapPanels
{
    private const double PanelWidth = 512;
    private const double PanelHeight = 640;
    private const double Between = 24;
    private const double Top = 52;

    private readonly string _title;
    private readonly IReadOnlyList<MapPicture> _pictures;

    public MapPanels(string title, IReadOnlyList<(string Title, ArenaMap Map)> moments)
    {
        _title = title;
        _pictures = [.. moments.Select(m => new MapPicture(m.Map, m.Title, PanelWidth, PanelHeight))];
    }

    public double Width => _pictures.Sum(p => p.Width) + (Between * (_pictures.Count - 1));

    public double Height => Top + _pictures.Max(p => p.Height);

    public string RenderSvg()
    {
        SvgCanvas canvas = new(Width, Height);
        Draw(canvas);
        using var text = new StringWriter(CultureInfo.InvariantCulture);
        canvas.Write(text);
        return text.ToString();
    }

    public byte[] RenderPng()
    {
        using var surface = SKSurface.Create(new SKImageInfo((int)Math.Ceiling(Width), (int)Math.Ceiling(Height)));
        using var canvas = new SkiaCanvas(surface.Canvas);
        Draw(canvas);
        using SKImage image = surface.Snapshot();
        using SKData data = image.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    private void Draw(IMapCanvas canvas)
    {
        canvas.Text(new MapInk(21, MapColours.Ink), 16, 34, _title);
        double x = 0;
        foreach (MapPicture picture in _pictures)
        {
            picture.Draw(canvas, x, Top);
            x += picture.Width + Between;
        }
    }

    /// <summary>Paints on white, without blurred edges: cells stand on whole pixels, and shares of a cell are told by whole pixels.</summary>
    private sealed class SkiaCanvas : IMapCanvas, IDisposable
    {
        private readonly SKCanvas _canvas;
        private readonly SKTypeface _face = SKTypeface.FromFile(Path.Combine(AppContext.BaseDirectory, "Fonts", "DejaVuSans.ttf"));
        private readonly SKPaint _fill = new() { Style = SKPaintStyle.Fill };
        private readonly SKPaint _text = new() { IsAntialias = true };

        public SkiaCanvas(SKCanvas canvas)
        {
            _canvas = canvas;
            canvas.Clear(SKColors.White);
        }

        public void Fill(string colour, double x, double y, double width, double height)
        {
            _fill.Color = SKColor.Parse(colour);
            _canvas.DrawRect((float)x, (float)y, (float)width, (float)height, _fill);
        }

        public void Text(MapInk ink, double x, double y, string text)
        {
            using SKFont font = new(_face, ink.Size);
            _text.Color = SKColor.Parse(ink.Colour);
            _canvas.DrawText(text, (float)x, (float)y, ink.EndsAt ? SKTextAlign.Right : SKTextAlign.Left, font, _text);
        }

        public void Dispose()
        {
            _face.Dispose();
            _fill.Dispose();
            _text.Dispose();
        }
    }
}
