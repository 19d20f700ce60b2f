using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What the balloon asks of the arena. The balloon calls with its own lock held, so nothing here may call the balloon
/// back; taking the zone lock is fine.</summary>
internal interface IBalloonPages
{
    /// <summary>Free memory is under the low watermark: no time to inflate.</summary>
    bool IsShort { get; }

    /// <summary>Takes a block for the balloon; it counts as inflated until it is given back. Never waits and never deflates.</summary>
    bool TryTake(Order order, out Pfn head);

    /// <summary>Takes back a block that <see cref="TryTake"/> gave.</summary>
    void Give(Pfn head, Order order);

    /// <summary>Writes the statistics that the arena knows (VIRTIO 1.2, 5.5.6.4; memory in bytes).</summary>
    /// <returns>How many; at most the span's length.</returns>
    int Fill(Span<BalloonStat> statistics);
}
