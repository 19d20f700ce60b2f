using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The view as text: a frame of lines for a terminal, or one line an arena where there is none. Pure: the same model gives the
/// same text.</summary>
internal static class WatchFrame
{
    private const int BarWidth = 40;

    // The plant, from the user's hands down to the host.
    private static readonly (string Instrument, string Label)[] Plant =
    [
        ("allocated", "allocated"),
        ("cached", "thread caches"),
        ("raw", "free, raw"),
        ("in_reactor", "in the reactor"),
        ("treated", "free, treated"),
        ("isolated", "isolated"),
        ("inflated", "inflated"),
        ("quarantined", "quarantined"),
    ];

    // Of these a line is left out where it says nothing.
    private static readonly string[] Rare = ["isolated", "inflated", "quarantined"];

    private static readonly (string Instrument, string Label)[] Counters =
        [("cycles", "cycles"), ("pages_treated", "pages treated"), ("reports", "reports"), ("lost_batches", "lost batches")];

    /// <summary>The lines of a frame.</summary>
    /// <param name="model">What is known.</param>
    /// <param name="process">The process.</param>
    /// <param name="elapsed">Time of watching.</param>
    /// <param name="interval">Time between reports: rates are told per second.</param>
    public static List<string> Lines(WatchModel model, int process, TimeSpan elapsed, TimeSpan interval)
    {
        string seconds = elapsed.TotalSeconds.ToString("0", CultureInfo.InvariantCulture);
        List<string> lines = [$"process {process}   RSS {Bytes(model.ResidentBytes)}   watched for {seconds} s"];
        if (model.Arenas.Count == 0)
        {
            lines.Add("no arena has reported yet (meter LowLevel.Allocator)");
        }

        foreach (ArenaView arena in model.Arenas.Values)
        {
            lines.Add("");
            AddArena(lines, arena, interval);
        }

        lines.Add("");
        lines.Add(Stages(model, interval));
        return lines;
    }

    /// <summary>One line an arena, for files and pipes.</summary>
    public static List<string> Plain(WatchModel model, TimeSpan elapsed, TimeSpan interval)
    {
        string head = string.Create(CultureInfo.InvariantCulture, $"{elapsed.TotalSeconds,5:0} s  rss {Bytes(model.ResidentBytes)}");
        if (model.Arenas.Count == 0)
        {
            return [head + "  no arena has reported yet"];
        }

        return
        [
            .. model.Arenas.Values.Select(arena => $"{head}  arena {arena.Id}"
                + string.Concat(Plant.Where(p => IsShown(arena, p.Instrument)).Select(p => $"  {p.Instrument} {Bytes(arena.Value(p.Instrument)!.Value)}"))
                + string.Concat(Counters.Where(c => arena.Value(c.Instrument) is not null).Select(c => $"  {c.Instrument} {Counter(arena, c.Instrument, interval)}"))
                + $"  stage {model.LastStage ?? "-"}"),
        ];
    }

    private static void AddArena(List<string> lines, ArenaView arena, TimeSpan interval)
    {
        lines.Add($"arena {arena.Id} {arena.Name}".TrimEnd()
            + Told(arena, "reserved") + Told(arena, "cap") + Told(arena, "unreached", "never used")
            + Told(arena, "resident", "resident at most") + Told(arena, "metadata"));
        double most = Plant.Max(p => arena.Value(p.Instrument) ?? 0);
        foreach ((string instrument, string label) in Plant.Where(p => IsShown(arena, p.Instrument)))
        {
            double value = arena.Value(instrument)!.Value;
            string bar = new('#', most > 0 ? (int)Math.Ceiling(BarWidth * value / most) : 0);
            lines.Add($"  {label,-15}{Bytes(value),14}  {bar}".TrimEnd());
        }

        lines.Add("  free blocks by order" + string.Concat(Enumerable.Range(0, 11).Select(o => o.ToString(CultureInfo.InvariantCulture).PadLeft(o == 0 ? 8 : 7))));
        foreach (string state in new[] { "raw", "treated" })
        {
            lines.Add($"    {state,-18}" + string.Concat(arena.Free(state).Select((n, o) => n.ToString(CultureInfo.InvariantCulture).PadLeft(o == 0 ? 8 : 7))));
        }

        IEnumerable<string> counters = Counters.Where(c => arena.Value(c.Instrument) is not null).Select(c => $"{c.Label} {Counter(arena, c.Instrument, interval)}");
        lines.Add("  " + string.Join("   ", counters));
    }

    private static bool IsShown(ArenaView arena, string instrument) =>
        arena.Value(instrument) is double value && (value > 0 || !Rare.Contains(instrument));

    private static string Told(ArenaView arena, string instrument, string? label = null) =>
        arena.Value(instrument) is double value ? $"   {label ?? instrument} {Bytes(value)}" : "";

    private static string Counter(ArenaView arena, string instrument, TimeSpan interval) => string.Create(
        CultureInfo.InvariantCulture,
        $"{arena.Value(instrument):0} ({(arena.Rate(instrument) ?? 0) / interval.TotalSeconds:0.#}/s)");

    private static string Stages(WatchModel model, TimeSpan interval)
    {
        if (model.LastStage is null)
        {
            return "reactor: no stage seen yet";
        }

        return $"reactor: {model.LastStage} ended last" + string.Concat(model.Stages.OrderBy(s => s.Key, StringComparer.Ordinal).Select(s => string.Create(
            CultureInfo.InvariantCulture,
            $"   {s.Key} {s.Value.Count / interval.TotalSeconds:0.#}/s, {s.Value.Microseconds / 1000:0.0} ms")));
    }

    private static string Bytes(double bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576:#,##0.0} MiB");
}
