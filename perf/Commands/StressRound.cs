using System;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>One arena from creation to disposal: segments of work on all threads, and between them quiescence, where nobody works
/// and every byte must be accounted for.</summary>
internal sealed class StressRound(StressPlan plan)
{
    private const int Segments = 3;

    /// <summary>No segment takes a hundredth of this; one that does hangs.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);

    /// <summary>Runs the round; what it counted and found.</summary>
    public StressShared Run()
    {
        using var arena = PageArena.Create(plan.Options);
        using var shared = new StressShared(arena, plan);
        var random = new SplitMix(plan.Seed ^ 0x5bd1e995);
        StressWorker[] workers = [.. Enumerable.Range(0, plan.Threads).Select(slot => new StressWorker(shared, slot, random.Next()))];
        for (int segment = 0; segment < Segments && !shared.HasViolations; segment++)
        {
            InAllSlots(workers, shared, plan.Generations, w => w.Run(plan.Operations));
            shared.Samples.Add(StressSample.Now(shared, workers));
            Quiescence(shared, Held(shared, workers), $"after segment {segment}");
        }

        InAllSlots(workers, shared, 1, w => w.FreeAll());
        FreeHanded(shared);
        End(shared, workers);
        return shared;
    }

    /// <summary>Runs the body on a thread for each slot, and again on a new one when that has exited, as often as there are
    /// generations; a thread's caches outlive it.</summary>
    private static void InAllSlots(StressWorker[] workers, StressShared shared, int generations, Action<StressWorker> body)
    {
        using var all = new CountdownEvent(workers.Length);
        void StartNext(StressWorker worker, int left)
        {
            var thread = new Thread(() =>
            {
                body(worker);
                if (left > 1)
                {
                    StartNext(worker, left - 1);
                }
                else
                {
                    all.Signal();
                }
            });
            thread.IsBackground = true;
            thread.Start();
        }

        Array.ForEach(workers, w => StartNext(w, generations));
        if (!all.Wait(Patience))
        {
            throw new MeasurementException(
                $"{all.CurrentCount} of {workers.Length} threads have not finished after {Patience.TotalSeconds} s, in the round: {shared.Plan}");
        }
    }

    /// <summary>What must hold when nobody works: the arena's invariants, with treatment running and stopped, and the accounts.</summary>
    /// <param name="shared">The arena, and where violations are reported.</param>
    /// <param name="held">Bytes that the threads hold.</param>
    /// <param name="when">For the report.</param>
    internal static void Quiescence(StressShared shared, long held, string when)
    {
        try
        {
            shared.Arena.Verify();
            shared.Heap?.Verify();
            shared.Arena.Aerator.Stop();
            shared.Arena.Verify();
            Account(shared, held, when);
            if (shared.Plan.Options.Aeration.Enabled)
            {
                shared.Arena.Aerator.Start();
            }
        }
        catch (Exception e)
        {
            shared.Report($"{when}: {e}");
        }
    }

    private static long Held(StressShared shared, StressWorker[] workers) => workers.Sum(w => w.HeldBytes) + shared.Handed.Sum(b => b.Bytes);

    /// <summary>Each byte of the arena has one owner, and the users' share is what the users hold.</summary>
    private static void Account(StressShared shared, long held, string when)
    {
        ArenaStatistics s = shared.Arena.GetStatistics();
        if (shared.Heap?.GetStatistics() is HeapStatistics heap)
        {
            held += heap.SlabsBytes + heap.WholeBytes;
        }

        long sum = s.UnreachedBytes + s.AllocatedBytes + s.ThreadPagesBytes + s.RawBytes + s.TreatedBytes + s.InReactorBytes + s.IsolatedBytes
            + s.InflatedBytes + s.QuarantinedBytes + s.HeldBackBytes;
        if (s.AllocatedBytes != held)
        {
            shared.Report($"{when}: the threads hold {held} bytes, the arena says {s.AllocatedBytes}");
        }

        if (sum != s.ReservedBytes)
        {
            shared.Report($"{when}: {s.ReservedBytes - sum} of {s.ReservedBytes} bytes have no owner: {s}");
        }

        // What a host in another process had when it was killed may come back a little later.
        if ((s.QuarantinedBytes != 0 && !shared.Plan.IsHosted) || s.InReactorBytes != 0)
        {
            shared.Report($"{when}: stopped, and {s.InReactorBytes} bytes in the reactor, {s.QuarantinedBytes} in quarantine");
        }
    }

    private static unsafe void FreeHanded(StressShared shared)
    {
        while (shared.Handed.TryDequeue(out StressBlock block))
        {
            if (block.FindDamage() is string damage)
            {
                shared.Report($"handed over: {damage}");
            }

            // Sound: the queue was the block's only holder.
            shared.Arena.FreePages((void*)block.Address);
        }
    }

    /// <summary>When everything is free the arena is as good as new: nothing is in use, and the largest block can be had.</summary>
    private static unsafe void End(StressShared shared, StressWorker[] workers)
    {
        try
        {
            shared.Heap?.Trim();
            if (shared.Heap?.GetStatistics() is { SlabsBytes: > 0 } or { WholeBytes: > 0 })
            {
                shared.Report($"at the end: all is free, and the heap keeps {shared.Heap.GetStatistics()}");
            }

            shared.Arena.Trim();
            Quiescence(shared, Held(shared, workers), "at the end");
            if (shared.Arena.TryAllocatePages(10, out void* block))
            {
                shared.Arena.FreePages(block);
            }
            else if (shared.Plan.Options.CapBytes > 16 << 20)
            {
                shared.Report($"at the end: all is free, and there is no block of order 10: {shared.Arena.GetStatistics()}");
            }
        }
        catch (Exception e)
        {
            shared.Report($"at the end: {e}");
        }
    }
}
