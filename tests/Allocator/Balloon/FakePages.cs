using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>An arena that hands out blocks from its first page upwards and keeps account of them.</summary>
internal sealed class FakePages : IBalloonPages
{
    private readonly Dictionary<Pfn, Order> _taken = [];
    private uint _next;
    private int _portion;

    /// <summary>The first page, a multiple of the largest block.</summary>
    public uint First
    {
        get;
        init => _next = field = value;
    }

    /// <summary>Pages that may be taken altogether.</summary>
    public uint Limit { get; set; } = 2048;

    /// <summary>Larger blocks are not to be had.</summary>
    public int OrderMax { get; set; } = 10;

    /// <summary>After so many blocks one is refused, which ends a request.</summary>
    public int Portion { get; set; } = int.MaxValue;

    public bool IsShort { get; set; }

    public uint TakenPages { get; private set; }

    public int LargestOrder { get; private set; }

    public ulong FreeBytes { get; set; } = 4096;

    /// <summary>Runs inside each call: whoever blocks here shows who waits.</summary>
    public Action? Before { get; set; }

    public IReadOnlyCollection<Pfn> Taken => _taken.Keys;

    public bool TryTake(Order order, out Pfn head)
    {
        Before?.Invoke();
        head = new Pfn((_next + order.Pages - 1) & ~(order.Pages - 1));
        if (order.Value > OrderMax || TakenPages + order.Pages > Limit || _portion == Portion)
        {
            _portion = order.Value > OrderMax ? _portion : 0;
            return false;
        }

        _portion++;

        _next = head.Value + order.Pages;
        _taken.Add(head, order);
        TakenPages += order.Pages;
        LargestOrder = Math.Max(LargestOrder, order.Value);
        return true;
    }

    public void Give(Pfn head, Order order)
    {
        if (!_taken.Remove(head, out Order taken) || taken != order)
        {
            throw new InvalidOperationException($"{head} of {order} was not taken so");
        }

        TakenPages -= order.Pages;
        _next = _taken.Count == 0 ? First : _next;
    }

    public int Fill(Span<BalloonStat> statistics)
    {
        statistics[0] = new BalloonStat { Tag = (ushort)BalloonStatTag.FreeMemory, Val = FreeBytes };
        return 1;
    }
}
