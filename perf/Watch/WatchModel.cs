using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>What <c>perf watch</c> knows of a process, from the arenas' meter and events. What it does not know the name of, it leaves
/// alone: a newer library may tell more. Fed by the session's thread and drawn by another: both lock it.</summary>
internal sealed class WatchModel
{
    /// <summary>Instruments begin with it.</summary>
    public const string Prefix = "lowlevel.arena.";

    private readonly SortedDictionary<string, ArenaView> _arenas = new(StringComparer.Ordinal);
    private readonly Dictionary<string, StageTally> _stages = new(StringComparer.Ordinal);

    /// <summary>By number and name, as their tags say.</summary>
    public IReadOnlyDictionary<string, ArenaView> Arenas => _arenas;

    /// <summary>The reactor's stages since <see cref="EndInterval"/>, all arenas together: events do not say whose they are.</summary>
    public IReadOnlyDictionary<string, StageTally> Stages => _stages;

    /// <summary>The stage that ended last; null where none was seen.</summary>
    public string? LastStage { get; private set; }

    /// <summary>Resident bytes of the process, as the kernel says.</summary>
    public long ResidentBytes { get; set; }

    /// <summary>An instrument's value (and rate, where it has one).</summary>
    /// <param name="instrument">Its full name.</param>
    /// <param name="tags">"key=value,key=value".</param>
    /// <param name="value">Now.</param>
    /// <param name="rate">Change since the last report; null for what has none.</param>
    public void Take(string instrument, string tags, double value, double? rate)
    {
        if (!instrument.StartsWith(Prefix, StringComparison.Ordinal) || !double.IsFinite(value))
        {
            return;
        }

        Dictionary<string, string> known = Tags(tags);
        string id = known.GetValueOrDefault("lowlevel.arena.id", "1");
        string key = id.PadLeft(6);
        if (!_arenas.TryGetValue(key, out ArenaView? arena))
        {
            _arenas.Add(key, arena = new ArenaView(id, known.GetValueOrDefault("lowlevel.arena.name", "")));
        }

        arena.Take(instrument[Prefix.Length..], known, value, rate);
    }

    /// <summary>A stage of a reactor has ended.</summary>
    public void TakeStage(string stage, long pages, double microseconds)
    {
        LastStage = stage;
        StageTally old = _stages.GetValueOrDefault(stage);
        _stages[stage] = new StageTally(old.Count + 1, old.Pages + pages, old.Microseconds + microseconds);
    }

    /// <summary>A frame was drawn: stages are counted from here on again.</summary>
    public void EndInterval() => _stages.Clear();

    private static Dictionary<string, string> Tags(string text) => text
        .Split(',', StringSplitOptions.RemoveEmptyEntries)
        .Select(t => t.Split('=', 2))
        .Where(t => t.Length == 2)
        .GroupBy(t => t[0], StringComparer.Ordinal)
        .ToDictionary(g => g.Key, g => g.Last()[1], StringComparer.Ordinal);
}

/// <summary>A stage in an interval.</summary>
internal readonly record struct StageTally(int Count, long Pages, double Microseconds);

/// <summary>What is known of one arena.</summary>
internal sealed class ArenaView(string id, string name)
{
    private const int Orders = 11;

    private readonly Dictionary<string, double> _values = new(StringComparer.Ordinal);
    private readonly Dictionary<string, double> _rates = new(StringComparer.Ordinal);
    private readonly Dictionary<(int Order, string State, string Type), long> _free = [];

    public string Id => id;

    public string Name => name;

    /// <summary>What was told, by the last parts of the names; free blocks are apart.</summary>
    public IEnumerable<string> Instruments => _values.Keys.Order(StringComparer.Ordinal);

    /// <summary>An instrument by the last part of its name; null where it was not told.</summary>
    public double? Value(string instrument) => _values.TryGetValue(instrument, out double value) ? value : null;

    /// <summary>Its change from one report to the next.</summary>
    public double? Rate(string instrument) => _rates.TryGetValue(instrument, out double rate) ? rate : null;

    /// <summary>Free blocks by order, 0 to 10, all types.</summary>
    /// <param name="state">"raw" or "treated".</param>
    public long[] Free(string state) =>
        [.. Enumerable.Range(0, Orders).Select(o => _free.Where(f => f.Key.Order == o && f.Key.State == state).Sum(f => f.Value))];

    public void Take(string instrument, Dictionary<string, string> tags, double value, double? rate)
    {
        if (tags.TryGetValue("lowlevel.order", out string? order))
        {
            if (int.TryParse(order, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number < Orders)
            {
                _free[(number, tags.GetValueOrDefault("lowlevel.state", ""), tags.GetValueOrDefault("lowlevel.migrate_type", ""))] = (long)value;
            }

            return;
        }

        if (tags.TryGetValue("lowlevel.fault", out string? fault))
        {
            instrument += ":" + fault;
        }

        _values[instrument] = value;
        if (rate is double known)
        {
            _rates[instrument] = known;
        }
    }
}
