using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>How much a thread keeps. Order 0 as the kernel does on a zone of a gigabyte (batches of 63, six of them), rounded to
/// powers of two; larger orders fewer, so that a thread never holds more than 16 MiB of one order and type.</summary>
internal static class ThreadPagesLimits
{
    /// <summary>Entries of all orders of one type.</summary>
    public const int EntriesPerType = 384 + 192 + 96 + 64 + 32 + 16 + 8 + 4 + 4 + 4 + 4;

    private static ReadOnlySpan<ushort> HighByOrder => [384, 192, 96, 64, 32, 16, 8, 4, 4, 4, 4];

    private static ReadOnlySpan<ushort> BatchByOrder => [64, 32, 16, 16, 8, 4, 4, 2, 2, 2, 2];

    /// <summary>At this many blocks of an order, a batch goes back to the zone.</summary>
    public static ushort High(int order) => HighByOrder[order];

    /// <summary>Blocks per refill and per drain.</summary>
    public static ushort Batch(int order) => BatchByOrder[order];
}
