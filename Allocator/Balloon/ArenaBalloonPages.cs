using System;
using System.Diagnostics.Tracing;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The arena as the balloon sees it. Pages in the balloon count as taken: what the host holds, nobody else can have.</summary>
internal sealed class ArenaBalloonPages : IBalloonPages
{
    private readonly PageArena _arena;
    private readonly uint? _poison;
    private int _turn;

    /// <summary>The balloon's view of an arena; deflated pages get the arena's poison value (VIRTIO 1.2, 5.5.6.6).</summary>
    public ArenaBalloonPages(PageArena arena, uint? poison)
    {
        _arena = arena;
        _poison = poison;
    }

    /// <inheritdoc/>
    public bool IsShort => _arena.Budget.IsBelowLow;

    /// <inheritdoc/>
    public bool TryTake(Order order, out Pfn head)
    {
        head = default;
        if (!_arena.Budget.TryTake(order.Pages, default))
        {
            return false;
        }

        ReadOnlySpan<Zone> zones = _arena.Zones;
        int first = (int)(unchecked((uint)Interlocked.Increment(ref _turn)) % (uint)zones.Length);
        for (int i = 0; i < zones.Length; i++)
        {
            Zone zone = zones[(first + i) % zones.Length];
            zone.Enter();
            bool taken = zone.TryInflateLocked(order, out head);
            zone.Exit();
            if (taken)
            {
                if (ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Host))
                {
                    ArenaEvents.Log.Inflate(order.Pages);
                }

                return true;
            }
        }

        _arena.Budget.Release(order.Pages);
        return false;
    }

    /// <inheritdoc/>
    public unsafe void Give(Pfn head, Order order)
    {
        if (_poison is uint value)
        {
            // Sound: the block lies in the arena and belongs to the balloon until DeflateLocked below.
            new Span<uint>(_arena.BaseAddress + head.ByteOffset, (int)(order.Bytes / sizeof(uint))).Fill(value);
        }

        Zone zone = _arena.ZoneOf(head);
        zone.Enter();
        zone.DeflateLocked(head, order, BlockMarks.Raw(_arena.Epoch));
        zone.Exit();
        _arena.Budget.Release(order.Pages);
        if (ArenaEvents.Log.IsEnabled(EventLevel.Informational, ArenaEvents.Keywords.Host))
        {
            ArenaEvents.Log.Deflate(order.Pages);
        }
    }

    /// <inheritdoc/>
    public int Fill(Span<BalloonStat> statistics)
    {
        ReadOnlySpan<(BalloonStatTag Tag, ulong Bytes)> known =
        [
            (BalloonStatTag.FreeMemory, FreeBytes()),
            (BalloonStatTag.TotalMemory, _arena.Budget.CapPages << PageblockLimits.PageShift),
            (BalloonStatTag.AvailableMemory, (_arena.Budget.CapPages - Math.Min(_arena.Budget.CapPages, _arena.Budget.TakenPages)) << PageblockLimits.PageShift),
        ];
        int count = Math.Min(statistics.Length, known.Length);
        for (int i = 0; i < count; i++)
        {
            statistics[i] = new BalloonStat { Tag = (ushort)known[i].Tag, Val = known[i].Bytes };
        }

        return count;
    }

    private ulong FreeBytes()
    {
        ulong pages = 0;
        foreach (Zone zone in _arena.Zones)
        {
            pages += zone.FreePages;
        }

        return pages << PageblockLimits.PageShift;
    }
}
