using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Threading;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>The load that <see cref="TraceCommand"/> looks at: bursts of blocks of mixed orders, each page touched, most of them
/// freed, a short rest in which the worker treats what rests, and a Trim. Words to the parent: ready pid; done blocks bytes.</summary>
internal sealed class TraceChildCommand : ICommand
{
    private const int OrderMax = 10;
    private static readonly nuint BurstBytes = 48 << 20;
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(60);

    private readonly List<(nint Block, int Order)> live = [];
    private SplitMix random = new(1);
    private long blocks;
    private long bytes;

    public string Name => "trace-child";

    public string Summary => "the load that is traced";

    public int Run(Arguments arguments)
    {
        using var side = new ChildSide();
        double seconds = arguments.Number("seconds", 5, 0.1, 600);
        arguments.End();

        ChildSide.Say("ready", Environment.ProcessId);
        ChildSide.Await("go");
        Load(TimeSpan.FromSeconds(seconds));
        ChildSide.Say("done", blocks, bytes);
        ChildSide.Await("finish");
        return Program.Success;
    }

    private void Load(TimeSpan duration)
    {
        using var arena = PageArena.Create(new PageArenaOptions
        {
            SizeBytes = 1u << 30,
            Aeration = new AerationOptions { Delay = TimeSpan.FromMilliseconds(20), MinimumOrder = 5 },
        });
        long end = Stopwatch.GetTimestamp() + (long)(duration.TotalSeconds * Stopwatch.Frequency);
        do
        {
            Burst(arena);
            Free(arena, keep: 16);
            Thread.Sleep(Rest); // so that what was freed rests for longer than the delay: part of the load
            arena.Trim();
        }
        while (Stopwatch.GetTimestamp() < end);
        Free(arena, keep: 1);
        arena.Verify();
    }

    private unsafe void Burst(PageArena arena)
    {
        for (nuint taken = 0; taken < BurstBytes;)
        {
            int order = random.Below(OrderMax + 1);
            nuint size = (nuint)4096 << order;

            // Sound: the block is this long and nobody else's.
            byte* block = (byte*)arena.AllocatePages(order);
            for (nuint at = 0; at < size; at += 4096)
            {
                block[at] = 1;
            }

            live.Add(((nint)block, order));
            taken += size;
            blocks++;
            bytes += (long)size;
        }
    }

    /// <summary>Frees all but each <paramref name="keep"/>th block; 1 keeps none.</summary>
    private unsafe void Free(PageArena arena, int keep)
    {
        for (int i = live.Count - 1; i >= 0; i--)
        {
            if (keep == 1 || i % keep != 0)
            {
                // Sound: the block is live, and its entry goes with it.
                arena.FreePages((void*)live[i].Block);
                live.RemoveAt(i);
            }
        }
    }
}
