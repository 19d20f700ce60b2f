using System;
using LowLevel.Interop.Balloon;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The arena's side of a balloon whose host cannot touch the arena: what goes into the balloon is dropped here, before the host is told
/// of it.</summary>
internal sealed class DroppingPages(IBalloonPages pages, IGuestBacking backing) : IBalloonPages
{
    /// <inheritdoc/>
    public bool IsShort => pages.IsShort;

    /// <inheritdoc/>
    public bool TryTake(Order order, out Pfn head)
    {
        if (!pages.TryTake(order, out head))
        {
            return false;
        }

        // What the system does not drop is in the balloon all the same: it is out of use, and the host's reading of resident bytes shows it.
        Span<ulong> dropped = stackalloc ulong[1];
        backing.Discard([new GuestRange(head.ByteOffset, order.Bytes)], dropped);
        return true;
    }

    /// <inheritdoc/>
    public void Give(Pfn head, Order order) => pages.Give(head, order);

    /// <inheritdoc/>
    public int Fill(Span<BalloonStat> statistics) => pages.Fill(statistics);
}
