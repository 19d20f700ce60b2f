using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The border between raw blocks (above) and treated blocks (below) of one free list: the first treated node, or the
/// list's head where nothing is treated. The series had one membrane per order, moved between migratetypes; here every list has
/// its own, so that
/// <code>list = raw* membrane treated*</code>
/// holds after every step, whatever the order of insertions, and the oldest raw block is found with one look. Zone lock held.</summary>
internal static class Membrane
{
    /// <summary>Links a treated block directly above the membrane and makes it the membrane: the treated run grows upward.</summary>
    public static unsafe void InsertTreated(ListHead** membrane, ListHead* node)
    {
        ListHeads.AddBefore(node, *membrane);
        *membrane = node;
    }

    /// <summary>Links a raw block as the last raw one, directly above the membrane, which stays.</summary>
    public static unsafe void InsertRawLast(ListHead** membrane, ListHead* node) => ListHeads.AddBefore(node, *membrane);

    /// <summary>Links a raw block as the first of the list.</summary>
    public static unsafe void InsertRawFirst(ListHead* list, ListHead* node) => ListHeads.AddAfter(node, list);

    /// <summary>Unlinks a block; where it was the membrane, its lower neighbour becomes it (patch 6).</summary>
    public static unsafe void Remove(ListHead** membrane, ListHead* node)
    {
        if (*membrane == node)
        {
            *membrane = node->Next;
        }

        ListHeads.Remove(node);
    }

    /// <summary>The raw block directly above, which is the oldest; null where there is none.</summary>
    public static unsafe ListHead* LastRaw(ListHead* list, ListHead** membrane)
    {
        ListHead* above = (*membrane)->Prev;
        return above == list ? null : above;
    }
}
