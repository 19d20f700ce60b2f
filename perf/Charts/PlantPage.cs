using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Text;
using System.Text.Json;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>artifacts/plant.html: the page in Charts/plant.html with the data written into it. It asks for nothing from
/// anywhere: script, style and curves are inside.</summary>
internal static class PlantPage
{
    public static void Save(string path, IReadOnlyList<PlantSeries> series, string blocks) => OutputFiles.Write(path, Render(series, blocks));

    /// <summary>The page's text.</summary>
    public static string Render(IReadOnlyList<PlantSeries> series, string blocks)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream("plant.html")
            ?? throw new MeasurementException("the page plant.html is missing from the program");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().Replace("/*DATA*/", Data(series, blocks), StringComparison.Ordinal);
    }

    // Utf8JsonWriter escapes < and >, so the text is safe inside a script element.
    private static string Data(IReadOnlyList<PlantSeries> series, string blocks)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("blocks", blocks);
            json.WriteString("machine", Machine.Line());
            json.WriteStartArray("headings");
            PlantSeries.Headings.ToList().ForEach(json.WriteStringValue);
            json.WriteEndArray();
            WriteMapKey(json);
            json.WriteStartArray("series");
            foreach (PlantSeries one in series)
            {
                Write(json, one);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    private static void Write(Utf8JsonWriter json, PlantSeries one)
    {
        json.WriteStartObject();
        json.WriteString("name", one.Contestant);
        json.WriteString("colour", one.Colour);
        json.WriteStartArray("cells");
        one.Cells.ToList().ForEach(json.WriteStringValue);
        json.WriteEndArray();
        json.WriteStartArray("points");
        foreach (CurvePoint point in one.Curve)
        {
            json.WriteStartArray();
            json.WriteNumberValue(Math.Round(point.Seconds, 3));
            json.WriteNumberValue(Mebibytes(point.Usage.Rss));
            if (point.Usage.Charge is long charge)
            {
                json.WriteNumberValue(Mebibytes(charge));
            }
            else
            {
                json.WriteNullValue();
            }

            json.WriteNumberValue(Mebibytes(point.Live));
            json.WriteEndArray();
        }

        json.WriteEndArray();
        json.WriteStartArray("maps");
        foreach (MapPoint map in one.Maps)
        {
            json.WriteStartArray();
            json.WriteNumberValue(Math.Round(map.Seconds, 3));
            json.WriteStringValue(map.Letters);
            json.WriteEndArray();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>What each letter of a map shows, colours with eighths, and the legend: so the script knows neither colours nor letters.</summary>
    private static void WriteMapKey(Utf8JsonWriter json)
    {
        json.WriteStartObject("mapKey");
        foreach ((char letter, (string Colour, int Parts)[] stack) in MapText.Key)
        {
            json.WriteStartArray(letter.ToString());
            foreach ((string colour, int parts) in stack)
            {
                json.WriteStringValue(colour);
                json.WriteNumberValue(parts);
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
        json.WriteStartArray("mapLegend");
        (string Name, PageblockState State)[] legend =
            [("taken", PageblockState.Allocated), ("free, raw or in threads' pages", PageblockState.Raw), ("free, treated", PageblockState.Treated),
             ("in reactor", PageblockState.InReactor), ("never used", PageblockState.NeverUsed)];
        foreach ((string name, PageblockState state) in legend)
        {
            json.WriteStartArray();
            json.WriteStringValue(name);
            json.WriteStringValue(MapColours.Of(state));
            json.WriteEndArray();
        }

        json.WriteEndArray();
    }

    private static double Mebibytes(long bytes) => Math.Round(bytes / 1048576.0, 1);
}
