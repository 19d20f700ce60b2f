using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;

namespace Schedules;

/// <summary>Runs the strands of one schedule, one at a time; who goes on at each point is the strategy's choice. A strand that waits for a
/// lock, a pulse, an end, or spins, is no choice until what it waits for is there. Where nobody can go on, time passes for those who wait
/// with a bound, and where there are none, that is a deadlock, unless only background strands are left.</summary>
internal sealed class Scheduler
{
    private const int StepsMax = 20_000;

    private readonly List<Strand> _strands = [];
    private readonly List<int> _options = [];
    private readonly ConditionalWeakTable<object, Guard> _guards = [];
    private readonly Gate _outside = new();
    private Strategy _strategy = null!;

    /// <summary>The scheduler of the case that is being set up or runs.</summary>
    public static Scheduler? Building { get; set; }

    public int BufferDepth { get; set; }

    public bool PointsAfter { get; set; }

    public bool IsEnding { get; private set; }

    public long Writes { get; set; }

    public int Steps { get; private set; }

    public string? Finding { get; private set; }

    public List<string>? Trace { get; set; }

    public Strand Add(string name, Action body, LowLevel.Thread? thread = null)
    {
        Strand strand = new(this, _strands.Count, name, body, thread);
        _strands.Add(strand);
        return strand;
    }

    public void Start(Strand strand)
    {
        strand.Carrier = Carrier.Take(strand);
        strand.State = StrandState.Ready;
        Seam.Point("start");
    }

    /// <summary>Runs the strands that were added to their ends.</summary>
    public void Run(Strategy strategy)
    {
        _strategy = strategy;
        Next(null)?.Carrier!.Gate.Open();
        _outside.Pass();
        IsEnding = true;
        foreach (Strand strand in _strands)
        {
            if (strand.IsAlive)
            {
                strand.Carrier!.Gate.Open();
                _outside.Pass();
            }
        }
    }

    public void Reset()
    {
        _strands.Clear();
        _guards.Clear();
        Writes = 0;
        Steps = 0;
        Finding = null;
        IsEnding = false;
    }

    public Guard GuardOf(object guard) => _guards.GetOrCreateValue(guard);

    /// <summary>The first finding ends the schedule.</summary>
    public void Find(string finding) => Finding ??= finding;

    /// <summary>A point: the strand goes on when it is chosen.</summary>
    public void Pass(Strand strand)
    {
        if (++Steps > StepsMax)
        {
            Find($"no end after {StepsMax} steps");
        }

        Strand? next = Next(strand);
        if (next != strand)
        {
            Switch(strand, next);
        }
    }

    /// <summary>Waits. False: the time that it waits at most has passed.</summary>
    public bool Block(Strand strand, StrandState state, Guard? at, bool timed, Strand? joins = null)
    {
        strand.State = state;
        strand.At = at;
        strand.Joins = joins;
        strand.IsTimed = timed;
        strand.TimedOut = false;
        Pass(strand);
        strand.State = StrandState.Ready;
        return !strand.TimedOut;
    }

    public void Spin(Strand strand)
    {
        if (!strand.HasNews())
        {
            Block(strand, StrandState.Spinning, null, timed: false);
            strand.HasNews();
        }
    }

    public bool Join(Strand strand, Strand other, bool timed) =>
        other.State == StrandState.Ended || Block(strand, StrandState.Joining, null, timed, other) || other.State == StrandState.Ended;

    public void FlushEverybody()
    {
        foreach (Strand strand in _strands)
        {
            strand.FlushAll();
        }
    }

    /// <summary>A strand's body has ended, on its own thread.</summary>
    public void End(Strand strand)
    {
        strand.FlushAll();
        strand.State = StrandState.Ended;
        Writes++;
        if (IsEnding)
        {
            _outside.Open();
            return;
        }

        Strand? next = Next(null);
        (next?.Carrier!.Gate ?? _outside).Open();
    }

    private void Switch(Strand from, Strand? to)
    {
        (to?.Carrier!.Gate ?? _outside).Open();
        from.Carrier!.Gate.Pass();
        if (IsEnding)
        {
            throw new StrandEndedException();
        }
    }

    /// <summary>Who goes on; null: the schedule is over.</summary>
    private Strand? Next(Strand? current)
    {
        while (Finding is null)
        {
            bool mayStay = Collect(current);
            if (_options.Count == 0)
            {
                return LetTimePass() is Strand late ? late : null;
            }

            int option = _options.Count == 1 ? _options[0] : _options[_strategy.Choose(_options, mayStay)];
            if (option >= 0)
            {
                return _strands[option];
            }

            Trace?.Add($"{_strands[~option].Name,-10} a buffered write becomes visible");
            _strands[~option].FlushOldest();
        }

        return null;
    }

    /// <summary>The choices: a strand's number, or its complement for the oldest write that it has buffered. The current strand is the first where
    /// it can go on.</summary>
    private bool Collect(Strand? current)
    {
        _options.Clear();
        int from = current?.Id ?? 0;
        for (int i = 0; i < _strands.Count; i++)
        {
            int at = (from + i) % _strands.Count;
            if (_strands[at].CanRun)
            {
                _options.Add(at);
            }
        }

        foreach (Strand strand in _strands)
        {
            if (strand.HasBuffered)
            {
                _options.Add(~strand.Id);
            }
        }

        return current is { CanRun: true };
    }

    private Strand? LetTimePass()
    {
        if (_strands.TrueForAll(static s => s.IsBackground || !s.IsAlive))
        {
            return null;
        }

        _options.Clear();
        foreach (Strand strand in _strands)
        {
            if (strand.IsTimed && strand.State is StrandState.AtGuard or StrandState.Waiting or StrandState.Joining && (strand.At?.IsFree ?? true))
            {
                _options.Add(strand.Id);
            }
        }

        if (_options.Count == 0)
        {
            Find("nobody can go on: " + string.Join(", ", _strands.Where(static s => s.IsAlive).Select(static s => $"{s.Name} {s.State}")));
            return null;
        }

        Strand late = _strands[_options[_options.Count == 1 ? 0 : _strategy.Choose(_options, mayStay: false)]];
        late.TimedOut = true;
        return late;
    }
}
