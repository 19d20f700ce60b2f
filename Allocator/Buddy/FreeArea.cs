using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Where a raw block goes in its list; a treated one always goes directly above the membrane.</summary>
internal enum Placement
{
    /// <summary>First: it will be taken next.</summary>
    Head,

    /// <summary>Last of the raw ones: it has rested, or is likely to merge soon.</summary>
    Tail,
}

/// <summary>The free blocks of one order of one zone. The counters change here and nowhere else, by what the page says:
/// <code>
/// raw     = blocks on these lists without Treated, all types, Isolate included
/// treated = blocks with it
/// raw = sum of raw_of, treated = sum of treated_of
/// </code>
/// The zone lock is held around every method.</summary>
internal readonly struct FreeArea
{
    private readonly unsafe FreeAreaData* _data;

    public unsafe FreeArea(FreeAreaData* data) => _data = data;

    /// <summary>Empties all lists.</summary>
    public unsafe void Initialize()
    {
        for (int type = 0; type < MigrateTypes.Count; type++)
        {
            ListHead* list = List((MigrateType)type);
            ListHeads.Init(list);
            *MembraneOf((MigrateType)type) = list;
        }
    }

    /// <summary>Blocks that the host was not told of.</summary>
    public unsafe ulong Raw => _data->NrRaw;

    /// <summary>Raw blocks that may be treated: all but Isolate's. What treatment starts, goes on and ends by is this count: the
    /// series looked at <see cref="Raw"/>, and looped for ever over a block that it could see and not take. Without the lock a hint, never
    /// less than zero.</summary>
    public unsafe ulong Treatable => (ulong)System.Math.Max(0, (long)_data->NrRaw - RawOf(MigrateType.Isolate));

    /// <summary>Blocks that it was told of.</summary>
    public unsafe ulong Treated => _data->NrTreated;

    /// <summary>Raw blocks of one type.</summary>
    public unsafe long RawOf(MigrateType type) => *FreeAreaData.RawOf(_data, (int)type);

    /// <summary>Treated blocks of one type.</summary>
    public unsafe long TreatedOf(MigrateType type) => *FreeAreaData.TreatedOf(_data, (int)type);

    /// <summary>The head of one type's list.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe ListHead* List(MigrateType type) => FreeAreaData.FreeList(_data, (int)type);

    /// <summary>The place where one type's membrane is kept.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe ListHead** MembraneOf(MigrateType type) => FreeAreaData.Membrane(_data, (int)type);

    /// <summary>Whether one type has no block of this order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe bool IsEmpty(MigrateType type) => List(type)->Next == List(type);

    /// <summary>The block to hand out next: raw (resident) before treated; null where there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe Page* First(MigrateType type)
    {
        ListHead* list = List(type);
        return list->Next == list ? null : PageMap.PageOf(list->Next);
    }

    /// <summary>The first raw block of one type, null where there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe Page* FirstRaw(MigrateType type)
    {
        ListHead* first = List(type)->Next;
        return first == *MembraneOf(type) ? null : PageMap.PageOf(first);
    }

    /// <summary>The first treated block of one type, null where there is none.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe Page* FirstTreated(MigrateType type)
    {
        ListHead* first = *MembraneOf(type);
        return first == List(type) ? null : PageMap.PageOf(first);
    }

    /// <summary>Writes the head's struct page and links it. The page must be on no list.</summary>
    public unsafe void Add(Page* head, Order order, MigrateType type, BlockMarks marks, Placement placement)
    {
        head->Private = (ulong)order.Value;
        head->Index = (ulong)type;
        head->FreedAt = marks.FreedAt;
        head->State = PageState.Of(marks.On(PageType.None.WithBuddy()));
        ListHead* node = PageMap.NodeOf(head);
        ListHead** membrane = MembraneOf(type);
        if (marks.Treated)
        {
            Membrane.InsertTreated(membrane, node);
            _data->NrTreated++;
            ++*FreeAreaData.TreatedOf(_data, (int)type);
            return;
        }

        if (placement == Placement.Head)
        {
            Membrane.InsertRawFirst(List(type), node);
        }
        else
        {
            Membrane.InsertRawLast(membrane, node);
        }

        _data->NrRaw++;
        ++*FreeAreaData.RawOf(_data, (int)type);
    }

    /// <summary>Unlinks a head; its marks are returned and its struct page is left for the caller to write.</summary>
    public unsafe BlockMarks Remove(Page* head)
    {
        BlockMarks marks = BlockMarks.Of(head);
        Membrane.Remove(MembraneOf((MigrateType)head->Index), PageMap.NodeOf(head));
        if (marks.Treated)
        {
            _data->NrTreated--;
            --*FreeAreaData.TreatedOf(_data, (int)head->Index);
        }
        else
        {
            _data->NrRaw--;
            --*FreeAreaData.RawOf(_data, (int)head->Index);
        }

        return marks;
    }

    /// <summary>The raw block that rests longest; null where this type has none.</summary>
    public unsafe Page* LastRaw(MigrateType type)
    {
        ListHead* node = Membrane.LastRaw(List(type), MembraneOf(type));
        return node == null ? null : PageMap.PageOf(node);
    }

    /// <summary>The raw block above another one of the same list; null at the top.</summary>
    public unsafe Page* RawAbove(Page* block)
    {
        ListHead* above = PageMap.NodeOf(block)->Prev;
        return above == List((MigrateType)block->Index) ? null : PageMap.PageOf(above);
    }
}
