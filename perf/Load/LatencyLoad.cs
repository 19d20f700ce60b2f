using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>What each single allocate, first touch and free takes, while what is in use goes up and down so that treatment has work: a thread replaces
/// its blocks at random, at the high level in one quarter of a second, at the low one in the next.</summary>
internal sealed class LatencyLoad(PageArena arena, double seconds, ulong seed)
{
    private const long HighBytes = 96 << 20;
    private const long LowBytes = 8 << 20;
    private const double LevelSeconds = 0.25;
    private const int PageBytes = 4096;
    private const int OrderBound = 10;

    /// <summary>Stopwatch ticks of AllocatePages.</summary>
    public LatencyHistogram Allocate { get; } = new();

    /// <summary>Of writing one byte to each page of the new block.</summary>
    public LatencyHistogram Touch { get; } = new();

    /// <summary>Of FreePages.</summary>
    public LatencyHistogram Free { get; } = new();

    /// <summary>Runs the load on so many threads at once; their times, added up.</summary>
    public static LatencyLoad Run(PageArena arena, double seconds, int threads, ulong seed)
    {
        LatencyLoad[] loads = [.. Enumerable.Range(0, threads).Select(i => new LatencyLoad(arena, seconds, seed + (ulong)i))];
        Thread[] all = [.. loads.Select(l => new Thread(l.Work) { IsBackground = true })];
        Array.ForEach(all, t => t.Start());
        Array.ForEach(all, t => t.Join());
        foreach (LatencyLoad other in loads.Skip(1))
        {
            loads[0].Allocate.Add(other.Allocate);
            loads[0].Touch.Add(other.Touch);
            loads[0].Free.Add(other.Free);
        }

        return loads[0];
    }

    private unsafe void Work()
    {
        SplitMix random = new(seed);
        List<(nint Block, int Order)> held = [];
        long heldBytes = 0;
        long start = Stopwatch.GetTimestamp();
        double elapsed;
        while ((elapsed = Stopwatch.GetElapsedTime(start).TotalSeconds) < seconds)
        {
            long level = (int)(elapsed / LevelSeconds) % 2 == 0 ? HighBytes : LowBytes;
            if (heldBytes < level)
            {
                int order = Math.Min(random.Below(OrderBound), random.Below(OrderBound));
                held.Add((Take(order, (MigrateType)random.Below(3)), order));
                heldBytes += (long)PageBytes << order;
            }
            else
            {
                int index = random.Below(held.Count);
                (nint block, int order) = held[index];
                held[index] = held[^1];
                held.RemoveAt(held.Count - 1);
                Give(block);
                heldBytes -= (long)PageBytes << order;
            }
        }

        held.ForEach(h => arena.FreePages((void*)h.Block)); // sound: each is live and this thread's alone
    }

    private unsafe nint Take(int order, MigrateType type)
    {
        long begin = Stopwatch.GetTimestamp();
        byte* block = (byte*)arena.AllocatePages(order, type);
        long taken = Stopwatch.GetTimestamp();

        // Sound: the block is this long and this thread's alone.
        for (long at = 0; at < (long)PageBytes << order; at += PageBytes)
        {
            block[at] = 1;
        }

        long touched = Stopwatch.GetTimestamp();
        Allocate.Add(taken - begin);
        Touch.Add(touched - taken);
        return (nint)block;
    }

    private unsafe void Give(nint block)
    {
        long begin = Stopwatch.GetTimestamp();
        arena.FreePages((void*)block); // sound: as in Work
        Free.Add(Stopwatch.GetTimestamp() - begin);
    }
}
