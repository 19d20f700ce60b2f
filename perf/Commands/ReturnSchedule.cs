using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>Runs contestants so that their idle times overlap and nothing else does: one is busy at a time, none begins while
/// another's second allocation would have to wait for it, and together they stay under a bound of memory.</summary>
internal sealed class ReturnSchedule(ReturnShape shape, ReturnPace pace, long roomBytes) : IDisposable
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(20);

    private readonly List<ReturnRun> _runs = [];
    private double _firstPhases = pace.FirstPhases;
    private double _lastProgress;

    public IReadOnlyList<ReturnRun> Runs => _runs;

    /// <summary>One round of all of them.</summary>
    public void Run(IEnumerable<ReturnContestant> contestants)
    {
        var waiting = new Queue<ReturnContestant>(contestants);
        while (waiting.Count > 0 || _runs.Exists(r => r.Phase != ReturnPhase.Finished))
        {
            double start = ChildProcess.Now;
            _runs.ForEach(r => r.Advance());
            if (!_runs.Exists(r => r.IsBusy))
            {
                GiveWord(waiting);
            }

            Progress(start, waiting.Count);
            Sampling.RestOf(start, Tick);
        }
    }

    public void Dispose() => _runs.ForEach(r => r.Dispose());

    // Who waits for its second allocation comes first; then who is through; then somebody new.
    private void GiveWord(Queue<ReturnContestant> waiting)
    {
        if (_runs.Find(r => r.Phase == ReturnPhase.Due) is ReturnRun due)
        {
            due.BeginSecond();
        }
        else if (_runs.Find(r => r.Phase == ReturnPhase.Rested) is ReturnRun rested)
        {
            rested.BeginEnd();
        }
        else if (waiting.Count > 0 && MayBegin())
        {
            _runs.Add(new ReturnRun(waiting.Dequeue(), shape, pace));
        }
    }

    private bool MayBegin()
    {
        foreach (ReturnRun run in _runs.Where(r => r.FreedAt > 0))
        {
            _firstPhases = Math.Max(_firstPhases, run.FirstPhasesSeconds);
        }

        bool isAlone = _runs.TrueForAll(r => r.Phase == ReturnPhase.Finished);
        bool hasRoom = _runs.Sum(r => r.ClaimedBytes) + (shape.Bytes * 5 / 4) <= roomBytes;
        return isAlone || (hasRoom && !_runs.Exists(r => r.SecondDue - ChildProcess.Now < _firstPhases));
    }

    private void Progress(double now, int waiting)
    {
        if (now - _lastProgress >= 5)
        {
            _lastProgress = now;
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{now,5:0} s  ")
                + string.Join(" | ", _runs.Where(r => r.Phase != ReturnPhase.Finished).Select(r => r.Describe()))
                + (waiting > 0 ? $" | {waiting} to come" : ""));
        }
    }
}
