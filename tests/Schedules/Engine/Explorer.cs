using System;
using System.Collections.Generic;
using System.Runtime;

namespace Schedules;

/// <summary>What a search has found.</summary>
internal sealed record Outcome(long Schedules, bool All, string? Finding, string? Choices, ulong Seed);

/// <summary>Runs one case under many schedules.</summary>
internal sealed class Explorer
{
    private const long RegionBytes = 200L << 20;

    private readonly Scheduler _scheduler = new();
    private readonly ScheduleCase _case;
    private static long s_regionEnd;

    public Explorer(ScheduleCase one) => _case = one;

    /// <summary>All schedules within the bound, or so many of them.</summary>
    public Outcome All(bool weak, int preemptions, long most)
    {
        Run(new Replay(string.Empty), weak, pointsAfter: false); // what happens once in a program is behind us
        AllSchedules strategy = new(preemptions);
        for (long count = 1; ; count++)
        {
            if (Run(strategy, weak, pointsAfter: false) is string finding)
            {
                return new Outcome(count, false, finding, string.Join('.', strategy.Made), 0);
            }

            if (!strategy.TryNext())
            {
                return new Outcome(count, true, null, null, 0);
            }

            if (count == most)
            {
                return new Outcome(count, false, null, null, 0);
            }
        }
    }

    /// <summary>So many random schedules, every other one with store buffers and with points behind the operations too.</summary>
    public Outcome Random(ulong seed, long count, Func<bool>? isOver = null)
    {
        RandomSchedules strategy = new() { Seed = seed };
        for (long i = 1; i <= count; i++, strategy.Seed++)
        {
            if (Run(strategy, Weak(strategy.Seed), (strategy.Seed & 2) != 0) is string finding)
            {
                return new Outcome(i, false, finding, string.Join('.', strategy.Made), strategy.Seed);
            }

            if (isOver is not null && (i & 255) == 0 && isOver())
            {
                return new Outcome(i, false, null, null, 0);
            }
        }

        return new Outcome(count, false, null, null, 0);
    }

    /// <summary>One schedule again, with what happened.</summary>
    public (string? Finding, List<string> Trace) Again(ulong seed)
    {
        _scheduler.Trace = [];
        string? finding = Run(new RandomSchedules { Seed = seed }, Weak(seed), (seed & 2) != 0);
        return (finding, _scheduler.Trace);
    }

    /// <summary>As above, by its choices.</summary>
    public (string? Finding, List<string> Trace) Again(string choices, bool weak)
    {
        _scheduler.Trace = [];
        string? finding = Run(new Replay(choices), weak, pointsAfter: false);
        return (finding, _scheduler.Trace);
    }

    private static bool Weak(ulong seed) => (seed & 1) != 0;

    private string? Run(Strategy strategy, bool weak, bool pointsAfter)
    {
        KeepMemoryInPlace();
        _scheduler.Reset();
        _scheduler.BufferDepth = weak ? _case.BufferDepth : 0;
        _scheduler.PointsAfter = pointsAfter;
        Scheduler.Building = _scheduler;
        strategy.Begin();
        _case.SetUp();
        _scheduler.Run(strategy);
        if (_scheduler.Finding is null)
        {
            try
            {
                _case.Check();
            }
            catch (Exception e)
            {
                _scheduler.Find("at the end: " + (e is FindingException ? e.Message : e.ToString()));
            }
        }

        try
        {
            _case.TearDown();
        }
        catch (Exception e)
        {
            _scheduler.Find("in taking down: " + e); // what was broken before may break this
        }

        return _scheduler.Finding;
    }

    /// <summary>Store buffers hold addresses of managed words: nothing may move while a schedule runs, so collections come in between.</summary>
    private static void KeepMemoryInPlace()
    {
        long allocated = GC.GetTotalAllocatedBytes();
        if (allocated < s_regionEnd && GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
        {
            return;
        }

        if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
        {
            GC.EndNoGCRegion();
        }

        GC.TryStartNoGCRegion(RegionBytes);
        s_regionEnd = GC.GetTotalAllocatedBytes() + (RegionBytes / 2);
    }
}
