using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>What the threads of one round share: the arena, blocks on their way from one thread to another, and the findings.</summary>
internal sealed class StressShared(PageArena arena, StressPlan plan) : IDisposable
{
    private const int FindingsMax = 20;

    private readonly ConcurrentQueue<string> violations = new();
    private long operations;
    private long refusals;
    private long tickets;

    public PageArena Arena => arena;

    public StressPlan Plan => plan;

    /// <summary>Objects of any size come from here; null: there are none in this round.</summary>
    public NativeHeap? Heap { get; } = plan.HasHeap ? new NativeHeap(arena) : null;

    /// <summary>What was resident and what was in use when nobody worked.</summary>
    public List<StressSample> Samples { get; } = [];

    /// <summary>Blocks that whoever takes them frees.</summary>
    public ConcurrentQueue<StressBlock> Handed { get; } = new();

    public long Operations => Volatile.Read(ref operations);

    /// <summary>Allocations that the arena declined because it was full.</summary>
    public long Refusals => Volatile.Read(ref refusals);

    public IReadOnlyList<string> Violations => [.. violations];

    public bool HasViolations => !violations.IsEmpty;

    public ulong NextTicket() => (ulong)Interlocked.Increment(ref tickets);

    public void Dispose() => Heap?.Dispose();

    public void Report(string violation)
    {
        if (violations.Count < FindingsMax)
        {
            violations.Enqueue(violation);
        }
    }

    public void Count(long done, long refused)
    {
        Interlocked.Add(ref operations, done);
        Interlocked.Add(ref refusals, refused);
    }
}
