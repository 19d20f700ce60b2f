using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>One zone of an arena: a contiguous part of its pages with free areas, watermarks and a lock of its own. Blocks never
/// cross zones: a zone starts and ends at multiples of the largest block.
/// <code>
/// free       = sum over orders of (raw[o] + treated[o]) * 2^o - isolated
/// spanned    = unreached + free + isolated + reactor + quarantined + inflated + taken
/// reached    : pages from reached on are on no list and their struct pages are all-zero
/// raw of a pageblock = pages of its raw free blocks below order 9
/// two buddies of one order are never both on free lists, except across the border of an isolated pageblock
/// </code>
/// Members named ...Locked, and all others that say so, are called between <see cref="Enter"/> and <see cref="Exit"/>.</summary>
internal sealed partial class Zone
{
    private readonly unsafe ZoneData* _data;
    private readonly ArenaMemory _memory;
    private readonly PageMap _map;
    private readonly Shuffle? _shuffle;
    private HighWaterMarks? _listener;
    private int _leastListened = int.MaxValue; // the free path compares one number, whether anybody listens or not
    private bool _markReached;

    /// <summary>A zone over [start, start + pages); its <paramref name="data"/> reads zero.</summary>
    public unsafe Zone(ZoneData* data, ArenaMemory memory, ZoneSpan span, Watermarks marks, ulong? shuffleSeed)
    {
        _data = data;
        _memory = memory;
        _map = memory.Map;
        _shuffle = shuffleSeed is ulong seed ? new Shuffle(seed) : null;
        data->Number = span.Number;
        data->Node = span.Node;
        data->ZoneStartPfn = span.Start.Value;
        data->SpannedPages = span.Pages;
        data->ReachedPfn = span.Start.Value;
        *ZoneData.Watermark(data, (int)WatermarkLevel.Min) = marks.Min;
        *ZoneData.Watermark(data, (int)WatermarkLevel.Low) = marks.Low;
        *ZoneData.Watermark(data, (int)WatermarkLevel.High) = marks.High;
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            Area(new Order(order)).Initialize();
        }
    }

    /// <summary>Whether a page lies in this zone.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe bool Contains(Pfn pfn) => unchecked(pfn.Value - _data->ZoneStartPfn) < _data->SpannedPages;

    /// <summary>Whether somebody holds the lock at this instant: a hint.</summary>
    public unsafe bool LooksHeld => ZoneLock.LooksHeld(ref _data->Lock);

    /// <summary>Position in the arena.</summary>
    public unsafe int Number => _data->Number;

    /// <summary>NUMA node.</summary>
    public unsafe int Node => _data->Node;

    /// <summary>First page.</summary>
    public unsafe Pfn Start => new((uint)_data->ZoneStartPfn);

    /// <summary>Page behind the last; may be 2^32, so it is wider than a <see cref="Pfn"/>.</summary>
    public unsafe ulong End => _data->ZoneStartPfn + _data->SpannedPages;

    /// <summary>Pages in all.</summary>
    public unsafe ulong SpannedPages => _data->SpannedPages;

    /// <summary>Pages from here on were never used. Read without the lock: a hint.</summary>
    public unsafe ulong ReachedPfn => _data->ReachedPfn;

    /// <summary>Pages never used. A hint without the lock, as are all counters below.</summary>
    public ulong UnreachedPages => End - ReachedPfn;

    /// <summary>Pages on free lists other than Isolate's.</summary>
    public unsafe ulong FreePages => _data->NrFree;

    /// <summary>Pages on Isolate's lists.</summary>
    public unsafe ulong IsolatedPages => _data->NrIsolated;

    /// <summary>Pageblocks of type Isolate.</summary>
    public unsafe ulong IsolatedPageblocks => _data->NrIsolatePageblock;

    /// <summary>Pages in the reactor.</summary>
    public unsafe ulong InReactorPages => _data->NrInReactor;

    /// <summary>Pages in quarantine.</summary>
    public unsafe ulong QuarantinedPages => _data->NrQuarantined;

    /// <summary>Pages that the balloon holds.</summary>
    public unsafe ulong InflatedPages => _data->NrInflated;

    /// <summary>Pages in pageblocks of type HighAtomic.</summary>
    public unsafe ulong HighAtomicPages => _data->NrReservedHighatomic;

    /// <summary>The zone's share of a watermark.</summary>
    public unsafe ulong Watermark(WatermarkLevel level) => *ZoneData.Watermark(_data, (int)level);

    /// <summary>The free lists of one order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe FreeArea Area(Order order) => new(ZoneData.FreeArea(_data, order.Value));

    /// <summary>Struct pages and pageblock types.</summary>
    public PageMap Map => _map;

    /// <summary>Who is told, under the lock, that the raw blocks of an order have reached the start mark. Null while nothing
    /// listens: then the free path pays one test (patch 11 hides the same behind a static key).</summary>
    public HighWaterMarks? Listener
    {
        get => _listener;
        set
        {
            _listener = value;
            _leastListened = value?.Least.Value ?? int.MaxValue;
        }
    }

    /// <summary>Takes the lock. A test may watch who holds it; nobody calls the OS or waits for anything else inside.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe void Enter() => ZoneLock.Enter(_data);

    /// <summary>Gives the lock back. True: a high-water mark was reached meanwhile and the caller, now outside the lock, is to call
    /// <see cref="Aerator.OnHighWaterMark"/>. (The series dropped the lock in the middle of the free path for this.)</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe bool Exit()
    {
        bool signal = _markReached;
        _markReached = false;
        ZoneLock.Exit(ref _data->Lock);
        return signal;
    }

    /// <summary>Gives the lock back and leaves a mark that was reached for the next holder to tell.</summary>
    public unsafe void ExitQuietly() => ZoneLock.Exit(ref _data->Lock);

    /// <summary>Adds to the free or the isolated pages, by the list that a block is on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private unsafe void Account(MigrateType list, long pages)
    {
        unchecked
        {
            if (list == MigrateType.Isolate)
            {
                _data->NrIsolated += (ulong)pages;
            }
            else
            {
                _data->NrFree += (ulong)pages;
            }
        }
    }

    /// <summary>Links a block that this zone owns; the only way onto a free list. Lock held.</summary>
    private unsafe void AddLocked(Page* head, Order order, MigrateType type, BlockMarks marks, Placement placement)
    {
        Area(order).Add(head, order, type, marks, placement);
        Account(type, order.Pages);
        if (order < Order.Pageblock)
        {
            PageblockData* block = _map.Block(_map.PfnOf(head).Pageblock);
            block->Flags |= PageblockFlags.Carved;
            block->Raw += marks.Treated ? (ushort)0 : (ushort)order.Pages;
        }
    }

    /// <summary>Unlinks a free block; the only way off a free list. Lock held.</summary>
    private unsafe BlockMarks RemoveLocked(Page* head)
    {
        Order order = new((int)head->Private);
        BlockMarks marks = Area(order).Remove(head);
        Account((MigrateType)head->Index, -(long)order.Pages);
        if (order < Order.Pageblock && !marks.Treated)
        {
            PageblockData* block = _map.Block(_map.PfnOf(head).Pageblock);
            block->Raw -= (ushort)order.Pages;
        }

        return marks;
    }

    /// <summary>Puts a free block on another list of its order; what the host knows of it stays known (the series forgot it).</summary>
    private unsafe void MoveLocked(Page* head, MigrateType type)
    {
        Order order = new((int)head->Private);
        BlockMarks marks = RemoveLocked(head);
        AddLocked(head, order, type, marks, Placement.Head);
    }
}

/// <summary>Where a zone lies.</summary>
internal readonly record struct ZoneSpan(int Number, int Node, Pfn Start, ulong Pages);
