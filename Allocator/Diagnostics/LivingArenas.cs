using System;
using System.Collections.Generic;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>The arenas of this process that were not disposed, for who looks at all of them: meters and the event source's counters.
/// Nobody is kept alive by it. Any thread; nothing is called under its lock.</summary>
internal static class LivingArenas
{
    private static readonly Lock s_lock = new();
    private static readonly List<WeakReference<PageArena>> s_all = [];
    private static ArenaDeeds s_ended;

    /// <summary>An arena takes up its work.</summary>
    public static void Add(PageArena arena)
    {
        lock (s_lock)
        {
            s_all.RemoveAll(static known => !known.TryGetTarget(out _));
            s_all.Add(new WeakReference<PageArena>(arena));
        }
    }

    /// <summary>An arena takes no more work. What it has done so far stays in the sum: a count over the process never falls.</summary>
    public static void Remove(PageArena arena)
    {
        lock (s_lock)
        {
            if (s_all.RemoveAll(known => !known.TryGetTarget(out PageArena? living) || living == arena) != 0)
            {
                s_ended += ArenaDeeds.Of(arena);
            }
        }
    }

    /// <summary>Those that live at this instant.</summary>
    public static List<PageArena> All() => All(out _);

    /// <summary>What all arenas, the ended ones too, have done since the process began.</summary>
    public static ArenaDeeds Deeds()
    {
        List<PageArena> living = All(out ArenaDeeds sum);
        foreach (PageArena arena in living)
        {
            sum += ArenaDeeds.Of(arena);
        }

        return sum;
    }

    private static List<PageArena> All(out ArenaDeeds ended)
    {
        List<PageArena> living = [];
        lock (s_lock)
        {
            ended = s_ended;
            foreach (WeakReference<PageArena> known in s_all)
            {
                if (known.TryGetTarget(out PageArena? arena))
                {
                    living.Add(arena);
                }
            }
        }

        return living;
    }
}

/// <summary>Counts that only grow.</summary>
/// <param name="Cycles">Batches treated.</param>
/// <param name="PagesTreated">Pages (4 KiB) treated.</param>
/// <param name="Reports">Batches told to the host.</param>
/// <param name="LostBatches">Batches that did not come back treated.</param>
internal readonly record struct ArenaDeeds(long Cycles, long PagesTreated, long Reports, long LostBatches)
{
    /// <summary>Those of one arena; also after its end.</summary>
    public static ArenaDeeds Of(PageArena arena) =>
        new(arena.Aerator.Cycles, arena.Aerator.PagesTreated, arena.Aerator.Reports, arena.Aerator.LostBatches);

    /// <summary>Both together.</summary>
    public static ArenaDeeds operator +(ArenaDeeds a, ArenaDeeds b) =>
        new(a.Cycles + b.Cycles, a.PagesTreated + b.PagesTreated, a.Reports + b.Reports, a.LostBatches + b.LostBatches);
}
