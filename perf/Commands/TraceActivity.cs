using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using Microsoft.Diagnostics.Tracing;

namespace LowLevel.Perf;

/// <summary>Something that took time: when it ended, in seconds of the recording, how long it took, and how many bytes or blocks it moved.</summary>
internal readonly record struct TraceSpan(double Seconds, double Microseconds, long Amount);

/// <summary>What a trace says of the ring, the host and the locks, and the counters along the time.</summary>
internal sealed class TraceActivity
{
    private readonly Dictionary<string, List<TraceSpan>> spans = [];
    private readonly Dictionary<string, List<(double Seconds, double Value)>> counters = [];
    private readonly Dictionary<Stage, List<TraceSpan>> stages = Enum.GetValues<Stage>().ToDictionary(s => s, _ => new List<TraceSpan>());
    private long calls;

    /// <summary>Length of the recording.</summary>
    public double Seconds { get; private set; }

    /// <summary>Each run of a stage.</summary>
    public IReadOnlyDictionary<Stage, List<TraceSpan>> Stages => stages;

    /// <summary>The reports that came back.</summary>
    public IReadOnlyList<TraceSpan> Reports => Of(nameof(ArenaEvents.ReportSettled));

    /// <summary>What the host dropped.</summary>
    public IReadOnlyList<TraceSpan> Discards => Of(nameof(ArenaEvents.Discard));

    /// <summary>Waits for a zone's lock.</summary>
    public IReadOnlyList<TraceSpan> LockWaits => Of(nameof(ArenaEvents.LockWait));

    /// <summary>The values of a counter along the time, as it tells them; none where it told none.</summary>
    public IReadOnlyList<(double Seconds, double Value)> Counter(string name) => counters.GetValueOrDefault(name) ?? [];

    /// <summary>Reads a recorded file to its end.</summary>
    public static TraceActivity Read(string path)
    {
        var result = new TraceActivity();
        using var source = new EventPipeEventSource(path);
        source.Dynamic.All += result.Take;
        source.Process();
        result.Seconds = source.SessionDuration.TotalSeconds;
        return result;
    }

    public void Write(TextWriter output)
    {
        output.WriteLine();
        output.WriteLine($"{"what",-16}{"count",10}{"per second",12}{"total ms",12}{"mean us",12}{"max us",12}{"amount",14}");
        foreach ((string name, string label, string unit) in Kinds)
        {
            List<TraceSpan> all = Of(name);
            double amount = all.Sum(s => (double)s.Amount);
            string shown = unit == "MiB" ? (amount / (1 << 20)).ToString("0", CultureInfo.InvariantCulture) : amount.ToString("0", CultureInfo.InvariantCulture);
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{label,-16}{all.Count,10}{all.Count / Seconds,12:0.0}{Total(all) / 1000,12:0.0}{Mean(all),12:0.0}{Max(all),12:0.0}{shown + " " + unit,14}"));
        }

        output.WriteLine();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"calls to drop memory: {calls}; length of the recording: {Seconds:0.00} s"));
    }

    public void AddRows(JsonReport report)
    {
        foreach ((string name, string label, string unit) in Kinds)
        {
            List<TraceSpan> all = Of(name);
            report.Row(
                ("activity", label.Replace(' ', '_')),
                ("count", all.Count),
                ("per_second", all.Count / Seconds),
                ("total_microseconds", Total(all)),
                ("mean_microseconds", Mean(all)),
                ("max_microseconds", Max(all)),
                (unit == "MiB" ? "bytes" : unit, all.Sum(s => s.Amount)));
        }
    }

    private static (string Name, string Label, string Unit)[] Kinds =>
    [
        (nameof(ArenaEvents.ReportSettled), "reports", "MiB"),
        (nameof(ArenaEvents.Discard), "discards", "MiB"),
        (nameof(ArenaEvents.LockWait), "lock waits", "waits"),
        (nameof(ArenaEvents.Refill), "refills", "blocks"),
        (nameof(ArenaEvents.Drain), "drains", "blocks"),
        (nameof(ArenaEvents.SlowAllocation), "slow allocations", "blocks"),
    ];

    private static double Total(List<TraceSpan> all) => all.Sum(s => s.Microseconds);

    private static double Mean(List<TraceSpan> all) => all.Count > 0 ? Total(all) / all.Count : double.NaN;

    private static double Max(List<TraceSpan> all) => all.Count > 0 ? all.Max(s => s.Microseconds) : double.NaN;

    private List<TraceSpan> Of(string name) => spans.GetValueOrDefault(name) ?? [];

    private void Take(TraceEvent data)
    {
        double seconds = data.TimeStampRelativeMSec / 1000;
        if (data.EventName == "EventCounters")
        {
            TakeCounter(data, seconds);
            return;
        }

        if (data.ProviderName != TraceSession.Arena || data.PayloadIndex("microseconds") < 0)
        {
            return;
        }

        double took = (double)data.PayloadByName("microseconds");
        if (data.EventName == nameof(ArenaEvents.Stage))
        {
            stages[(Stage)Convert.ToInt32(data.PayloadByName("stage"), CultureInfo.InvariantCulture)].Add(new TraceSpan(seconds, took, 0));
            return;
        }

        calls += data.PayloadIndex("calls") < 0 ? 0 : (int)data.PayloadByName("calls");
        object? amount = data.PayloadByName("bytes") ?? data.PayloadByName("count") ?? data.PayloadByName("waits") ?? 1;
        if (!spans.TryGetValue(data.EventName, out List<TraceSpan>? all))
        {
            spans[data.EventName] = all = [];
        }

        all.Add(new TraceSpan(seconds, took, Convert.ToInt64(amount, CultureInfo.InvariantCulture)));
    }

    private void TakeCounter(TraceEvent data, double seconds)
    {
        if (data.PayloadValue(0) is not IDictionary<string, object> outer || outer["Payload"] is not IDictionary<string, object> fields)
        {
            return;
        }

        var name = (string)fields["Name"];
        object? value = fields.TryGetValue("Mean", out object? mean) ? mean : fields["Increment"];
        string key = data.ProviderName == TraceSession.Arena ? name : data.ProviderName + "/" + name;
        if (!counters.TryGetValue(key, out List<(double, double)>? all))
        {
            counters[key] = all = [];
        }

        all.Add((seconds, Convert.ToDouble(value, CultureInfo.InvariantCulture)));
    }
}
