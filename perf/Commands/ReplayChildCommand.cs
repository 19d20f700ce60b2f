using System;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>One run of the replay, in its own process. Words to the parent: warm; start; live bytes; end busy mean-late most-late cpu.</summary>
internal sealed class ReplayChildCommand : ICommand
{
    public string Name => "replay-child";

    public string Summary => "one run of the replay";

    public int Run(Arguments arguments)
    {
        using var side = new ChildSide();
        ReplayPlan plan = ReplayPlan.Read(arguments);
        ReplayCell cell = ReplayCell.Read(arguments);
        GuestRole role = GuestRole.Read(arguments);
        arguments.End();

        // The code is compiled on a short piece of the curve in an arena that is gone before the baseline is taken.
        using (PageArena rehearsal = PageArena.Create(cell.Options(plan.Speed)))
        {
            var load = new DemandLoad(rehearsal, plan.Rehearsal, plan.Scale, plan.Threads, plan.Seed);
            load.Run(() => { });
            load.GiveBackAll();
        }

        GC.Collect();
        HostWarmth.Warm(plan.Curve.PeakBytes);
        ChildSide.Say("warm");
        ChildSide.Await("go");
        using PageArena arena = PageArena.Create(role.Apply(cell.Options(plan.Speed)));
        var replay = new DemandLoad(arena, role.Apply(plan.Curve), plan.Scale, plan.Threads, plan.Seed);
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        ChildSide.Say("start");
        DemandOutcome outcome = replay.Run(() => ChildSide.Say("live", replay.LiveBytes));
        processor = Environment.CpuUsage.TotalTime - processor;
        ChildSide.Say("end", outcome.BusySeconds, outcome.MeanLate, outcome.MostLate, processor.TotalSeconds);
        ChildSide.Await("finish");
        arena.Verify();
        replay.GiveBackAll();
        arena.Verify();
        return Program.Success;
    }
}
