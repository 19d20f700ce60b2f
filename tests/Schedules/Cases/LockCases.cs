using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Interop.Virtio;

namespace Schedules;

/// <summary>Three strands at one spin lock.</summary>
internal sealed class ZoneLockCase : ScheduleCase
{
    private readonly int[] _word = GC.AllocateArray<int>(1, pinned: true);
    private int _inside;
    private int _sum;

    public override string Name => "zone lock";

    public override IReadOnlyList<Mutation> Mutations => [Split("ZoneLock", "Enter"), Split("ZoneLock", "Spin"), LoseWrite("ZoneLock", "Exit")];

    public override void SetUp()
    {
        _word[0] = 0;
        _inside = 0;
        _sum = 0;
        for (int i = 0; i < 3; i++)
        {
            Go("holder", Hold);
        }
    }

    public override void Check() => Require(_sum == 6 && !ZoneLock.LooksHeld(ref _word[0]), $"six holds, counted {_sum}");

    private void Hold()
    {
        for (int i = 0; i < 2; i++)
        {
            ZoneLock.Enter(ref _word[0]);
            Require(_inside++ == 0, "two hold the lock");
            int sum = _sum;
            Seam.Point("inside");
            _sum = sum + 1;
            _inside--;
            ZoneLock.Exit(ref _word[0]);
        }
    }
}

/// <summary>Work that is put down and announced by a signal is found by one of two who wait.</summary>
internal sealed class SignalCase : ScheduleCase
{
    private Signal _signal = null!;
    private int _work;
    private int _found;

    public override string Name => "signal";

    public override IReadOnlyList<Mutation> Mutations => [LosePulse("Signal", "Set"), Own("work announced before it is put down")];

    public override void SetUp()
    {
        _signal = new Signal();
        _work = 0;
        _found = 0;
        Deadline never = new(TimeProvider.System, System.Threading.Timeout.InfiniteTimeSpan);
        Go("giver", Give);
        Go("giver", Give);
        Go("taker", () =>
        {
            while (_found < 2 && _signal.Wait(never))
            {
                _found += LowLevel.Interlocked.Exchange(ref _work, 0);
            }
        });
    }

    private void Give()
    {
        if (Mutation.Omits("work announced before it is put down"))
        {
            _signal.Set();
            LowLevel.Interlocked.Increment(ref _work);
            return;
        }

        LowLevel.Interlocked.Increment(ref _work);
        _signal.Set();
    }
}
