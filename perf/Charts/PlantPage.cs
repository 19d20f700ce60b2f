using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Text;
using System.Text.Json;

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
        json.WriteEndObject();
    }

    private static double Mebibytes(long bytes) => Math.Round(bytes / 1048576.0, 1);
}
