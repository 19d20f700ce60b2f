using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Fakes;

namespace Schedules;

/// <summary>Two who wait at the cap while what another has comes back piece by piece: both get their turn, whoever looks when.</summary>
internal sealed class CapQueueCase : ScheduleCase
{
    private static readonly ManualClock s_clock = new();
    private Budget _budget = null!;
    private int _taken;

    public override string Name => "cap queue";

    public override int Preemptions => 2;

    public override IReadOnlyList<Mutation> Mutations =>
    [
        LosePulse("CapQueue", "Wake"), Split("Budget", "TryTake"), Split("Budget", "Release"), LoseWrite("CapQueue", "Changed"),
        Own("a waiter that does not look again"),
    ];

    public override void SetUp()
    {
        _budget = new Budget(2, Watermarks.For(2, 0));
        Require(_budget.TryTake(2, default), "the first two");
        _taken = 2;
        Go("holder", () =>
        {
            GiveBack();
            GiveBack();
        });
        Go("waiter", Wait);
        Go("waiter", Wait);
    }

    public override void Check() => Require(_budget.Read().Taken == 0 && !_budget.HasWaiters, "nothing is taken, nobody waits");

    private void Wait()
    {
        if (!_budget.TryTake(1, default))
        {
            CapWaiter waiter = _budget.Enlist(1, default, s_clock, System.TimeSpan.FromSeconds(1));
            if (Mutation.Omits("a waiter that does not look again"))
            {
                Require(waiter.WaitForTurn(), "in time"); // the first in line is woken at once; what that is for is left out
            }

            do
            {
                Require(waiter.WaitForTurn(), "in time");
            }
            while (!_budget.TryTake(1, default));
            _budget.Leave(waiter);
        }

        _taken++;
        Require(_taken <= 2, "more than the cap is taken");
        GiveBack();
    }

    private void GiveBack()
    {
        _taken--;
        _budget.Release(1);
    }
}

/// <summary>The cap falls and rises while two take and give.</summary>
internal sealed class CapMovesCase : ScheduleCase
{
    private Budget _budget = null!;

    public override string Name => "cap moves";

    /// <summary>What is withheld is also read plainly, under the lock, by who wrote it.</summary>
    public override int BufferDepth => 0;

    public override int Preemptions => 2;

    public override IReadOnlyList<Mutation> Mutations =>
        [Split("Budget", "Withhold"), Split("Budget", "Release"), Split("Budget", "TryTake"), LoseWrite("Budget", "Withhold")];

    public override void SetUp()
    {
        _budget = new Budget(4, Watermarks.For(4, 0));
        Go("user", Use);
        Go("user", Use);
        Go("setter", () =>
        {
            _budget.SetLimit(1);
            Look();
            _budget.SetLimit(3);
        });
    }

    public override void Check()
    {
        (ulong taken, ulong cap) = _budget.Read();
        Require(taken == 0 && cap == 3, $"nothing taken of 3, not {taken} of {cap}");
        Require(_budget.TryTake(3, default) && !_budget.TryTake(1, default), "three may be taken and no more");
    }

    private void Use()
    {
        if (_budget.TryTake(2, default))
        {
            Look();
            _budget.Release(2);
        }
    }

    private void Look()
    {
        (ulong taken, ulong cap) = _budget.Read();
        Require(taken <= cap && cap <= 4, $"{taken} taken of {cap}");
    }
}
