using System;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The blocks that one thread keeps of one arena (the kernel's per_cpu_pages): a stack for each order and type. Entries are
/// Cached in their struct page and keep their marks. The drainer holds no zone lock while it waits, so an owner that waits for a zone
/// lock while busy gets it. <see cref="Mine"/> always points into the object that <see cref="Last"/> keeps alive.</summary>
internal sealed class ThreadPages : ThreadCache
{
    [ThreadStatic]
    private static ThreadPages? t_last;

    [ThreadStatic]
    private static unsafe ThreadPagesData* t_mine; // the data of t_last: the fast path saves the way through the object

    private readonly unsafe ThreadPagesData* _data;

    /// <summary>Empty pages for a thread, shut.</summary>
    public unsafe ThreadPages(PageArena arena, Thread owner, int preferredZone)
        : base(owner, arena.Id, ThreadPagesData.SizeInBytes, ThreadPagesData.Alignment, ThreadPagesLimits.EntriesPerType * MigrateTypes.PcpTypes * sizeof(uint))
    {
        Arena = arena;
        PreferredZone = preferredZone;
        _data = (ThreadPagesData*)Data;
        uint* next = (uint*)((byte*)_data + ThreadPagesData.SizeInBytes);
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            for (int type = 0; type < MigrateTypes.PcpTypes; type++)
            {
                ThreadBin* bin = Bin(new Order(order), (MigrateType)type);
                bin->Entries = next;
                ThreadPagesLimits.Shrink(bin, order);
                next += ThreadPagesLimits.MaxHigh(order);
            }
        }
    }

    /// <summary>The arena that the blocks are from.</summary>
    public PageArena Arena { get; }

    /// <summary>The zone that this thread asks first.</summary>
    public int PreferredZone { get; }

    /// <summary>The pages of the calling thread for the arena that it used last; null before its first use of any.</summary>
    public static unsafe ThreadPages? Last
    {
        get => t_last;
        set
        {
            t_mine = value is null ? null : value._data;
            t_last = value;
        }
    }

    /// <summary>What the fast path works on: the data of <see cref="Last"/>; null where that is null.</summary>
    public static unsafe ThreadPagesData* Mine
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => t_mine;
    }

    /// <summary>Resident bytes of the stacks, as the kernel says (mincore), rounded up to whole pages at both ends.</summary>
    public unsafe long ResidentBytes
    {
        get
        {
            // Sound: the memory is pinned, and its pages are mapped as long as this object is known.
            nint start = (nint)Unsafe.AsPointer(ref Storage[0]) & ~(nint)(PageblockLimits.PageSize - 1);
            nint end = ((nint)Unsafe.AsPointer(ref Storage[^1]) + PageblockLimits.PageSize) & ~(nint)(PageblockLimits.PageSize - 1);
            long pages = KernelView.ResidentPages(start, (nuint)(end - start));
            GC.KeepAlive(this);
            return pages * PageblockLimits.PageSize;
        }
    }

    /// <summary>The stack of one order and type.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe ThreadBin* Bin(Order order, MigrateType type) => ThreadPagesData.Bins(_data, 0) + IndexOf((uint)order.Value, type);

    /// <summary>The index of the stack of one order and type.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint IndexOf(uint order, MigrateType type) => (order * MigrateTypes.PcpTypes) + (uint)type;

    /// <summary>Takes the youngest block. The fast path of allocation.</summary>
    /// <param name="mine">The calling thread's <see cref="Mine"/>, not null; it may be another arena's.</param>
    /// <param name="gate">The arena's number.</param>
    /// <param name="map">The arena's struct pages.</param>
    /// <param name="index">Of the stack, see <see cref="IndexOf"/>.</param>
    /// <param name="pfn">The block.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool TryPop(ThreadPagesData* mine, int gate, PageMap map, uint index, out Pfn pfn)
    {
        if (TryEnter(&mine->Gate, gate))
        {
            ThreadBin* bin = ThreadPagesData.Bins(mine, 0) + index;
            uint count = (uint)bin->Count;
            if (count != 0)
            {
                count--;
                pfn = new Pfn(bin->Entries[count]);
                SchedulePoint.Here();
                bin->Count = (int)count;
                map[pfn]->State = PageState.User; // ends Cached, Treated and Zero in one store
                Exit(&mine->Gate);
                return true;
            }

            Exit(&mine->Gate);
        }

        pfn = default;
        return false;
    }

    /// <summary>As above, and says what the block carried.</summary>
    public static unsafe bool TryPopMarked(ThreadPagesData* mine, int gate, PageMap map, uint index, out Pfn pfn, out BlockMarks marks)
    {
        if (TryEnter(&mine->Gate, gate))
        {
            ThreadBin* bin = ThreadPagesData.Bins(mine, 0) + index;
            if (bin->Count != 0)
            {
                Pop(bin, map, out pfn, out marks);
                Exit(&mine->Gate);
                return true;
            }

            Exit(&mine->Gate);
        }

        pfn = default;
        marks = default;
        return false;
    }

    /// <summary>Takes the youngest block of a stack that is not empty. The owner is busy.</summary>
    public static unsafe void Pop(ThreadBin* bin, PageMap map, out Pfn pfn, out BlockMarks marks)
    {
        pfn = new Pfn(bin->Entries[--bin->Count]);
        Page* head = map[pfn];
        marks = BlockMarks.Of(head);
        head->State = PageState.User;
    }

    /// <summary>Keeps a block that its user gives back. False: no room, the gate is shut or another arena's, a range, or a pageblock
    /// type that threads do not keep. The fast path of freeing; the caller has seen that the block is the user's.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool TryPush(ThreadPagesData* mine, int gate, PageMap map, Page* head, Pfn pfn, ulong epoch)
    {
        if (TryEnter(&mine->Gate, gate))
        {
            // Read behind the open gate: isolation shuts it, and changes what a block that spans pageblocks says of itself.
            ulong order = head->Private;
            MigrateType type = map.TypeOf(pfn);
            if (order <= PageblockLimits.MaxOrder && (uint)type < MigrateTypes.PcpTypes)
            {
                ThreadBin* bin = ThreadPagesData.Bins(mine, 0) + IndexOf((uint)order, type);
                uint count = (uint)bin->Count;
                if (count < (uint)bin->High)
                {
                    bin->Entries[count] = pfn.Value;
                    SchedulePoint.Here();
                    bin->Count = (int)(count + 1);
                    head->FreedAt = epoch;
                    head->State = CachedState;
                    Exit(&mine->Gate);
                    return true;
                }
            }

            Exit(&mine->Gate);
        }

        return false;
    }

    /// <summary>The state word of a block in a thread's pages that carries no mark.</summary>
    public const ulong CachedState = 0xffff_ffff & ~(ulong)PageType.CachedBit;

    /// <summary>The same of one that reads zero.</summary>
    public const ulong CachedZeroState = CachedState & ~(ulong)PageType.ZeroBit;

    /// <inheritdoc/>
    public override bool LooksEmpty => Pages == 0;

    /// <inheritdoc/>
    public override bool IsOrphan => Arena.IsDisposed;

    /// <summary>Pages kept. Without freezing: a hint.</summary>
    public unsafe long Pages
    {
        get
        {
            long pages = 0;
            for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
            {
                for (int type = 0; type < MigrateTypes.PcpTypes; type++)
                {
                    pages += (long)Volatile.Read(ref Bin(new Order(order), (MigrateType)type)->Count) << order;
                }
            }

            return pages;
        }
    }

    /// <summary>Removes the oldest entries of a stack. Its gate is shut, or its owner busy.</summary>
    public static unsafe void DropOldest(ThreadBin* bin, int count)
    {
        int left = bin->Count - count;
        Buffer.MemoryCopy(bin->Entries + count, bin->Entries, (long)left * sizeof(uint), (long)left * sizeof(uint));
        bin->Count = left;
    }
}
