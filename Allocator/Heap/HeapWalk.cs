using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Finds the blocks that a heap has, by what their struct pages say. For the end of a heap and for verification, not for every day:
/// it looks at one struct page for each 64 KiB that the arena has ever used.</summary>
internal static class HeapWalk
{
    /// <summary>Calls an action for each head; it may free the block.</summary>
    public static unsafe void Run(PageArena arena, int heap, Action<Slab> action)
    {
        foreach (Zone zone in arena.Zones)
        {
            for (ulong pfn = zone.Start.Value; pfn < zone.ReachedPfn; pfn += new Order(SizeClasses.SlabOrder).Pages)
            {
                Page* head = arena.Map[new Pfn((uint)pfn)];
                if (head->Heap == heap)
                {
                    action(new Slab(head));
                }
            }
        }
    }
}
