using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The heap of any size beside the mallocs that a C# program can have: the time of an allocate+free pair, by the harness of
/// <see cref="PeersCommand"/>, and what is resident of a random mix (<see cref="HeapWasteRun"/>).</summary>
internal sealed class HeapCommand : ICommand
{
    public string Name => "heap";

    public string Summary =>
        "allocate+free of 16 B to 8 KiB, and waste, beside malloc (4 of them); --rounds 5, --patterns, --sizes (bytes), --threads, --touched no, "
        + "--contestants, --waste yes|no|only, --mebibytes 256";

    public int Run(Arguments arguments)
    {
        PeersPlan plan = PeersPlan.ReadHeap(arguments);
        string waste = arguments.Choice("waste", "yes", "no", "only");
        int mebibytes = arguments.Integer("mebibytes", 256, 1, 4096);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();
        Console.Out.WriteLine(Machine.Line());
        if (waste != "only")
        {
            Time(plan, report);
        }

        if (waste != "no")
        {
            Waste(plan, mebibytes, report);
        }

        report.Save();
        return Program.Success;
    }

    private static void Time(PeersPlan plan, JsonReport report)
    {
        Console.Out.WriteLine($"heap: {plan.Cells.Count} rows, {plan.Rounds} interleaved rounds; prodcons always has 2 threads");
        var watch = Stopwatch.StartNew();
        using var run = new PeersRun(ofHeap: true);
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
    }

    private static void Waste(PeersPlan plan, int mebibytes, JsonReport report)
    {
        List<HeapWasteRow> rows = [];
        foreach (string name in plan.Contestants)
        {
            rows.AddRange(HeapWasteRun.Measure(name, mebibytes));
        }

        HeapWasteTable.Write(Console.Out, rows, mebibytes);
        foreach ((string Name, object? Value)[] row in rows.Select(HeapWasteTable.JsonRow))
        {
            report.Row(row);
        }
    }
}
