using System;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.IO;
using System.Threading.Tasks;
using Microsoft.Diagnostics.NETCore.Client;
using Microsoft.Diagnostics.Tracing.Parsers;

namespace LowLevel.Perf;

/// <summary>An EventPipe session over a process's diagnostics port: the arena's events, all of them, and the providers of
/// dotnet-trace's profile dotnet-sampled-thread-time, so that the same file answers "which stage" and "which code".</summary>
internal static class TraceSession
{
    /// <summary>The arena's event source.</summary>
    public const string Arena = "LowLevel-Allocator";

    /// <summary>Takes a stack of every managed thread each millisecond or so.</summary>
    public const string Sampler = "Microsoft-DotNETCore-SampleProfiler";

    /// <summary>The runtime's counters, for the resident set.</summary>
    public const string Runtime = "System.Runtime";

    /// <summary>Where the runtime collects before it sends; what does not fit is lost, and the reader says how much.</summary>
    private const int BufferMebibytes = 256;

    /// <summary>Of the sampler, in dotnet-trace's own profile.</summary>
    private const long SamplerKeywords = 0xF000_0000_0000;

    /// <summary>Records while <paramref name="work"/> runs. The file appears whole or not at all.</summary>
    public static void Record(int process, string path, Action work) =>
        Record(new DiagnosticsClient(process), path, resume: null, work: () =>
        {
            work();
            return false;
        });

    /// <summary>Records a process that may be held at its start.</summary>
    /// <param name="client">Its diagnostics port.</param>
    /// <param name="path">The file; it appears whole or not at all.</param>
    /// <param name="resume">Lets the process go on; called when the recording has begun.</param>
    /// <param name="work">Returns when enough was recorded; true: the process has ended, and with it the recording.</param>
    public static void Record(DiagnosticsClient client, string path, Action? resume, Func<bool> work)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        string temporary = path + ".partial";
        try
        {
            Collect(client, temporary, resume, work);
            File.Move(temporary, path, overwrite: true);
        }
        catch (DiagnosticsClientException e)
        {
            throw new MeasurementException($"the diagnostics port of the process does not serve: {e.Message}", e);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    private static void Collect(DiagnosticsClient client, string path, Action? resume, Func<bool> work)
    {
        Dictionary<string, string> counters = new() { ["EventCounterIntervalSec"] = "0.1" };
        EventPipeProvider[] providers =
        [
            new(Arena, EventLevel.Verbose, -1, counters),
            new(Sampler, EventLevel.Informational, SamplerKeywords),
            new(Runtime, EventLevel.Informational, 0, counters),
            new("Microsoft-Windows-DotNETRuntime", EventLevel.Informational, (long)ClrTraceEventParser.Keywords.Default),
        ];
        using EventPipeSession session = client.StartEventPipeSession(
            new EventPipeSessionConfiguration(providers, BufferMebibytes, requestRundown: true, requestStackwalk: true));
        Task copying = Copy(session.EventStream, path);
        bool hasEnded = false;
        try
        {
            resume?.Invoke();
            hasEnded = work();
        }
        finally
        {
            // Stop makes the runtime write the names of all methods (the rundown) into the same stream, and then end it; so does its own end.
            if (!hasEnded)
            {
                session.Stop();
            }

            copying.Wait();
        }
    }

    private static async Task Copy(Stream events, string path)
    {
        using FileStream file = File.Create(path);
        await events.CopyToAsync(file);
    }
}
