using System;
using System.Collections.Generic;

namespace Schedules;

/// <summary>What the seam's monitor keeps for one object: who holds it, how often, and who waits in it.</summary>
internal sealed class Guard
{
    private readonly List<Strand> _waiting = [];
    private Strand? _holder;
    private int _depth;

    public bool IsFree => _holder is null;

    public bool IsHeldBy(Strand strand) => _holder == strand;

    public void Enter(Strand strand) => TryEnter(strand, TimeSpan.MaxValue, isLong: true);

    public bool TryEnter(Strand strand, TimeSpan timeout, bool isLong)
    {
        if (_holder == strand)
        {
            _depth++;
            return true;
        }

        while (_holder is not null)
        {
            if (timeout == TimeSpan.Zero || !strand.Scheduler.Block(strand, StrandState.AtGuard, this, timed: !isLong))
            {
                return false;
            }
        }

        _holder = strand;
        _depth = 1;
        return true;
    }

    public void Exit(Strand strand)
    {
        Seam.Require(_holder == strand, "a lock is given back by another than its holder");
        if (--_depth == 0)
        {
            _holder = null;
        }
    }

    public bool Wait(Strand strand, bool timed)
    {
        Seam.Require(_holder == strand, "a wait without the lock");
        int depth = _depth;
        _holder = null;
        strand.IsPulsed = false;
        strand.Wrote();
        _waiting.Add(strand);
        bool pulsed = strand.Scheduler.Block(strand, StrandState.Waiting, this, timed);
        _waiting.Remove(strand);
        _holder = strand;
        _depth = depth;
        return pulsed;
    }

    public void Pulse(int most)
    {
        for (int i = 0; i < _waiting.Count && most > 0; i++)
        {
            if (!_waiting[i].IsPulsed)
            {
                _waiting[i].IsPulsed = true;
                most--;
            }
        }
    }
}
