using System;
using System.Diagnostics;
using System.Linq;
using System.Runtime.InteropServices;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>One point of an axis.</summary>
/// <param name="Axis">"arena_gib", "live_blocks" or "threads".</param>
/// <param name="Value">On the axis.</param>
/// <param name="ArenaBytes">Reserved.</param>
/// <param name="Live">Blocks of order 0 that each thread holds.</param>
/// <param name="Threads">At the same time.</param>
internal readonly record struct ScalePoint(string Axis, long Value, long ArenaBytes, int Live, int Threads);

/// <summary>What a point took, nanoseconds for each pair of allocate and free.</summary>
/// <param name="Pair">All of it: half of the pairs are bulk, half are rand.</param>
/// <param name="Bulk">Allocating all and freeing all in order. Null where threads share processors: each part is shorter than a time slice, so the
/// clock does not show what share of a processor it had.</param>
/// <param name="Rand">Freeing one chosen at random and allocating another; null likewise.</param>
/// <param name="Control">One random read of an array as large as the struct pages of the live blocks (64 bytes each).</param>
internal readonly record struct ScaleTiming(double Pair, double? Bulk, double? Rand, double Control);

/// <summary>Measures points, each with an arena of its own. Times are those of a processor: where there are more threads than
/// processors, of which each can have only a share, what the clock shows is divided accordingly.</summary>
internal static class ScaleLoad
{
    private const int StructPageBytes = 64;
    private const double BatchNanoseconds = 30e6;
    private const int CallPairs = 1024;

    /// <summary>One pass that is not timed, which makes the metadata resident; then passes for about 30 ms of each processor, but at least one.</summary>
    public static ScaleTiming Measure(ScalePoint point)
    {
        using var threads = new PeerThreads(point.Threads);
        using PageArena arena = PageArena.Create(new PageArenaOptions
        {
            SizeBytes = (nuint)point.ArenaBytes,
            CapBytes = (nuint)point.ArenaBytes,
        });
        var passes = new ScalePasses(arena, point);
        double share = (double)Math.Min(point.Threads, Environment.ProcessorCount) / point.Threads;
        double first = Wall(threads.Run(point.Threads, i => passes.Run(i, 1)));
        int count = (int)Math.Clamp(BatchNanoseconds / share / first, 1, 10_000);
        passes.Reset();
        double wall = Wall(threads.Run(point.Threads, i => passes.Run(i, count)));
        double pairs = (double)count * point.Live;
        bool isShared = share < 1;
        return new ScaleTiming(
            wall * share / (2 * pairs),
            isShared ? null : passes.BulkNanoseconds / point.Threads / pairs,
            isShared ? null : passes.RandNanoseconds / point.Threads / pairs,
            Control(threads, point));
    }

    private static double Wall(ReadOnlySpan<PeerSpan> spans)
    {
        long start = long.MaxValue;
        long end = long.MinValue;
        foreach (PeerSpan span in spans)
        {
            start = Math.Min(start, span.Start);
            end = Math.Max(end, span.End);
        }

        return new PeerSpan(start, end).Nanoseconds;
    }

    /// <summary>The known cause: every thread reads words at random places of one array, the next place depending on what was read, so
    /// that each read waits for the one before, as it does in a list. 4 KiB pages, as the struct pages have.</summary>
    private static double Control(PeerThreads threads, ScalePoint point)
    {
        long bytes = Math.Max(4096, (long)point.Live * point.Threads * StructPageBytes);
        LinuxSystem os = LinuxSystem.Instance;
        Errno error = os.MapAnonymous((nuint)bytes, MemoryProtection.ReadWrite, out nint address);
        if (error != Errno.None)
        {
            throw new MeasurementException($"mmap of {bytes} bytes for the control: {error}");
        }

        _ = os.Advise(address, (nuint)bytes, MemoryAdvice.NoHugePage);
        new NativeBlock(address).Touch((nuint)bytes);
        int reads = Math.Clamp(point.Live, 100_000, 1_000_000);
        threads.Run(point.Threads, i => Read(address, bytes, reads, (ulong)i));
        double wall = Wall(threads.Run(point.Threads, i => Read(address, bytes, reads, (ulong)i)));
        _ = os.Unmap(address, (nuint)bytes);
        return wall * Math.Min(point.Threads, Environment.ProcessorCount) / point.Threads / reads;
    }

    private static void Read(nint address, long bytes, int reads, ulong seed)
    {
        var random = new SplitMix(seed);
        var lines = (int)(bytes / StructPageBytes);
        int carried = 0;
        for (int i = 0; i < reads; i++)
        {
            // What is read is zero, which the processor does not know before it has read it.
            int line = random.Below(lines) ^ carried;
            carried = Marshal.ReadInt32(address + (nint)((long)line * StructPageBytes) + 32);
        }

        GC.KeepAlive(carried);
    }

    /// <summary>The passes of all threads over one arena.</summary>
    private sealed class ScalePasses(PageArena arena, ScalePoint point)
    {
        private readonly NativeBlock[][] _live = [.. Enumerable.Range(0, point.Threads).Select(_ => new NativeBlock[point.Live])];
        private readonly SplitMix[] _randoms = [.. Enumerable.Range(0, point.Threads).Select(i => new SplitMix((ulong)i))];
        private readonly double[] _bulk = new double[point.Threads];
        private readonly double[] _rand = new double[point.Threads];

        /// <summary>Of all threads together.</summary>
        public double BulkNanoseconds => _bulk.Sum();

        public double RandNanoseconds => _rand.Sum();

        public void Reset()
        {
            Array.Clear(_bulk);
            Array.Clear(_rand);
        }

        public void Run(int thread, int passes)
        {
            var peer = new ArenaPeer(arena, 4096);
            NativeBlock[] live = _live[thread];
            for (int pass = 0; pass < passes; pass++)
            {
                long start = Stopwatch.GetTimestamp();
                PeerPatterns<ArenaPeer, NativeBlock>.Fill(peer, false, live);
                long filled = Stopwatch.GetTimestamp();
                for (int left = live.Length; left > 0; left -= CallPairs)
                {
                    PeerPatterns<ArenaPeer, NativeBlock>.Replace(peer, false, live, ref _randoms[thread], Math.Min(left, CallPairs));
                }

                long replaced = Stopwatch.GetTimestamp();
                PeerPatterns<ArenaPeer, NativeBlock>.Drain(peer, live);
                long drained = Stopwatch.GetTimestamp();
                _bulk[thread] += new PeerSpan(start, filled).Nanoseconds + new PeerSpan(replaced, drained).Nanoseconds;
                _rand[thread] += new PeerSpan(filled, replaced).Nanoseconds;
            }
        }
    }
}
