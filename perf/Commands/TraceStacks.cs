using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using Microsoft.Diagnostics.Tracing;
using Microsoft.Diagnostics.Tracing.Etlx;

namespace LowLevel.Perf;

/// <summary>Where the threads of a traced process were, by its sampler: in managed code, or in a call out of it (the system, a wait).</summary>
internal sealed class TraceStacks
{
    private const int Shown = 8;
    private const int Frames = 4;

    private readonly Dictionary<string, long> running = [];
    private readonly Dictionary<string, long> outside = [];

    private TraceStacks()
    {
    }

    /// <summary>The stacks most often seen in managed code: leaf, its caller, and so on, and how often.</summary>
    public IReadOnlyList<(string Stack, long Samples)> Hottest => Top(running);

    /// <summary>Reads a recorded file. Needs the names of its methods, which stand at its end.</summary>
    public static TraceStacks Read(string path)
    {
        string converted = Path.GetTempFileName();
        try
        {
            var result = new TraceStacks();
            TraceLog.CreateFromEventPipeDataFile(path, converted, new TraceLogOptions { ConversionLog = TextWriter.Null, ContinueOnError = true });
            using var log = new TraceLog(converted);
            using TraceLogEventSource source = log.Events.GetSource();
            source.AllEvents += result.Take;
            source.Process();
            return result;
        }
        finally
        {
            File.Delete(converted);
        }
    }

    public void Write(TextWriter output)
    {
        Write(output, "hottest stacks in managed code", running);
        Write(output, "calls out of it: waits and the system", outside);
    }

    private static void Write(TextWriter output, string title, Dictionary<string, long> stacks)
    {
        double all = Math.Max(1, stacks.Values.Sum());
        output.WriteLine();
        output.WriteLine($"{"samples",9}{"share",8}  {title} (leaf < caller < ...)");
        foreach ((string stack, long samples) in Top(stacks))
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{samples,9}{samples / all,8:0.0 %}  {stack}"));
        }
    }

    private static List<(string Stack, long Samples)> Top(Dictionary<string, long> stacks) =>
        [.. stacks.OrderByDescending(s => s.Value).ThenBy(s => s.Key, StringComparer.Ordinal).Take(Shown).Select(s => (s.Key, s.Value))];

    private void Take(TraceEvent sample)
    {
        if (sample.ProviderName != TraceSession.Sampler)
        {
            return;
        }

        bool isManaged = sample.PayloadByName("Type")?.ToString() == "Managed";
        var names = new List<string>();
        for (TraceCallStack? at = sample.CallStack(); at is not null && names.Count < Frames; at = at.Caller)
        {
            string name = Short(at.CodeAddress.FullMethodName);
            if (name.Length > 0)
            {
                names.Add(name);
            }
        }

        if (names.Count > 0)
        {
            Dictionary<string, long> into = isManaged ? running : outside;
            string key = string.Join(" < ", names);
            into[key] = into.GetValueOrDefault(key) + 1;
        }
    }

    /// <summary>Type and method, without namespaces and parameters.</summary>
    private static string Short(string name)
    {
        int parameters = name.IndexOf('(', StringComparison.Ordinal);
        string full = parameters < 0 ? name : name[..parameters];
        string[] parts = full.Split('.', StringSplitOptions.RemoveEmptyEntries);
        return string.Join('.', parts[Math.Max(0, parts.Length - 2)..]);
    }
}
