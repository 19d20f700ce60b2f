using System;
using System.Collections.Generic;
using System.IO;

namespace LowLevel.Perf;

/// <summary>A load in a child process, looked at from outside over its diagnostics port: records the arena's events, sampled stacks and
/// counters into a file that dotnet-trace reads as well, then prints and draws what happened. The load is one of ours, or any .NET program
/// (<c>-- command</c>), which is held at its start until the recording has begun.</summary>
internal sealed class TraceCommand : ICommand
{
    private const double LoadSeconds = 5;

    public string Name => "trace";

    public string Summary => "what the arena does in a process, from outside; --seconds 5, --output artifacts/trace.nettrace, -- command of your own";

    public int Run(Arguments arguments)
    {
        double seconds = arguments.Number("seconds", LoadSeconds, 0.1, 600);
        bool isBound = arguments.Text("seconds") is not null;
        string path = arguments.OutputFile("output") ?? Path.Combine("artifacts", "trace.nettrace");
        string picture = Path.ChangeExtension(path, ".png");
        var report = new JsonReport(Name, arguments.JsonPath);
        IReadOnlyList<string>? command = arguments.Command();
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        string load = command is null ? OwnLoad(arguments, path) : TraceTarget.Record(command, isBound ? TimeSpan.FromSeconds(seconds) : null, path);
        TraceStages stages = TraceStages.Read(path);
        TraceActivity activity = TraceActivity.Read(path);
        TraceStacks stacks = TraceStacks.Read(path);
        Console.Out.WriteLine(load);
        stages.Write(Console.Out);
        activity.Write(Console.Out);
        stacks.Write(Console.Out);
        stages.AddRows(report);
        activity.AddRows(report);
        report.Save();
        TracePicture.Save(picture, activity);
        Console.Out.WriteLine($"wrote {picture}");
        Console.Out.WriteLine($"wrote {path}: dotnet-trace report {path} topN");
        return stages.Events > 0 ? Program.Success : throw new MeasurementException("the process told no event of an arena");
    }

    private static string OwnLoad(Arguments arguments, string path)
    {
        using ChildProcess child = ChildProcess.Start("trace", "trace-child", "--seconds", arguments.Text("seconds", "5")!);
        var process = (int)child.WaitFor("ready").Whole(1);
        Message done = default;
        TraceSession.Record(process, path, () =>
        {
            child.Send("go");
            done = child.WaitFor("done");
        });
        child.Send("finish");
        return $"the load: {done.Whole(1)} blocks, {done.Whole(2) >> 20} MiB, every page touched";
    }
}
