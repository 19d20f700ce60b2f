using System;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Tests.Packages;
using LowLevel.Tests.Peers;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>The host program in a process of its own, which says how it stands in a line of JSON each round. It does not outlive the test, however
/// that ends.</summary>
internal sealed class HostProcess : IDisposable
{
    private readonly PeerProcess _process;

    /// <summary>Starts it with <c>--json</c> and waits until it listens.</summary>
    public HostProcess(params string[] arguments)
    {
        _process = new PeerProcess(Executable, [.. arguments, "--json"]);
        Until(static _ => true);
    }

    /// <summary>The program beside the tests.</summary>
    public static string Executable => Path.Combine(AppContext.BaseDirectory, "LowLevel.Host");

    /// <summary>What it has open.</summary>
    public int Descriptors => Directory.EnumerateFileSystemEntries($"/proc/{_process.Id}/fd").Count();

    /// <summary>The next status of which this is so.</summary>
    public JsonElement Until(Func<JsonElement, bool> isSo)
    {
        JsonElement status;
        do
        {
            status = JsonDocument.Parse(_process.WaitForLine("{")).RootElement;
        }
        while (!isSo(status));

        return status;
    }

    /// <summary>Ends it by a signal, as whoever runs it does: it ends in order, and has said nothing but how it stood.</summary>
    public void End(string signal)
    {
        Assert.Equal(0, Dotnet.Run(AppContext.BaseDirectory, "sh", "-c", $"kill -{signal} {_process.Id}").Code);
        Assert.True(_process.WaitForExit() == 0, _process.Output);
        Assert.All(_process.Output.Split('\n'), line => Assert.StartsWith("{", line, StringComparison.Ordinal));
    }

    public void Dispose() => _process.Dispose();
}
