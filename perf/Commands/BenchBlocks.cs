using System;
using System.Diagnostics.CodeAnalysis;
using BenchmarkDotNet.Attributes;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>Blocks from the arena and back, the memory not touched: what the allocator itself costs.</summary>
[SuppressMessage("Design", "CA1001", Justification = "BenchmarkDotNet ends the arenas through the cleanup method.")]
public class BlockBenchmarks
{
    private const int BatchBlocks = 256;

    private readonly nint[] batch = new nint[BatchBlocks];
    private PageArena cached = null!;
    private PageArena direct = null!;

    /// <summary>4 KiB, 64 KiB, 2 MiB.</summary>
    [Params(0, 4, 9)]
    public int Order { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        cached = Arena(threadPages: true);
        direct = Arena(threadPages: false);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        cached.Verify();
        direct.Verify();
        cached.Dispose();
        direct.Dispose();
    }

    /// <summary>One block, taken and given back: the thread's own pages.</summary>
    [Benchmark]
    public unsafe void Pair() => cached.FreePages(cached.AllocatePages(Order));

    /// <summary>The same without thread pages: the zone's lock, a list, a split and a merge.</summary>
    [Benchmark]
    public unsafe void PairFromTheZone() => direct.FreePages(direct.AllocatePages(Order));

    /// <summary>More blocks at a time than a thread keeps, freed in order: refills and drains included. Per block.</summary>
    [Benchmark(OperationsPerInvoke = BatchBlocks)]
    public unsafe void Batch()
    {
        nint[] blocks = batch;
        for (int i = 0; i < blocks.Length; i++)
        {
            blocks[i] = (nint)cached.AllocatePages(Order);
        }

        for (int i = 0; i < blocks.Length; i++)
        {
            // Sound: taken above, and not yet given back.
            cached.FreePages((void*)blocks[i]);
        }
    }

    private static PageArena Arena(bool threadPages) => PageArena.Create(new PageArenaOptions
    {
        SizeBytes = (nuint)1 << 30,
        CapBytes = (nuint)1 << 30,
        Zones = 1,
        ThreadPages = threadPages,
        Aeration = new AerationOptions { Enabled = false },
    });
}
