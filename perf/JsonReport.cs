using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Text.Json;

namespace LowLevel.Perf;

/// <summary>What <c>--json FILE</c> writes: the command, the machine, and flat rows of numbers, texts, booleans and nulls.</summary>
internal sealed class JsonReport
{
    private readonly string _command;
    private readonly string? _path;
    private readonly List<(string Name, object? Value)[]> _rows = [];

    /// <param name="command">The command's name.</param>
    /// <param name="path"><see cref="Arguments.JsonPath"/>; null: nothing is written.</param>
    public JsonReport(string command, string? path)
    {
        _command = command;
        _path = path;
    }

    /// <summary>Adds a row; field order is kept. Values: null, bool, int, long, double, string.</summary>
    public void Row(params (string Name, object? Value)[] fields) => _rows.Add(fields);

    /// <summary>Writes the file, whole or not at all.</summary>
    public void Save()
    {
        if (_path is not null)
        {
            OutputFiles.Write(_path, Encode());
        }
    }

    /// <summary>The text of the file, UTF-8.</summary>
    public byte[] Encode()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("command", _command);
            json.WriteStartObject("machine");
            foreach ((string name, object? value) in Machine.Describe())
            {
                Field(json, name, value);
            }

            json.WriteEndObject();
            json.WriteStartArray("rows");
            foreach ((string Name, object? Value)[] row in _rows)
            {
                json.WriteStartObject();
                foreach ((string name, object? value) in row)
                {
                    Field(json, name, value);
                }

                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        buffer.Write(Encoding.UTF8.GetBytes("\n"));
        return buffer.ToArray();
    }

    private static void Field(Utf8JsonWriter json, string name, object? value)
    {
        switch (value)
        {
            case null: json.WriteNull(name); break;
            case bool b: json.WriteBoolean(name, b); break;
            case int i: json.WriteNumber(name, i); break;
            case long l: json.WriteNumber(name, l); break;
            case double d when double.IsFinite(d): json.WriteNumber(name, Math.Round(d, 6)); break;
            case double: json.WriteNull(name); break;
            case string s: json.WriteString(name, s); break;
            default: throw new ArgumentException($"field {name}: a {value.GetType()} has no JSON form here; allowed: bool, int, long, double, string");
        }
    }
}
