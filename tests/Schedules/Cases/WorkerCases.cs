using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Interop.Virtio;
using LowLevel.Tests.Fakes;

namespace Schedules;

/// <summary>Two put work down under a lock and signal; the worker does it all, sleeps in between, and ends when it is told to.</summary>
internal sealed class WorkerCase : ScheduleCase
{
    private const int Givers = 2;
    private static readonly ManualClock s_clock = new();
    private readonly int[] _lock = GC.AllocateArray<int>(1, pinned: true);
    private Worker _worker = null!;
    private int _work;
    private int _done;

    public override string Name => "worker";

    public override int Preemptions => 2;

    public override IReadOnlyList<Mutation> Mutations => [LosePulse("Worker", "Wake"), LoseWrite("Worker", "Run"), Own("signalled before the work is there")];

    public override void SetUp()
    {
        _lock[0] = 0;
        _work = 0;
        _done = 0;
        Signal finished = new();
        _worker = new Worker(s_clock, static () => TimeSpan.FromDays(1), () =>
        {
            LowLevel.Allocator.ZoneLock.Enter(ref _lock[0]);
            _done += _work;
            _work = 0;
            LowLevel.Allocator.ZoneLock.Exit(ref _lock[0]);
            if (_done == Givers)
            {
                finished.Set();
            }
        });
        for (int i = 0; i < Givers; i++)
        {
            Go("giver", Give);
        }

        Go("owner", () =>
        {
            _worker.Start();
            finished.Wait(new Deadline(TimeProvider.System, System.Threading.Timeout.InfiniteTimeSpan));
            Require(_worker.Stop(TimeSpan.FromDays(1)), "a worker that is stopped ends");
        });
    }

    public override void Check() => Require(_done == Givers, $"{_done} of {Givers} done");

    private void Give()
    {
        bool early = Mutation.Omits("signalled before the work is there");
        if (early)
        {
            _worker.Signal();
        }

        ZoneLock.Enter(ref _lock[0]);
        _work++;
        ZoneLock.Exit(ref _lock[0]);
        if (!early)
        {
            _worker.Signal();
        }
    }
}
