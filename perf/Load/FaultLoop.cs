using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>will-it-scale's page_fault1 on an arena: each thread takes 128 MiB, writes to every page, gives it back, again and
/// again. One iteration is one page written, as there.</summary>
/// <param name="order">Of each block: 10 for 32 blocks, 0 for 32768 single pages.</param>
internal sealed class FaultLoop(int order)
{
    private const int PageSize = 4096;
    private const int PagesPerPass = 128 << 20 >> 12;

    /// <summary>Iterations per second of all threads together. The first pass of each thread, in which the kernel provides the
    /// memory, is not timed.</summary>
    public double Measure(PageArena arena, int threads, TimeSpan duration)
    {
        using var ready = new Barrier(threads);
        var rates = new double[threads];
        Exception? failure = null;
        Thread[] all = [.. Enumerable.Range(0, threads).Select(i => new Thread(() =>
        {
            try
            {
                rates[i] = Loop(arena, ready, duration);
            }
            catch (Exception e)
            {
                failure = e;
                ready.RemoveParticipant();
            }
        }))];
        Array.ForEach(all, t => t.Start());
        Array.ForEach(all, t => t.Join());
        return failure is null ? rates.Sum() : throw new MeasurementException($"the load failed: {failure.Message}", failure);
    }

    private double Loop(PageArena arena, Barrier ready, TimeSpan duration)
    {
        var blocks = new nint[PagesPerPass >> order];
        Pass(arena, blocks);
        ready.SignalAndWait();
        long start = Stopwatch.GetTimestamp();
        long passes = 0;
        TimeSpan elapsed;
        do
        {
            Pass(arena, blocks);
            passes++;
            elapsed = Stopwatch.GetElapsedTime(start);
        }
        while (elapsed < duration);
        return passes * PagesPerPass / elapsed.TotalSeconds;
    }

    private unsafe void Pass(PageArena arena, nint[] blocks)
    {
        // Sound: each block is this thread's own, of 2^order pages, from AllocatePages to FreePages.
        long bytes = (long)PageSize << order;
        for (int i = 0; i < blocks.Length; i++)
        {
            var block = (byte*)arena.AllocatePages(order);
            blocks[i] = (nint)block;
            for (long offset = 0; offset < bytes; offset += PageSize)
            {
                block[offset] = 1;
            }
        }

        foreach (nint block in blocks)
        {
            arena.FreePages((void*)block);
        }
    }
}
