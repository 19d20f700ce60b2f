using System;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>One contestant of <c>perf return</c>, in its own process; it acts on the parent's words. Its words: warm; allocated
/// live seconds; freed live seconds; idled cpu metadata (-1 where there is no arena); second live seconds; checked.</summary>
internal sealed class ReturnChildCommand : ICommand
{
    private const int Rehearsals = 4;

    // Longer than the runtime waits, after the last new code, before it compiles hot code again (100 ms).
    private static readonly TimeSpan CompilerPatience = TimeSpan.FromMilliseconds(180);

    public string Name => "return-child";

    public string Summary => "one contestant of return";

    public int Run(Arguments arguments)
    {
        using var side = new ChildSide();
        ReturnContestant contestant = ReturnContestant.Find(arguments.Text("contestant", ReturnContestant.Ours)!, "contestant");
        ReturnShape shape = ReturnShape.Read(arguments);
        arguments.End();
        contestant.ProveLibrary();
        Rehearse(contestant, shape);
        var load = new ReturnLoad(shape);
        GC.Collect();
        ChildSide.Say("warm");

        ChildSide.Await("allocate");
        using BufferSource source = contestant.Create();
        double seconds = load.TakeFirst(source);
        ChildSide.Say("allocated", load.LiveBytes, seconds);

        ChildSide.Await("free");
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        seconds = load.GiveMost(source);
        ChildSide.Say("freed", load.LiveBytes, seconds);

        ChildSide.Await("idled");
        processor = Environment.CpuUsage.TotalTime - processor;
        ChildSide.Say("idled", processor.TotalSeconds, source.Statistics?.MetadataBytes ?? -1);

        ChildSide.Await("second");
        seconds = load.TakeSecond(source);
        ChildSide.Say("second", load.LiveBytes, seconds);

        ChildSide.Await("finish");
        load.Check();
        source.Verify();
        ChildSide.Say("checked");
        return Program.Success;
    }

    // Compiles what will be measured, twice where the runtime wants to, on memory that is gone before the baseline.
    private static void Rehearse(ReturnContestant contestant, ReturnShape shape)
    {
        var load = new ReturnLoad(shape with { Bytes = Math.Min(shape.Bytes, 48 << 20) });
        for (int i = 0; i < Rehearsals; i++)
        {
            using BufferSource source = contestant.CreateRehearsal();
            load.TakeFirst(source);
            load.GiveMost(source);
            Thread.Sleep(CompilerPatience); // tiered compilation works in the background and tells nobody when it is done
            load.TakeSecond(source);
            load.Check();
            load.GiveAll(source);
        }

        // The way into the contestant itself; one small buffer at a time leaves next to nothing behind.
        using BufferSource own = contestant.Create();
        for (int i = 0; i < Rehearsals; i++)
        {
            own.Give(own.Take(ReturnShape.SmallestBytes));
        }
    }
}
