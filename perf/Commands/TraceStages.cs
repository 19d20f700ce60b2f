using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using Microsoft.Diagnostics.Tracing;

namespace LowLevel.Perf;

/// <summary>What a trace says of the reactor: for each stage how often, how long, how many pages.</summary>
internal sealed class TraceStages
{
    private readonly Dictionary<Stage, (List<double> Microseconds, long Pages, long Blocks)> stages =
        Enum.GetValues<Stage>().ToDictionary(s => s, _ => (new List<double>(), 0L, 0L));

    private TraceStages()
    {
    }

    public long BatchesLost { get; private set; }

    /// <summary>Events of the arena's source, of whatever kind.</summary>
    public long Events { get; private set; }

    /// <summary>Stacks that the sampler took.</summary>
    public long Samples { get; private set; }

    /// <summary>Events that did not fit into the runtime's buffer.</summary>
    public long EventsLost { get; private set; }

    private double TotalMicroseconds => stages.Values.Sum(s => s.Microseconds.Sum());

    /// <summary>Reads a recorded file to its end.</summary>
    public static TraceStages Read(string path)
    {
        var result = new TraceStages();
        using var source = new EventPipeEventSource(path);
        source.Dynamic.All += result.Take;
        source.AllEvents += e => result.Samples += e.ProviderName == TraceSession.Sampler ? 1 : 0;
        source.Process();
        result.EventsLost = source.EventsLost;
        return result;
    }

    public void Write(TextWriter output)
    {
        output.WriteLine();
        output.WriteLine($"{"stage",-8}{"count",10}{"total ms",12}{"mean us",12}{"p99 us",12}{"share",9}{"blocks",10}{"pages",12}");
        foreach (Stage stage in Enum.GetValues<Stage>())
        {
            (List<double> times, long pages, long blocks) = stages[stage];
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{stage,-8}{times.Count,10}{times.Sum() / 1000,12:0.0}{Mean(times),12:0.0}{Percentile99(times),12:0.0}{Share(times),9:0.0 %}{blocks,10}{pages,12}"));
        }

        output.WriteLine();
        output.WriteLine($"batches lost: {BatchesLost}; events of the arena: {Events}; stacks sampled: {Samples}; events lost by the runtime: {EventsLost}");
    }

    public void AddRows(JsonReport report)
    {
        foreach (Stage stage in Enum.GetValues<Stage>())
        {
            (List<double> times, long pages, long blocks) = stages[stage];
            report.Row(
                ("stage", stage.ToString()),
                ("count", times.Count),
                ("total_microseconds", times.Sum()),
                ("mean_microseconds", Mean(times)),
                ("p99_microseconds", Percentile99(times)),
                ("share", Share(times)),
                ("blocks", blocks),
                ("pages", pages),
                ("batches_lost", BatchesLost),
                ("stacks_sampled", Samples),
                ("events_lost", EventsLost));
        }
    }

    private static double Mean(List<double> times) => times.Count > 0 ? times.Average() : double.NaN;

    /// <summary>The smallest time that at least 99 in 100 do not exceed.</summary>
    private static double Percentile99(List<double> times) =>
        times.Count > 0 ? times.Order().ElementAt(((99 * times.Count) + 99) / 100 - 1) : double.NaN;

    private double Share(List<double> times) => TotalMicroseconds > 0 ? times.Sum() / TotalMicroseconds : double.NaN;

    private void Take(TraceEvent data)
    {
        // A source that registers itself tells its manifest as event 65534; that is no event of the arena.
        if (data.ProviderName != TraceSession.Arena || data.ID == (TraceEventID)0xfffe)
        {
            return;
        }

        Events++;
        BatchesLost += data.EventName == nameof(ArenaEvents.BatchLost) ? 1 : 0;
        if (data.EventName == nameof(ArenaEvents.Stage))
        {
            var stage = (Stage)Convert.ToInt32(data.PayloadByName("stage"), CultureInfo.InvariantCulture);
            (List<double> times, long pages, long blocks) = stages[stage];
            times.Add((double)data.PayloadByName("microseconds"));
            stages[stage] = (times, pages + (long)data.PayloadByName("pages"), blocks + (int)data.PayloadByName("blocks"));
        }
    }
}
