using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Runtime;

namespace LowLevel.Perf;

/// <summary>How the cost of a pair grows with the arena, with the blocks that are live and with the threads. All in one process, a
/// fresh arena for each point, in rounds, so that what the machine does in between falls on all points.</summary>
internal sealed class ScaleCommand : ICommand
{
    private const long Gibibyte = 1L << 30;
    private const int CommonLive = 100_000;
    private const int LiveOfManyThreads = 8192;

    private static readonly TimeSpan RehearsalMax = TimeSpan.FromSeconds(8);
    private static readonly TimeSpan Settled = TimeSpan.FromMilliseconds(400);

    public string Name => "scale";

    public string Summary => "the cost of a pair against arena size, live blocks and threads; --rounds 5, --axis all";

    /// <summary>1, 16, 256 GiB reserved; 10^3 to 10^6 live; 1 to 16 threads.</summary>
    public static IReadOnlyList<ScalePoint> Points { get; } =
    [
        .. new[] { 1, 16, 256 }.Select(g => new ScalePoint("arena_gib", g, g * Gibibyte, CommonLive, 1)),
        .. new[] { 1_000, 10_000, 100_000, 1_000_000 }.Select(n => new ScalePoint("live_blocks", n, 16 * Gibibyte, n, 1)),
        .. new[] { 1, 2, 4, 16 }.Select(t => new ScalePoint("threads", t, 16 * Gibibyte, LiveOfManyThreads, t)),
    ];

    public int Run(Arguments arguments)
    {
        int rounds = arguments.Integer("rounds", 5, 1, 99);
        string axis = arguments.Choice("axis", ["all", .. Points.Select(p => p.Axis).Distinct()]);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        ScalePoint[] points = [.. Points.Where(p => axis == "all" || p.Axis == axis)];
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"scale: {points.Length} points, {rounds} interleaved rounds, a fresh arena with default aeration for each");
        Rehearse();
        List<ScaleTiming>[] timings = [.. points.Select(_ => new List<ScaleTiming>())];
        for (int round = 0; round < rounds; round++)
        {
            foreach (int i in PeersPlan.InTurn([.. Enumerable.Range(0, points.Length)], round, 0))
            {
                timings[i].Add(ScaleLoad.Measure(points[i]));
            }
        }

        List<ScaleRow> rows = [.. points.Select((p, i) => new ScaleRow(p, timings[i]))];
        ScaleTable.Write(Console.Out, rows);
        foreach (ScaleRow row in rows)
        {
            report.Row(ScaleTable.JsonRow(row, rows.First(r => r.Point.Axis == row.Point.Axis)));
        }

        report.Save();
        return Program.Success;
    }

    /// <summary>Small points until the runtime has compiled nothing for a while; see <see cref="PeerServer"/>.</summary>
    private static void Rehearse()
    {
        var total = Stopwatch.StartNew();
        var quiet = Stopwatch.StartNew();
        long compiled = -1;
        while (quiet.Elapsed < Settled && total.Elapsed < RehearsalMax)
        {
            ScaleLoad.Measure(new ScalePoint("rehearsal", 0, Gibibyte, CommonLive / 10, 2));
            if (JitInfo.GetCompiledMethodCount() != compiled)
            {
                compiled = JitInfo.GetCompiledMethodCount();
                quiet.Restart();
            }
        }
    }
}
