using System;
using System.Diagnostics.CodeAnalysis;
using BenchmarkDotNet.Attributes;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>What a batch costs the zone: raw blocks off the free lists, and back onto them as treated. Per batch of 32 blocks; the device
/// is not asked. The blocks have no free buddy, so that none merges.</summary>
[SuppressMessage("Design", "CA1001", Justification = "BenchmarkDotNet ends the arena through the cleanup method.")]
public class ReactorBenchmarks
{
    private const int Batches = 64;
    private const int BatchBlocks = 32;

    private readonly Batch[] batches = new Batch[Batches];
    private PageArena arena = null!;
    private nint[] kept = [];

    /// <summary>4 KiB, 2 MiB.</summary>
    [Params(0, 9)]
    public int Order { get; set; }

    private Zone Zone => arena.Zones[0];

    [GlobalSetup]
    public unsafe void Setup()
    {
        // Without huge pages a treated block of any order is taken again before another pageblock is cut.
        arena = BenchArena.Create(AerationContext.Worker, Order, huge: false);
        for (int i = 0; i < Batches; i++)
        {
            batches[i] = new Batch(BatchBlocks);
        }

        kept = new nint[2 * Batches * BatchBlocks];
        for (int i = 0; i < kept.Length; i++)
        {
            kept[i] = (nint)arena.AllocatePages(Order);
        }

        for (int i = 0; i < kept.Length; i += 2)
        {
            // Sound: taken above; its buddy stays taken.
            arena.FreePages((void*)kept[i]);
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        arena.Verify();
        arena.Dispose();
    }

    [IterationSetup(Target = nameof(Decant))]
    public void TakeAll() => Fill();

    [IterationCleanup(Target = nameof(Fill))]
    public void GiveBackRaw() => GiveBack(treated: false);

    /// <summary>The next iteration's fill wants them raw again.</summary>
    [IterationCleanup(Target = nameof(Decant))]
    public unsafe void MakeRaw()
    {
        for (int i = 0; i < kept.Length; i += 2)
        {
            Zone.Enter();
            bool taken = Zone.TryTakeLocked(new Order(Order), MigrateType.Unmovable, default, out Pfn pfn, out _);
            Zone.Exit();
            if (!taken)
            {
                throw new InvalidOperationException("a block that was decanted cannot be taken");
            }

            kept[i] = (nint)(arena.BaseAddress + pfn.ByteOffset);
        }

        for (int i = 0; i < kept.Length; i += 2)
        {
            Zone.Enter();
            Zone.FreeLocked(Pfn.FromByteOffset((ulong)(kept[i] - (nint)arena.BaseAddress)), new Order(Order), MigrateType.Unmovable, BlockMarks.Raw(arena.Epoch));
            Zone.Exit();
        }
    }

    /// <summary>One lock hold per batch: 32 raw blocks leave their list and are marked as the reactor's.</summary>
    [Benchmark(OperationsPerInvoke = Batches)]
    public void Fill()
    {
        foreach (Batch batch in batches)
        {
            Zone.Enter();
            int filled = Zone.FillLocked(batch, new Order(Order), restedOnly: false);
            Zone.Exit();
            if (filled != BatchBlocks)
            {
                throw new InvalidOperationException($"the zone had {filled} raw blocks where {BatchBlocks} were left");
            }
        }
    }

    /// <summary>One lock hold per batch: 32 blocks come back, find no buddy, and lie below the membrane.</summary>
    [Benchmark(OperationsPerInvoke = Batches)]
    public void Decant() => GiveBack(treated: true);

    private void GiveBack(bool treated)
    {
        foreach (Batch batch in batches)
        {
            Zone.Enter();
            foreach (Batch.Entry entry in batch.Entries)
            {
                Zone.DecantLocked(entry.Pfn, entry.Order, entry.Marks with { Treated = treated });
            }

            Zone.Exit();
            batch.Clear();
        }
    }
}
