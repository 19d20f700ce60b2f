using System;
using System.IO;
using System.Text;

namespace LowLevel.Interop.Host;

/// <summary>Writes each round to the standard output: a line of JSON, a table that is drawn in its place on a terminal, or else a line for each
/// change. Whoever reads may go away: the guests stay served.</summary>
internal sealed class StatusWriter(bool json) : IDisposable
{
    private const string Home = "\e[H";
    private const string ToLineEnd = "\e[K";
    private const string ToScreenEnd = "\e[J";

    private readonly Stream _output = Console.OpenStandardOutput();
    private readonly StatusText _changes = new();
    private readonly bool _isTerminal = !Console.IsOutputRedirected;
    private bool _isClosed;

    /// <summary>Writes one round.</summary>
    public void Write(HostStatus status)
    {
        if (json)
        {
            Write([.. StatusJson.Write(status), (byte)'\n']);
        }
        else if (_isTerminal)
        {
            string table = StatusText.Table(status).ReplaceLineEndings(ToLineEnd + "\n");
            Write(Encoding.UTF8.GetBytes(Home + table + ToScreenEnd));
        }
        else
        {
            foreach (string line in _changes.Changes(status))
            {
                Write(Encoding.UTF8.GetBytes(line + "\n"));
            }
        }
    }

    /// <summary>Closes the output.</summary>
    public void Dispose() => _output.Dispose();

    private void Write(ReadOnlySpan<byte> bytes)
    {
        if (_isClosed)
        {
            return;
        }

        try
        {
            _output.Write(bytes);
            _output.Flush();
        }
        catch (IOException)
        {
            _isClosed = true;
        }
    }
}
