using System;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>Statistics of one arena, shared by instruments that are read one after the other: a collection of twenty instruments takes one
/// snapshot and not twenty (the residency of the metadata is asked of the kernel, about 0.1 ms per GiB). An instrument that reads twice
/// gets a new one the second time, and nobody gets one that is older than a tenth of a second. Nobody reads, nothing is done. Any thread.</summary>
internal sealed class ArenaSnapshots(PageArena arena, TimeProvider clock)
{
    /// <summary>Readers are numbered from 0 to below this.</summary>
    public const int ReadersMax = 64;

    private static readonly TimeSpan s_life = TimeSpan.FromMilliseconds(100);

    private Shared? _last;
    private long _taken;

    /// <summary>Snapshots taken so far.</summary>
    public long Taken => Interlocked.Read(ref _taken);

    /// <summary>A snapshot for one reader; null once the arena was disposed.</summary>
    public ArenaStatistics? Read(int reader)
    {
        Shared? last = Volatile.Read(ref _last);
        if (last is null || !last.TryRead(reader) || clock.GetElapsedTime(last.At) > s_life)
        {
            long now = clock.GetTimestamp();
            if (arena.TryGetStatistics() is not ArenaStatistics statistics)
            {
                Volatile.Write(ref _last, null);
                return null;
            }

            Interlocked.Increment(ref _taken);
            last = new Shared(statistics, now);
            last.TryRead(reader);
            Volatile.Write(ref _last, last);
        }

        return arena.IsDisposed ? null : last.Statistics;
    }

    private sealed class Shared(ArenaStatistics statistics, long at)
    {
        private ulong _readers;

        public ArenaStatistics Statistics => statistics;

        public long At => at;

        public bool TryRead(int reader) => (Interlocked.Or(ref _readers, 1ul << reader) & (1ul << reader)) == 0;
    }
}
