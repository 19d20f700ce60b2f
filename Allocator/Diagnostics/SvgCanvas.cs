using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;

namespace LowLevel.Allocator;

/// <summary>Collects a drawing and writes it as SVG: one path a colour, because an element for each cell would be five times as long.</summary>
internal sealed class SvgCanvas(double width, double height) : IMapCanvas
{
    private readonly List<string> _colours = [];
    private readonly Dictionary<string, StringBuilder> _paths = [];
    private readonly StringBuilder _texts = new();

    /// <inheritdoc/>
    public void Fill(string colour, double x, double y, double width, double height)
    {
        if (!_paths.TryGetValue(colour, out StringBuilder? path))
        {
            _colours.Add(colour);
            _paths.Add(colour, path = new StringBuilder());
        }

        path.Append(CultureInfo.InvariantCulture, $"M{x:0.##} {y:0.##}h{width:0.##}v{height:0.##}h{-width:0.##}z");
    }

    /// <inheritdoc/>
    public void Text(MapInk ink, double x, double y, string text)
    {
        string anchor = ink.EndsAt ? " text-anchor=\"end\"" : "";
        _texts.Append(CultureInfo.InvariantCulture, $"<text x=\"{x:0.##}\" y=\"{y:0.##}\" font-size=\"{ink.Size}\" fill=\"{ink.Colour}\"{anchor}>");
        foreach (char letter in text)
        {
            _ = letter switch
            {
                '&' => _texts.Append("&amp;"),
                '<' => _texts.Append("&lt;"),
                '>' => _texts.Append("&gt;"),
                _ => _texts.Append(letter),
            };
        }

        _texts.Append("</text>\n");
    }

    /// <summary>The whole picture, on white.</summary>
    public void Write(TextWriter output)
    {
        string size = string.Create(CultureInfo.InvariantCulture, $"width=\"{width:0.##}\" height=\"{height:0.##}\" viewBox=\"0 0 {width:0.##} {height:0.##}\"");
        output.Write($"<svg xmlns=\"http://www.w3.org/2000/svg\" {size} font-family=\"'DejaVu Sans', Verdana, sans-serif\">\n");
        output.Write("<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n");
        foreach (string colour in _colours)
        {
            output.Write($"<path fill=\"{colour}\" d=\"");
            output.Write(_paths[colour]);
            output.Write("\"/>\n");
        }

        output.Write(_texts);
        output.Write("</svg>\n");
    }
}
