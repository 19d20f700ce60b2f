using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What the kernel is told of the pages behind pageblocks and of their struct pages. Everything here is advice: where the kernel
/// refuses, memory stays resident for longer, and nothing else happens.
/// <para>A pageblock is backed by one huge page from its first touch (the arena is MADV_HUGEPAGE). Dropping a part of that lowers RSS and not
/// the cgroup's charge, and khugepaged would fill the hole again. So a mixed pageblock is first advised against huge pages, its holes are
/// dropped, and MADV_COLD on one page that is in use splits the huge page, which frees what was dropped (mm/madvise.c, 6.18: a range that
/// covers a part of a large folio splits it). When it is free as a whole it is dropped as a whole and advised for huge pages again.</para></summary>
internal sealed class PageblockBacking
{
    /// <summary>Pageblocks that may be advised against huge pages at one time: each may cost two mappings, of which a process has 65530
    /// by default (vm.max_map_count). Beyond, holes are dropped all the same, and khugepaged may slowly fill them.</summary>
    public const int SmallMax = 16_384;

    private const uint StructPagesPerPage = PageblockLimits.PageSize / (uint)Page.SizeInBytes;

    private readonly IOperatingSystem _os;
    private readonly ArenaMemory _memory;
    private readonly bool _isAdvised;
    private int _small;

    /// <summary>The backing of an arena's pageblocks.</summary>
    public PageblockBacking(IOperatingSystem os, ArenaMemory memory, PageArenaOptions options)
    {
        _os = os;
        _memory = memory;
        // A hole that is punched in a memfd splits its huge page by itself, and without huge pages there is nothing to split.
        HugePageMode mode = options.Backing == ArenaBacking.Anonymous ? os.HugePageMode : HugePageMode.Never;
        IsHuge = options.HugePages switch
        {
            HugePages.Advise => mode != HugePageMode.Never,
            HugePages.System => mode == HugePageMode.Always,
            _ => false,
        };

        // Where the system's setting is to decide, nothing is advised, and khugepaged may slowly fill holes again.
        _isAdvised = IsHuge && options.HugePages == HugePages.Advise;
    }

    /// <summary>Whether the first touch of a free pageblock makes all of it resident.</summary>
    public bool IsHuge { get; }

    /// <summary>Pageblocks advised against huge pages now.</summary>
    public int SmallPageblocks => _small;

    /// <summary>Before holes of a pageblock are dropped. The flag is the zone's; its lock is taken here.</summary>
    public unsafe void Divide(Zone zone, uint block)
    {
        if (!_isAdvised || _small >= SmallMax || _os.Advise(AddressOf(block), Order.Pageblock.Bytes, MemoryAdvice.NoHugePage) != Errno.None)
        {
            return;
        }

        zone.Enter();
        PageblockData* data = _memory.Map.Block(block);
        _small += (data->Flags & PageblockFlags.Small) == 0 ? 1 : 0;
        data->Flags |= PageblockFlags.Small;
        zone.ExitQuietly();
        if (ArenaEvents.TracesPageblocks)
        {
            ArenaEvents.Log.PageblockDivided(zone.Number, block, _small);
        }
    }

    /// <summary>After holes of a pageblock were dropped: splits its huge page through a page that is still in use. Threads that touch the
    /// pageblock meanwhile wait for some hundred microseconds.</summary>
    public void Split(Pfn inUse)
    {
        if (IsHuge)
        {
            _os.Advise(_memory.Base + (nint)inUse.ByteOffset, PageblockLimits.PageSize, MemoryAdvice.Cold);
            if (ArenaEvents.TracesPageblocks)
            {
                ArenaEvents.Log.HugePageSplit(inUse.Pageblock);
            }
        }
    }

    /// <summary>After a whole block of order 9 or 10 was dropped, while the reactor has it: huge pages again where they were advised against,
    /// and its struct pages go where they may be resident. Only the head's stays; the others are all-zero, as they read afterwards.</summary>
    public unsafe void Restore(Zone zone, Pfn pfn, Order order)
    {
        PageblockFlags flags = 0;
        uint blocks = order.Pages >> PageblockLimits.PageblockOrder;
        for (uint i = 0; i < blocks; i++)
        {
            // Sound without the lock: nobody else has these pageblocks, and their flags change only with them.
            flags |= _memory.Map.Block(pfn.Pageblock + i)->Flags;
        }

        if (flags == 0)
        {
            return;
        }

        if ((flags & PageblockFlags.Small) != 0)
        {
            _os.Advise(AddressOf(pfn.Pageblock), order.Bytes, MemoryAdvice.HugePage);
        }

        if ((flags & PageblockFlags.Carved) != 0)
        {
            DropStructPages(pfn, order.Pages);
        }

        zone.Enter();
        for (uint i = 0; i < blocks; i++)
        {
            PageblockData* data = _memory.Map.Block(pfn.Pageblock + i);
            _small -= (data->Flags & PageblockFlags.Small) != 0 ? 1 : 0;
            data->Flags &= ~(PageblockFlags.Small | PageblockFlags.Carved);
        }

        zone.ExitQuietly();
        if ((flags & PageblockFlags.Small) != 0 && ArenaEvents.TracesPageblocks)
        {
            ArenaEvents.Log.PageblockRestored(zone.Number, pfn.Pageblock, _small);
        }
    }

    /// <summary>Drops the struct pages inside a block that the reactor has, as far as they fill pages of their own: all but the head's page.</summary>
    public void DropStructPages(Pfn head, uint pages)
    {
        if (pages > StructPagesPerPage)
        {
            Pfn first = head + StructPagesPerPage;
            _os.Advise(_memory.MetadataAddress(first), (nuint)(pages - StructPagesPerPage) * (nuint)Page.SizeInBytes, MemoryAdvice.DontNeed);
        }
    }

    private nint AddressOf(uint block) => _memory.Base + (nint)Pfn.FromPageblock(block).ByteOffset;
}
