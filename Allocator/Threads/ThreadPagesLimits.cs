using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>How much a thread keeps, and how much it moves at once. A stack starts as the kernel's per-cpu lists do on a zone of a
/// gigabyte (batches of 63, six of them; here powers of two). Batches that follow each other closely double, and the bound with
/// them (the kernel's alloc_factor and free_factor): a thread that takes or gives thousands of blocks in a row asks for the zone
/// lock a few times only, and a batch is never more than what the thread has moved just before. A thread that moves the largest
/// batches and gives right after it took comes back for its blocks in waves: each such turn doubles the bound and moves nothing, until
/// the wave fits. A thread that only gives, what others take, never turns and keeps little. A stack whose last batch is two epochs old (half of the delay), or
/// that a pass has drained, starts small again.
/// <code>
/// high  = max(first high, 4 * batch)                             of one order and type, in blocks
/// high  = min(2 * high, MaxHigh)                                 at a turn
/// high * block &lt;= 8 MiB (order 0), 32 MiB, 64 MiB (9 and 10)     or 1/32 of the arena's cap, up to 32 MiB .. 512 MiB
/// batch &lt;= high                                                  so that a full stack has a batch to give
/// </code>
/// What lies in a stack for longer than the delay goes back by the passes, whatever the bounds are.</summary>
internal static class ThreadPagesLimits
{
    /// <summary>Entries of all orders of one type.</summary>
    public const int EntriesPerType = 8192 + 4096 + 4096 + 2048 + 2048 + 512 + 256 + 128 + 128 + 256 + 128;

    /// <summary>Epochs after which the next batch starts small again.</summary>
    public const ulong ForgetEpochs = 2;

    private static ReadOnlySpan<ushort> HighByOrder => [384, 192, 96, 64, 32, 16, 8, 4, 4, 4, 4];

    private static ReadOnlySpan<ushort> BatchByOrder => [64, 32, 16, 16, 8, 4, 4, 2, 2, 2, 2];

    private static ReadOnlySpan<ushort> MaxHighByOrder => [8192, 4096, 4096, 2048, 2048, 512, 256, 128, 128, 256, 128];

    private static ReadOnlySpan<ushort> SteadyHighByOrder => [2048, 1024, 512, 512, 256, 128, 64, 64, 32, 32, 16];

    private static ReadOnlySpan<ushort> MaxBatchByOrder => [512, 256, 128, 128, 64, 32, 16, 16, 8, 16, 8];

    /// <summary>At this many blocks of an order a stack that is not busy gives a batch back.</summary>
    public static int High(int order) => HighByOrder[order];

    /// <summary>Blocks of the first refill or drain.</summary>
    public static int Batch(int order) => BatchByOrder[order];

    /// <summary>The most blocks that one stack ever has.</summary>
    public static int MaxHigh(int order) => MaxHighByOrder[order];

    /// <summary>The most blocks that move under one hold of a zone lock.</summary>
    public static int MaxBatch(int order) => MaxBatchByOrder[order];

    /// <summary>The most blocks that one stack of an arena has, whose threads may keep so many pages in a stack each.</summary>
    public static int MaxHigh(int order, ulong sharePages) => (int)Math.Clamp(sharePages >> order, SteadyHighByOrder[order], (ulong)MaxHigh(order));

    /// <summary>The pages that a thread may keep in one stack, of an arena with this cap.</summary>
    public static ulong SharePages(ulong capPages) => capPages / 32;

    /// <summary>The blocks to move now; the next time within two epochs it is twice as many. The owner is busy.</summary>
    public static unsafe int NextBatch(ThreadBin* bin, int order, ulong epoch, bool isRefill)
    {
        if (epoch - bin->MovedAt >= ForgetEpochs)
        {
            Shrink(bin, order);
        }

        int batch = bin->Batch;
        bin->MovedAt = epoch;
        bin->Batch = Math.Min(batch * 2, MaxBatch(order));
        bin->WasRefill = isRefill ? 1 : 0;
        bin->High = Math.Max(bin->High, Math.Min(4 * batch, SteadyHighByOrder[order]));
        return batch;
    }

    /// <summary>A full stack: grows where the thread turns from taking to giving, so that nothing need be moved. The owner is busy.</summary>
    public static unsafe bool TryGrowAtTurn(ThreadBin* bin, int order, ulong epoch, ulong sharePages)
    {
        int most = MaxHigh(order, sharePages);
        if (bin->WasRefill == 0 || bin->Batch < MaxBatch(order) || bin->High >= most || epoch - bin->MovedAt >= ForgetEpochs)
        {
            return false;
        }

        bin->WasRefill = 0;
        bin->High = Math.Min(2 * bin->High, most);
        return true;
    }

    /// <summary>Starts small again; what is there may stay. Its gate is shut, or its owner busy.</summary>
    public static unsafe void Shrink(ThreadBin* bin, int order)
    {
        bin->Batch = Batch(order);
        bin->High = Math.Max(High(order), bin->Count);
    }
}
