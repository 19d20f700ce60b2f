using System;
using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Many blocks of one order under one hold of the lock: the same blocks as one by one, with less work on the lists.</summary>
internal sealed partial class Zone
{
    /// <summary>Takes blocks for a thread's pages. A larger block that would be taken apart piece by piece anyway, because it is the
    /// smallest that there is, is taken whole and fanned out in the order of its addresses: one list operation for all of its
    /// pieces. What is not wanted of it goes back as the largest blocks that it has. Lock held.</summary>
    /// <param name="into">Page frame numbers, best first. Each heads a Cached block afterwards.</param>
    /// <param name="count">How many are wanted.</param>
    /// <param name="order">Their order.</param>
    /// <param name="type">For whom they are.</param>
    /// <param name="flags">How to go about it.</param>
    /// <param name="epoch">They rest from this epoch on.</param>
    /// <returns>How many there are.</returns>
    public unsafe int TakeManyLocked(uint* into, int count, Order order, MigrateType type, AllocFlags flags, ulong epoch)
    {
        int taken = 0;
        count = (int)Math.Min((ulong)count, Affordable(order, flags));
        while (taken < count)
        {
            Page* head = CheapestOwn(order, type);
            if (head == null)
            {
                // Steals or grows; what that leaves over is on the lists then.
                if (!TryTakeLocked(order, type, flags, out Pfn pfn, out BlockMarks found))
                {
                    break;
                }

                Keep(pfn, order, type, PageState.Of(found.On(PageType.None.WithCached())), epoch);
                into[taken++] = pfn.Value;
                continue;
            }

            int from = (int)head->Private;
            int pieces = Math.Min(count - taken, 1 << (from - order.Value));
            Pfn first = _map.PfnOf(head);
            BlockMarks marks = RemoveLocked(head);
            CountReuse(marks, (uint)pieces << order.Value);
            BlockMarks ofPiece = marks;
            if (from >= PageblockLimits.PageblockOrder && order < Order.Pageblock)
            {
                ofPiece = MarksOfPart(order, marks);
                Carve(first, (uint)pieces << order.Value);
            }

            FanOut(into + taken, pieces, first, order, type, PageState.Of(ofPiece.On(PageType.None.WithCached())), epoch);
            if (pieces < 1 << (from - order.Value))
            {
                PutBackLocked(first, (uint)pieces << order.Value, new Order(from), type, marks);
            }

            taken += pieces;
        }

        return taken;
    }

    /// <summary>The struct pages of these pageblocks are about to be written.</summary>
    private unsafe void Carve(Pfn first, uint pages)
    {
        for (uint block = first.Pageblock; block <= (first + (pages - 1)).Pageblock; block++)
        {
            _map.Block(block)->Flags |= PageblockFlags.Carved;
        }
    }

    private unsafe void FanOut(uint* into, int pieces, Pfn first, Order order, MigrateType type, ulong state, ulong epoch)
    {
        for (int i = 0; i < pieces; i++)
        {
            Pfn pfn = first + ((uint)i << order.Value);
            Keep(pfn, order, type, state, epoch);
            into[i] = pfn.Value;
        }
    }

    /// <summary>Writes the head of a block that goes into a thread's pages. Its node is on no list and null already.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private unsafe void Keep(Pfn pfn, Order order, MigrateType type, ulong state, ulong epoch)
    {
        Page* head = _map[pfn];
        head->FreedAt = epoch;
        head->Index = (ulong)type;
        head->Private = (ulong)order.Value;
        head->State = state;
    }

    /// <summary>Gives back what is left of a block behind its first pages, largest part first, as splits would have left it.</summary>
    private unsafe void PutBackLocked(Pfn head, uint used, Order whole, MigrateType list, BlockMarks marks)
    {
        Pfn end = head + whole.Pages;
        for (int order = whole.Value - 1; order >= 0; order--)
        {
            uint pages = 1u << order;
            if (end - head >= used + pages)
            {
                end = new Pfn(end.Value - pages);
                BlockMarks left = whole >= Order.Pageblock ? MarksOfPart(new Order(order), marks) : marks;
                AddLocked(_map[end], new Order(order), list, left, Placement.Head);
            }
        }
    }

    /// <summary>Gives blocks of a thread's pages back. Neighbours that come in the order of their addresses, up or down, merge with each
    /// other before any list is touched. Lock held.</summary>
    /// <param name="blocks">Page frame numbers; each heads a Cached block of this zone.</param>
    /// <param name="count">How many.</param>
    /// <param name="order">Their order.</param>
    /// <param name="type">The list they are for, as in <see cref="FreeLocked"/>.</param>
    [SkipLocalsInit] // the scratch below is written before it is read
    public unsafe void FreeManyLocked(uint* blocks, int count, Order order, MigrateType type)
    {
        if (_data->NrIsolatePageblock != 0 || order == Order.Max)
        {
            // Each block's own pageblock decides where it goes, or nothing is left to merge.
            for (int i = 0; i < count; i++)
            {
                Pfn pfn = new(blocks[i]);
                FreeLocked(pfn, order, type, BlockMarks.Of(_map[pfn]));
            }

            return;
        }

        Merged* open = stackalloc Merged[MergedLimit];
        int depth = 0;
        for (int i = 0; i < count; i++)
        {
            Pfn pfn = new(blocks[i]);
            Merged now = new() { Pfn = pfn, Order = order, Marks = BlockMarks.Of(_map[pfn]) };
            while (depth > 0 && now.Order < Order.Max && open[depth - 1].Order == now.Order && open[depth - 1].Pfn == now.Pfn.Buddy(now.Order))
            {
                Join(ref now, open[--depth]);
            }

            if (depth == MergedLimit)
            {
                FlushLocked(open, depth, type);
                depth = 0;
            }

            open[depth++] = now;
        }

        FlushLocked(open, depth, type);
    }

    /// <summary>Blocks that are open to merging at one time: a run of neighbours is at most two of each order, rising and falling.</summary>
    private const int MergedLimit = 2 * PageblockLimits.Orders;

    /// <summary>A block on its way to the lists.</summary>
    private struct Merged
    {
        public Pfn Pfn;
        public Order Order;
        public BlockMarks Marks;
    }

    private unsafe void Join(ref Merged block, Merged buddy)
    {
        Pfn upper = block.Pfn.Value > buddy.Pfn.Value ? block.Pfn : buddy.Pfn;
        *_map[upper] = default; // interior from now on: all-zero
        block.Pfn = block.Pfn.Value < buddy.Pfn.Value ? block.Pfn : buddy.Pfn;
        block.Marks = block.Marks.MergedWith(buddy.Marks);
        block.Order = new Order(block.Order.Value + 1);
    }

    private unsafe void FlushLocked(Merged* open, int depth, MigrateType type)
    {
        for (int i = 0; i < depth; i++)
        {
            FreeLocked(open[i].Pfn, open[i].Order, type, open[i].Marks);
        }
    }
}
