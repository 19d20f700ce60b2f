using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Runtime;

namespace LowLevel.Perf;

/// <summary>A contestant's end of the protocol, lines of words separated by tabs. The child says "warm" when its code is compiled; then
/// for each request (<see cref="PeerCell.ToLine"/>) it says "done", nanoseconds per pair and pairs; "finish", or the end of its input,
/// ends it. So all contestants live through the whole run and take turns cell by cell.</summary>
internal static class PeerServer
{
    // More than this is given back after a cell, so that a dozen children fit into one machine.
    private const long KeptBytesMax = 1L << 30;

    private static readonly TimeSpan Settled = TimeSpan.FromMilliseconds(400);
    private static readonly TimeSpan RehearsalMax = TimeSpan.FromSeconds(8);

    /// <summary>Serves until the end.</summary>
    /// <param name="load">The contestant.</param>
    /// <param name="input">Requests.</param>
    /// <param name="output">Answers.</param>
    /// <param name="sizes">What is rehearsed; null: <see cref="PeerCell.Sizes"/>.</param>
    public static void Serve(PeerLoad load, TextReader input, TextWriter output, int[]? sizes = null)
    {
        Rehearse(load, sizes ?? PeerCell.Sizes);
        Say(output, "warm");
        while (input.ReadLine() is string line && line != "finish")
        {
            var cell = PeerCell.Parse(line);
            PeerTiming timing = load.Measure(cell);
            Tidy(load, cell);
            Say(output, "done", timing.NanosecondsPerPair, timing.Pairs);
        }
    }

    /// <summary>Runs every loop until the runtime has compiled nothing for a while: by then tiered compilation, which waits 100 ms and
    /// compiles what was called 30 times, twice, has done its work. Each cell is warmed again before it is timed.</summary>
    private static void Rehearse(PeerLoad load, int[] sizes)
    {
        PeerCell[] cells =
        [
            .. from pattern in PeerCell.Patterns
               from bytes in sizes
               from threads in new[] { 1, 2 }
               from touched in new[] { false, true }
               where (threads == 2 || pattern != "prodcons") && (!touched || bytes == sizes[0])
               select new PeerCell(pattern, bytes, threads, touched),
        ];
        var total = Stopwatch.StartNew();
        var quiet = Stopwatch.StartNew();
        long compiled = -1;
        while (quiet.Elapsed < Settled && total.Elapsed < RehearsalMax)
        {
            foreach (PeerCell cell in cells)
            {
                load.Rehearse(cell);
                if (JitInfo.GetCompiledMethodCount() != compiled)
                {
                    compiled = JitInfo.GetCompiledMethodCount();
                    quiet.Restart();
                }
            }
        }
    }

    /// <summary>In the contestant's own turn: what it would give back later, it would give back in somebody else's.</summary>
    private static void Tidy(PeerLoad load, PeerCell cell)
    {
        if (cell.Touched && Environment.WorkingSet > KeptBytesMax)
        {
            load.Release();
        }
    }

    private static void Say(TextWriter output, params object[] words)
    {
        output.WriteLine(string.Join('\t', words.Select(w => Convert.ToString(w, CultureInfo.InvariantCulture))));
        output.Flush();
    }
}
