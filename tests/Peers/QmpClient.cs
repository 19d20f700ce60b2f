using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Text.Json;

namespace LowLevel.Tests.Peers;

/// <summary>QEMU's and its storage daemon's management protocol (QMP): a line of JSON each way. One thread at a time.</summary>
internal sealed class QmpClient : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly StreamReader _lines;
    private readonly StreamWriter _commands;
    private readonly List<JsonElement> _events = [];

    /// <summary>Over the connection that QEMU made (-qmp unix:PATH), which is this object's from here on.</summary>
    public QmpClient(Socket socket)
    {
        socket.ReceiveTimeout = (int)Patience.TotalMilliseconds;
        NetworkStream stream = new(socket, ownsSocket: true);
        _lines = new StreamReader(stream);
        _commands = new StreamWriter(stream) { AutoFlush = true, NewLine = "\n" };
        Greeting = Read();
        Execute("qmp_capabilities");
    }

    /// <summary>What QEMU says of itself.</summary>
    public JsonElement Greeting { get; }

    /// <summary>Runs a command and returns what it returned.</summary>
    /// <param name="command">Its name.</param>
    /// <param name="arguments">An object whose properties are its arguments; a dictionary where their names are no C# names.</param>
    public JsonElement Execute(string command, object? arguments = null)
    {
        object line = arguments is null ? new { execute = command } : new { execute = command, arguments };
        _commands.WriteLine(JsonSerializer.Serialize(line));
        while (true)
        {
            JsonElement answer = Read();
            if (answer.TryGetProperty("return", out JsonElement value))
            {
                return value;
            }

            if (answer.TryGetProperty("error", out JsonElement error))
            {
                throw new InvalidOperationException($"{command}: {error}");
            }

            _events.Add(answer);
        }
    }

    /// <summary>The data of the next event of this name, one that came before this call included.</summary>
    public JsonElement WaitForEvent(string name)
    {
        while (true)
        {
            int at = _events.FindIndex(e => e.GetProperty("event").GetString() == name);
            if (at >= 0)
            {
                JsonElement found = _events[at];
                _events.RemoveRange(0, at + 1);
                return found.GetProperty("data");
            }

            _events.Add(Read());
        }
    }

    public void Dispose()
    {
        _lines.Dispose();
        _commands.Dispose();
    }

    private JsonElement Read()
    {
        string line = _lines.ReadLine() ?? throw new IOException("QEMU has closed its QMP socket");
        return JsonSerializer.Deserialize<JsonElement>(line);
    }
}
