using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace LowLevel.Native;

/// <summary>Operations on circular doubly linked lists whose nodes lie in unmanaged memory. A list is a <see
/// cref="ListHead"/> that belongs to no element; an empty one points to itself. Each operation takes constant time and
/// touches the node and its neighbours only. No operation is atomic: the owner of the list serialises them. Debug builds
/// assert that neighbours point to each other.</summary>
/// <remarks>Source: Linux v5.2, include/linux/list.h (what a list is; the code is this library's own).
/// <code>
///        +-------------------------------------------+
///        v                                           |
///     [head] --next--> [first] --next--> [last] --next
///     prev of head is last: adding at either end needs no walk
/// </code>
/// Every pointer must be valid and stay where it is while it is linked: nodes lie in mapped memory, never in a movable object.</remarks>
public static class ListHeads
{
    /// <summary>Makes a head an empty list, or a node one that is linked to itself only.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Init(ListHead* head)
    {
        head->Next = head;
        head->Prev = head;
    }

    /// <summary>Whether nothing is linked to this head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool IsEmpty(ListHead* head) => head->Next == head;

    /// <summary>Links a node that is on no list directly after another; after the head, it becomes the first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void AddAfter(ListHead* node, ListHead* place) => Link(node, place, place->Next);

    /// <summary>Links a node that is on no list directly before another; before the head, it becomes the last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void AddBefore(ListHead* node, ListHead* place) => Link(node, place->Prev, place);

    /// <summary>Links a node that is on no list as the first of a list.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void AddHead(ListHead* node, ListHead* head) => AddAfter(node, head);

    /// <summary>Links a node that is on no list as the last of a list.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void AddTail(ListHead* node, ListHead* head) => AddBefore(node, head);

    /// <summary>Takes a node off its list. Its own pointers become null: it is on no list, and a second removal faults instead of
    /// destroying another list.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Remove(ListHead* node)
    {
        ListHead* next = node->Next;
        ListHead* prev = node->Prev;
        Debug.Assert(prev->Next == node && next->Prev == node, "ListHeads.Remove: the node's neighbours do not point to it");
        prev->Next = next;
        SchedulePoint.Here();
        next->Prev = prev;
        node->Next = null;
        node->Prev = null;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe void Link(ListHead* node, ListHead* prev, ListHead* next)
    {
        Debug.Assert(prev->Next == next && next->Prev == prev, "ListHeads: the place is on no list, or the list is broken");
        node->Next = next;
        node->Prev = prev;
        SchedulePoint.Here();
        prev->Next = node;
        next->Prev = node;
    }
}
