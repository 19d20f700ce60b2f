using System;
using System.Collections.Generic;
using System.ComponentModel;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Diagnostics.NETCore.Client;

namespace LowLevel.Perf;

/// <summary>Any .NET program as the thing that is traced. Its runtime finds a diagnostics port of ours in its environment, connects before it runs
/// any managed code, and waits: so the start is in the recording too. Its own children are not held: the variable is taken away
/// from it before it goes on. Its output is ours.</summary>
internal static class TraceTarget
{
    private const string PortVariable = "DOTNET_DiagnosticPorts";

    /// <summary>Verbs of the SDK's driver, which start the program in a process of its own, and that one is not seen.</summary>
    private static readonly string[] Drivers = ["run", "test", "watch", "build", "publish"];

    /// <summary>Runs the command to its end, or for so long; what came of it, in one line.</summary>
    public static string Record(IReadOnlyList<string> command, TimeSpan? bound, string path)
    {
        if (command.Count > 1 && Path.GetFileNameWithoutExtension(command[0]) == "dotnet" && Drivers.Contains(command[1]))
        {
            throw new UsageException($"'dotnet {command[1]}' runs the program in another process; allowed: the program itself, such as dotnet App.dll");
        }

        DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-port-");
        try
        {
            return RecordAt(Path.Combine(folder.FullName, "port"), command, bound, path);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [SuppressMessage("Reliability", "CA2025", Justification = "The process is disposed of after it has ended, and with it the task that waits for that.")]
    private static string RecordAt(string port, IReadOnlyList<string> command, TimeSpan? bound, string path)
    {
        using CancellationTokenSource patience = new();
        Task<DiagnosticsClientConnector> connecting = DiagnosticsClientConnector.FromDiagnosticPort(port + ",listen", patience.Token);
        using Process process = Start(command, port);
        try
        {
            Task ended = process.WaitForExitAsync();
            if (Task.WhenAny(connecting, ended).GetAwaiter().GetResult() == ended)
            {
                patience.Cancel();
                throw new MeasurementException($"'{command[0]}' ended with code {process.ExitCode} before a .NET runtime was up in it");
            }

            DiagnosticsClientConnector connector = connecting.GetAwaiter().GetResult();
            try
            {
                DiagnosticsClient client = connector.Instance;
                TraceSession.Record(client, path, resume: () => Resume(client), work: () => ended.Wait(bound ?? Timeout.InfiniteTimeSpan));
            }
            finally
            {
                connector.DisposeAsync().AsTask().GetAwaiter().GetResult();
            }

            return process.HasExited ? $"the command ended with code {process.ExitCode}" : $"the command was ended after {bound!.Value.TotalSeconds} s";
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
                process.WaitForExit();
            }
        }
    }

    private static void Resume(DiagnosticsClient client)
    {
        client.SetEnvironmentVariable(PortVariable, string.Empty);
        client.ResumeRuntime();
    }

    private static Process Start(IReadOnlyList<string> command, string port)
    {
        var start = new ProcessStartInfo(command[0], command.Skip(1)) { UseShellExecute = false };
        start.Environment[PortVariable] = port + ",suspend";
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new UsageException($"'{command[0]}' cannot be started: {e.Message}");
        }
    }
}
