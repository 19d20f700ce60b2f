namespace LowLevel.Allocator;

/// <summary>What a map is drawn on; units are pixels, y grows downward.</summary>
internal interface IMapCanvas
{
    /// <summary>A filled rectangle.</summary>
    void Fill(string colour, double x, double y, double width, double height);

    /// <summary>A line of text on a baseline.</summary>
    void Text(MapInk ink, double x, double y, string text);
}

/// <summary>How text looks.</summary>
/// <param name="Size">In pixels.</param>
/// <param name="Colour">#RRGGBB.</param>
/// <param name="EndsAt">Whether it ends at the place, and does not begin there.</param>
internal readonly record struct MapInk(int Size, string Colour, bool EndsAt = false);
