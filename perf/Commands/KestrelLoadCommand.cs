using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading.Tasks;

namespace LowLevel.Perf;

/// <summary>The load of <c>perf kestrel</c>, in its own process. Words to the parent: connected; done requests bytes seconds p50 p99 (ms, of the
/// connections that do not hesitate).</summary>
internal sealed class KestrelLoadCommand : ICommand
{
    /// <summary>Every n-th connection is slow.</summary>
    private const int SlowEvery = 4;

    public string Name => "kestrel-load";

    public string Summary => "the load of kestrel";

    public int Run(Arguments arguments)
    {
        using var side = new ChildSide();
        int port = arguments.Integer("port", 0, 1, 65535);
        int connections = arguments.Integer("connections", 1, 1, 4096);
        double seconds = arguments.Number("seconds", 1, 0, 3600);
        int largest = arguments.Integer("largest", KestrelBody.LargestBytes, KestrelBody.SmallestBytes, KestrelBody.LargestBytes);
        var seed = (ulong)arguments.Integer("seed", 1, 0, int.MaxValue);
        arguments.End();
        RunAsync(port, connections, TimeSpan.FromSeconds(seconds), largest, seed).GetAwaiter().GetResult();
        return Program.Success;
    }

    private static async Task RunAsync(int port, int connections, TimeSpan time, int largest, ulong seed)
    {
        var seeds = new SplitMix(seed);
        List<KestrelClient> clients =
            [.. Enumerable.Range(0, connections).Select(i => new KestrelClient(seeds.Next(), i % SlowEvery == SlowEvery - 1, largest))];
        foreach (KestrelClient client in clients)
        {
            await client.ConnectAsync(port);
        }

        ChildSide.Say("connected");
        ChildSide.Await("go");
        long start = Stopwatch.GetTimestamp();
        await Task.WhenAll(clients.Select(c => Task.Run(() => c.RunAsync(time))));
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        clients.ForEach(c => c.Dispose());

        long[] fast = [.. clients.Where(c => !c.IsSlow).SelectMany(c => c.Ticks).Order()];
        ChildSide.Say(
            "done", clients.Sum(c => c.Ticks.Count), clients.Sum(c => c.Bytes), seconds, Milliseconds(fast, 0.5), Milliseconds(fast, 0.99));
    }

    /// <summary>The least value that at least this share of all do not exceed.</summary>
    private static double Milliseconds(long[] sorted, double share) =>
        sorted[Math.Max(0, (int)Math.Ceiling(share * sorted.Length) - 1)] * 1000.0 / Stopwatch.Frequency;
}
