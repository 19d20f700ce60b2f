using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>What following a curve took.</summary>
/// <param name="BusySeconds">All threads' time in allocate, touch and free.</param>
/// <param name="MeanLate">How late a step began, on average, seconds of the run's own clock.</param>
/// <param name="MostLate">The latest of all.</param>
internal readonly record struct DemandOutcome(double BusySeconds, double MeanLate, double MostLate);

/// <summary>Drives an arena along a demand curve. Each thread follows an equal share of it, on the curve's clock:
/// page cache is single pages, movable, the longest held given back first. All else belongs to jobs, as a build's compilers: a job
/// wants 32 to 256 MiB (times the scale; as likely by logarithm), four jobs of a thread grow at a time, each block goes to a
/// random one of them, and blocks are of all orders, by bytes 35 % order 0, 5 % each of 1 to 3, 3 % each of 4 to 8, 30 % order 9
/// and 5 % order 10: heaps that became huge pages, heaps that did not, and the rest. Where the curve falls, the oldest jobs that
/// fit into the fall end, each giving back all it has; what is left of the fall the youngest gives back, last block first.
/// Every page is written when it is taken. The curve is met to the page, so its integral is the memory in use.</summary>
internal sealed class DemandLoad
{
    private const int PageSize = 4096;
    private const int GrowingJobs = 4;
    private static readonly double[] BytesByOrder = [0.35, 0.05, 0.05, 0.05, 0.03, 0.03, 0.03, 0.03, 0.03, 0.30, 0.05];

    private static readonly double[] BlocksUpToOrder = Accumulate(BytesByOrder);

    private readonly PageArena _arena;
    private readonly DemandCurve _curve;
    private readonly double _scale;
    private readonly Follower[] _followers;
    private volatile Exception? _failure;

    /// <param name="arena">What is driven.</param>
    /// <param name="curve">Already scaled, in bytes and in time.</param>
    /// <param name="scale">Of a job's size.</param>
    /// <param name="threads">Job threads.</param>
    /// <param name="seed">Of everything random.</param>
    public DemandLoad(PageArena arena, DemandCurve curve, double scale, int threads, ulong seed)
    {
        _arena = arena;
        _curve = curve;
        _scale = scale;
        _followers = [.. Enumerable.Range(0, threads).Select(i => new Follower { Random = new SplitMix(unchecked((seed * 7_919) + (ulong)i)) })];
    }

    /// <summary>Bytes held now. Any thread.</summary>
    public long LiveBytes => _followers.Sum(f => Volatile.Read(ref f.Live));

    /// <summary>Follows the curve to its end; calls back about every 50 ms.</summary>
    public DemandOutcome Run(Action tick)
    {
        long start = Stopwatch.GetTimestamp();
        Thread[] threads = [.. _followers.Select((f, i) => new Thread(() => Guarded(f, start)) { Name = $"job {i}" })];
        Array.ForEach(threads, t => t.Start());
        foreach (Thread thread in threads)
        {
            while (!thread.Join(50))
            {
                tick();
            }
        }

        if (_failure is not null)
        {
            throw new MeasurementException($"the load failed: {_failure.Message}", _failure);
        }

        return new DemandOutcome(
            _followers.Sum(f => f.BusySeconds),
            _followers.Average(f => f.LateSum / _curve.Steps.Count),
            _followers.Max(f => f.MostLate));
    }

    /// <summary>Gives everything back. After <see cref="Run"/>.</summary>
    public void GiveBackAll()
    {
        foreach (Follower follower in _followers)
        {
            SetCache(follower, 0);
            SetJobs(follower, 0);
        }
    }

    private void Guarded(Follower follower, long start)
    {
        try
        {
            Follow(follower, start);
        }
        catch (Exception e)
        {
            _failure = e;
        }
    }

    private void Follow(Follower follower, long start)
    {
        foreach (DemandStep step in _curve.Steps)
        {
            double late = Stopwatch.GetElapsedTime(start).TotalSeconds - step.Seconds;
            while (late < 0)
            {
                // The curve is a timetable: what comes too early waits for its time.
                Thread.Sleep(TimeSpan.FromSeconds(Math.Min(-late, 0.05)) + TimeSpan.FromMilliseconds(0.2));
                late = Stopwatch.GetElapsedTime(start).TotalSeconds - step.Seconds;
            }

            follower.LateSum += late;
            follower.MostLate = Math.Max(follower.MostLate, late);
            long begun = Stopwatch.GetTimestamp();
            SetCache(follower, step.CacheBytes / _followers.Length / PageSize);
            SetJobs(follower, step.JobBytes / _followers.Length / PageSize);
            follower.BusySeconds += Stopwatch.GetElapsedTime(begun).TotalSeconds;
        }
    }

    private void SetCache(Follower follower, long pages)
    {
        while (follower.Cache.Count < pages)
        {
            follower.Cache.Enqueue(Take(follower, 0, MigrateType.Movable).Address);
        }

        while (follower.Cache.Count > pages)
        {
            Give(follower, new Block(follower.Cache.Dequeue(), 0));
        }
    }

    private void SetJobs(Follower follower, long pages)
    {
        long fall = follower.JobPages - pages;
        for (int i = 0; i < follower.Jobs.Count && fall > 0;)
        {
            Job job = follower.Jobs[i];
            if (job.Pages > fall)
            {
                i++;
                continue;
            }

            fall -= job.Pages;
            follower.Remove(job);
            while (job.Blocks.Count > 0)
            {
                GiveLast(follower, job);
            }
        }

        while (follower.JobPages > pages)
        {
            Job youngest = follower.Jobs[^1];
            GiveLast(follower, youngest);
            if (youngest.Blocks.Count == 0)
            {
                follower.Remove(youngest);
            }
        }

        while (follower.JobPages < pages)
        {
            Grow(follower, pages - follower.JobPages);
        }
    }

    private void Grow(Follower follower, long wanted)
    {
        while (follower.Growing.Count < GrowingJobs)
        {
            double mebibytes = 32 * Math.Pow(8, follower.Random.Fraction()) * _scale;
            var fresh = new Job { WantedPages = Math.Max(1, (long)(mebibytes * 256)) };
            follower.Jobs.Add(fresh);
            follower.Growing.Add(fresh);
        }

        Job job = follower.Growing[follower.Random.Below(GrowingJobs)];
        int order = Math.Min(DrawOrder(ref follower.Random), BitOperations.Log2((ulong)wanted));
        Block block = Take(follower, order, MigrateType.Unmovable);
        job.Blocks.Add(block);
        job.Pages += block.Pages;
        follower.JobPages += block.Pages;
        if (job.Pages >= job.WantedPages)
        {
            follower.Growing.Remove(job);
        }
    }

    private static int DrawOrder(ref SplitMix random)
    {
        double at = random.Fraction() * BlocksUpToOrder[^1];
        int order = 0;
        while (at >= BlocksUpToOrder[order])
        {
            order++;
        }

        return order;
    }

    // From bytes to numbers: an order's blocks are as many as its share of the bytes divided by its size.
    private static double[] Accumulate(double[] bytesByOrder)
    {
        double sum = 0;
        return [.. bytesByOrder.Select((bytes, order) => sum += bytes / (1 << order))];
    }

    private unsafe Block Take(Follower follower, int order, MigrateType type)
    {
        // Sound: the block is ours, of 2^order pages, until Give.
        var address = (byte*)_arena.AllocatePages(order, type);
        var block = new Block((nint)address, order);
        for (long page = 0; page < block.Pages; page++)
        {
            *(long*)(address + (page * PageSize)) = page + 1; // never zero: a page of zeros is one that the kernel may share
        }

        Volatile.Write(ref follower.Live, follower.Live + (block.Pages * PageSize));
        return block;
    }

    private unsafe void Give(Follower follower, Block block)
    {
        // Sound: each block is given back once; its last page still holds what Take wrote.
        long last = block.Pages - 1;
        if (*(long*)(block.Address + (nint)(last * PageSize)) != last + 1)
        {
            throw new MeasurementException($"a block of order {block.Order} lost its contents while it was held");
        }

        _arena.FreePages((void*)block.Address);
        Volatile.Write(ref follower.Live, follower.Live - (block.Pages * PageSize));
    }

    private void GiveLast(Follower follower, Job job)
    {
        Block block = job.Blocks[^1];
        job.Blocks.RemoveAt(job.Blocks.Count - 1);
        job.Pages -= block.Pages;
        follower.JobPages -= block.Pages;
        Give(follower, block);
    }

    private readonly record struct Block(nint Address, int Order)
    {
        public long Pages => 1L << Order;
    }

    private sealed class Job
    {
        public required long WantedPages { get; init; }

        public long Pages { get; set; }

        public List<Block> Blocks { get; } = [];
    }

    private sealed class Follower
    {
        public SplitMix Random;
        public long Live;

        public Queue<nint> Cache { get; } = new();

        public List<Job> Jobs { get; } = [];

        /// <summary>Those of Jobs that have not got what they want.</summary>
        public List<Job> Growing { get; } = [];

        public long JobPages { get; set; }

        public double BusySeconds { get; set; }

        public double LateSum { get; set; }

        public double MostLate { get; set; }

        public void Remove(Job job)
        {
            Jobs.Remove(job);
            Growing.Remove(job);
        }
    }
}
