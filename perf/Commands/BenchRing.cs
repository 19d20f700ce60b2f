using System;
using System.Diagnostics.CodeAnalysis;
using BenchmarkDotNet.Attributes;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>React and settle: a batch is published on the ring, the device drops it (nothing is resident, so the system calls have
/// nothing to do) and completes it. With the device on its own thread, and serviced by the caller.</summary>
[SuppressMessage("Design", "CA1001", Justification = "BenchmarkDotNet ends the arena through the cleanup method.")]
public class RingBenchmarks
{
    private const int BlockOrder = 9;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private PageArena arena = null!;
    private PageRange[] batch = [];
    private ITreatmentDevice device = null!;

    /// <summary>Blocks of 2 MiB in the batch, none beside another.</summary>
    [Params(1, 32)]
    public int Blocks { get; set; }

    /// <summary>Who services the device.</summary>
    [Params(AerationContext.Worker, AerationContext.FreeingThread)]
    public AerationContext Context { get; set; }

    [GlobalSetup]
    public unsafe void Setup()
    {
        arena = BenchArena.Create(Context, BlockOrder);
        device = arena.Aerator.Link!.Device;
        batch = new PageRange[Blocks];
        for (int i = 0; i < Blocks; i++)
        {
            arena.AllocatePages(BlockOrder);
            byte* block = (byte*)arena.AllocatePages(BlockOrder);
            batch[i] = new PageRange(Pfn.FromByteOffset((ulong)(block - arena.BaseAddress)), new Order(BlockOrder).Pages);
        }
    }

    [GlobalCleanup]
    public void Cleanup() => arena.Dispose();

    /// <summary>There and back.</summary>
    [Benchmark]
    public void RoundTrip()
    {
        if (!device.React(batch, 0) || device.Settle(Patience, out _) is not (SettleResult.Treated or SettleResult.TreatedZero))
        {
            throw new InvalidOperationException("the device in this process did not treat a batch");
        }
    }
}
