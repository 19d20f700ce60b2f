using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The time of an allocate+free pair, ours beside everything that a .NET program could use instead, each called the way C# would
/// call it and in a process of its own, with the runtime's default settings. All processes live through the whole run and take turns cell by
/// cell: in each round each of them runs each row once (<see cref="PeerLoad.Measure"/>), so that what the machine does in between falls on all.</summary>
internal sealed class PeersCommand : ICommand
{
    public string Name => "peers";

    public string Summary =>
        "allocate+free beside malloc (4 of them), pools, the GC, mmap; --rounds 5, --patterns, --sizes (bytes), --threads, --touched both, --contestants";

    public int Run(Arguments arguments)
    {
        PeersPlan plan = PeersPlan.Read(arguments);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"peers: {plan.Cells.Count} rows, {plan.Rounds} interleaved rounds; prodcons always has 2 threads");
        var watch = Stopwatch.StartNew();
        using var run = new PeersRun();
        foreach (string name in plan.Contestants)
        {
            run.Start(name, Console.Out);
        }

        for (int round = 0; round < plan.Rounds; round++)
        {
            run.Round(plan, round);
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{watch.Elapsed.TotalSeconds,5:0} s  round {round + 1} of {plan.Rounds} is done"));
        }

        List<PeersRow> rows = [.. plan.Cells.Select(run.Row)];
        PeersTable.Write(Console.Out, rows, plan.Contestants, run.Absent);
        foreach ((string Name, object? Value)[] row in rows.SelectMany(PeersTable.JsonRows))
        {
            report.Row(row);
        }

        report.Save();
        return Program.Success;
    }
}
