using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The array of struct pages of an arena, one for each page (the kernel's memmap), and the pageblock bits beside it.
/// A struct page is non-zero exactly where its page heads a block; all others, interior or never reached, are all-zero and may
/// never have been written. (Inside a slab they hold its free bits, while it is one; their state is zero there, too.)</summary>
internal readonly struct PageMap
{
    private readonly unsafe Page* _pages;
    private readonly unsafe PageblockData* _blocks;

    /// <summary>The map over memory that holds <paramref name="pages"/> struct pages, the words of the pageblock bits and a struct for each
    /// pageblock.</summary>
    public unsafe PageMap(Page* pages, ulong* pageblockWords, PageblockData* blocks)
    {
        _pages = pages;
        _blocks = blocks;
        Pageblocks = new PageblockBits(pageblockWords);
    }

    /// <summary>Migratetypes of the pageblocks.</summary>
    public PageblockBits Pageblocks { get; }

    /// <summary>The struct page of a page.</summary>
    public unsafe Page* this[Pfn pfn]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => _pages + pfn.Value;
    }

    /// <summary>What treatment knows of a pageblock. Zone lock held.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe PageblockData* Block(uint block) => _blocks + block;

    /// <summary>The page that a struct page describes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe Pfn PfnOf(Page* page) => new((uint)(page - _pages));

    /// <summary>The struct page that a list node lies in.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe Page* PageOf(ListHead* node) => (Page*)((byte*)node - LruOffset);

    /// <summary>The list node of a struct page.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe ListHead* NodeOf(Page* page) => (ListHead*)((byte*)page + LruOffset);

    private const int LruOffset = 8;

    /// <summary>The migratetype of the pageblock that holds a page, as it is now; a hint unless the zone lock is held.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public MigrateType TypeOf(Pfn pfn) => Pageblocks.Get(pfn.Pageblock);

    /// <summary>Pages of the block that this struct page heads.</summary>
    public static unsafe uint PagesOf(Page* head) =>
        (head->Flags & PageFlags.Head) != 0 ? (uint)head->Index : 1u << (int)head->Private;
}
