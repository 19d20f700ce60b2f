using System;
using System.IO;

namespace LowLevel.Perf;

/// <summary>A load in a child process, looked at from outside: attaches to its diagnostics port, records the arena's events and sampled
/// stacks into a file that dotnet-trace reads as well, then prints where the reactor's time went.</summary>
internal sealed class TraceCommand : ICommand
{
    public string Name => "trace";

    public string Summary => "time per stage of the reactor, from outside; --seconds 5, --output artifacts/trace.nettrace";

    public int Run(Arguments arguments)
    {
        _ = arguments.Number("seconds", 5, 0.1, 600);
        string path = arguments.OutputFile("output") ?? Path.Combine("artifacts", "trace.nettrace");
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        using ChildProcess child = ChildProcess.Start("trace", "trace-child", "--seconds", arguments.Text("seconds", "5")!);
        var process = (int)child.WaitFor("ready").Whole(1);
        Message done = default;
        TraceSession.Record(process, path, () =>
        {
            child.Send("go");
            done = child.WaitFor("done");
        });
        child.Send("finish");

        TraceStages stages = TraceStages.Read(path);
        Console.Out.WriteLine($"the load: {done.Whole(1)} blocks, {done.Whole(2) >> 20} MiB, every page touched");
        stages.Write(Console.Out);
        stages.AddRows(report);
        report.Save();
        Console.Out.WriteLine($"wrote {path}: dotnet-trace report {path} topN");
        return stages.Events > 0 ? Program.Success : throw new MeasurementException("the child told no event of the arena");
    }
}
