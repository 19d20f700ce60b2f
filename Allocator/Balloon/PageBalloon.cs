using System;
using System.Collections.Generic;
using System.Numerics;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The blocks that the host has asked for (queues 0 and 1): takes them from the arena until there are as many pages as
/// the host wants, gives them back when it wants fewer or memory is short. Never waits for the device: the interrupt brings the
/// caller back. The caller serialises.
/// <code>
/// held    = blocks in the balloon, what config.actual says
/// moving  = blocks of the one inflate request with the device, not the arena's until it answers
/// leaving = blocks of deflate requests, where the device must be told first (MUST_TELL_HOST)
/// untold  = blocks that are the arena's again and that the device is to hear of when it has answered; nothing goes in before that
/// taken from the arena = held + moving + leaving
/// </code></summary>
internal sealed class PageBalloon
{
    /// <summary>The largest block: it must fit into one request.</summary>
    private static readonly Order OrderMax = new(PageblockLimits.MaxOrder);

    private readonly BalloonControl _control;
    private readonly IBalloonPages _pages;
    private readonly DiscardGate? _gate;
    private readonly TimeProvider _clock;
    private readonly Stack<Block> _held = new();
    private readonly List<Block> _moving = [];
    private readonly List<Block>[] _leaving = new List<Block>[BalloonControl.DeflatesMax];
    private readonly Stack<int> _deflates = new();
    private readonly Queue<Block> _untold = new();
    private readonly GuestRange[] _ranges = new GuestRange[BalloonControl.PageNumbersMax];
    private DriverQueue? _inflate;
    private DriverQueue? _deflate;
    private bool _mustTell;
    private bool _isAnswered;

    /// <summary>An empty balloon.</summary>
    public PageBalloon(BalloonControl control, IBalloonPages pages, DiscardGate? gate, TimeProvider clock)
    {
        _control = control;
        _pages = pages;
        _gate = gate;
        _clock = clock;
        for (int i = 0; i < _leaving.Length; i++)
        {
            _leaving[i] = [];
        }
    }

    /// <summary>Pages in the balloon, told to the device and answered.</summary>
    public uint HeldPages { get; private set; }

    /// <summary>Pages of blocks that the device has not answered for: those going in and, where it must be told first, those
    /// going out.</summary>
    public uint MovingPages { get; private set; }

    /// <summary>The device broke the ring's rules.</summary>
    public DriverQueueFault Fault => _inflate is { Fault: not DriverQueueFault.None } ? _inflate.Fault : _deflate?.Fault ?? DriverQueueFault.None;

    /// <summary>Takes over fresh queues after negotiation; null while there is no device.</summary>
    public void SetUp(DriverQueue? inflate, DriverQueue? deflate, bool mustTell)
    {
        _inflate = inflate;
        _deflate = deflate;
        _mustTell = mustTell;
        _untold.Clear();
        _deflates.Clear();
        for (int i = 0; i < _leaving.Length; i++)
        {
            _deflates.Push(i);
        }
    }

    /// <summary>Takes note of what the device has answered. True: something was.</summary>
    public bool Reap()
    {
        bool any = false;
        if (_moving.Count > 0)
        {
            _isAnswered |= _inflate is not null && _inflate.TryReap(out _);
            if (_isAnswered && (_gate is null || _gate.TryClose(new Deadline(_clock, TimeSpan.Zero))))
            {
                Settle();
                any = true;
            }
        }

        while (_deflate is not null && _deflate.TryReap(out UsedRequest used))
        {
            Return((int)used.Token);
            _deflates.Push((int)used.Token);
            any = true;
        }

        return any;
    }

    /// <summary>Makes one inflate request of at most so many pages. True: one was published.</summary>
    public bool TryInflate(uint pages, out bool mustNotify)
    {
        mustNotify = false;
        if (_inflate is null || _untold.Count > 0 || _moving.Count > 0 || !_inflate.CanAdd(1) || _pages.IsShort)
        {
            return false;
        }

        uint count = Collect(Math.Min(pages, BalloonControl.PageNumbersMax));
        if (count == 0 || (_gate is not null && !_gate.TryOpen(_ranges.AsSpan(0, _moving.Count))))
        {
            MovingPages -= count;
            GiveBack(_moving);
            return false;
        }

        _isAnswered = false;
        _inflate.TryAdd([new QueueBuffer(_control.InflateAddress, count * sizeof(uint), DeviceWrites: false)], token: 0);
        mustNotify = _inflate.Publish();
        return true;
    }

    /// <summary>Gives back at least so many pages if the balloon holds them, at most one request's worth. The arena has them at once,
    /// however busy the device is, or where it must be told first (MUST_TELL_HOST) when it has answered.</summary>
    /// <returns>Pages on their way; 0 also while a device that must be told has not answered for too many requests.</returns>
    public uint Deflate(uint pages, out bool mustNotify)
    {
        mustNotify = false;
        if (pages == 0 || _held.Count == 0)
        {
            return 0;
        }

        if (_mustTell && _deflate is not null)
        {
            return Ask(pages, out mustNotify);
        }

        uint count = 0;
        while (count < pages && _held.TryPeek(out Block block) && count + block.Order.Pages <= BalloonControl.PageNumbersMax)
        {
            _held.Pop();
            _pages.Give(block.Head, block.Order);
            count += block.Order.Pages;
            if (_deflate is not null)
            {
                _untold.Enqueue(block);
            }
        }

        HeldPages -= count;
        mustNotify = Tell();
        return count;
    }

    /// <summary>Tells the device what the arena has back, as far as requests are to be had. True: it must be notified.</summary>
    public bool Tell()
    {
        bool mustNotify = false;
        while (_untold.Count > 0 && _deflate is not null && _deflate.CanAdd(1) && _deflates.TryPop(out int request))
        {
            uint count = 0;
            Span<uint> numbers = _control.DeflatePages(request);
            while (_untold.TryPeek(out Block block) && count + block.Order.Pages <= BalloonControl.PageNumbersMax)
            {
                _untold.Dequeue();
                count = Write(numbers, count, block.Head, block.Order);
            }

            mustNotify |= Publish(_deflate, request, count);
        }

        return mustNotify;
    }

    /// <summary>There is no device any more. Blocks on their way are the arena's once the device cannot touch them: in this process
    /// when the gate is closed, elsewhere when it has acknowledged a reset. True: nothing is on its way any more.</summary>
    public bool TryAbandon(bool wasReset, in Deadline deadline)
    {
        if (wasReset || _gate is not null)
        {
            _inflate = _deflate = null;
            _untold.Clear();
            for (int request = 0; request < _leaving.Length; request++)
            {
                Return(request);
            }
        }

        if (_moving.Count > 0 && (_gate is null ? wasReset : _gate.TryClose(deadline)))
        {
            MovingPages -= Sum(_moving);
            GiveBack(_moving);
        }

        return MovingPages == 0;
    }

    /// <summary>Gives every held block back without telling anybody: there is no device any more.</summary>
    public void ReleaseHeld()
    {
        while (_held.TryPop(out Block block))
        {
            _pages.Give(block.Head, block.Order);
        }

        HeldPages = 0;
    }

    private static uint Sum(List<Block> blocks)
    {
        uint pages = 0;
        foreach (Block block in blocks)
        {
            pages += block.Order.Pages;
        }

        return pages;
    }

    /// <summary>Takes blocks, the largest first, and writes their page numbers.</summary>
    private uint Collect(uint pages)
    {
        uint count = 0;
        for (int order = OrderMax.Value; order >= 0 && count < pages; order--)
        {
            Order size = new(order);
            while (count + size.Pages <= pages && _pages.TryTake(size, out Pfn head))
            {
                _ranges[_moving.Count] = new GuestRange(head.ByteOffset, size.Bytes);
                _moving.Add(new Block(head, size));
                count = Write(_control.InflatePages, count, head, size);
            }
        }

        MovingPages += count;
        return count;
    }

    /// <summary>Takes blocks out of the balloon, which the arena has when the device has answered.</summary>
    private uint Ask(uint pages, out bool mustNotify)
    {
        mustNotify = false;
        if (!_deflate!.CanAdd(1) || !_deflates.TryPop(out int request))
        {
            return 0;
        }

        uint count = Pick(request, pages);
        HeldPages -= count;
        MovingPages += count;
        mustNotify = Publish(_deflate, request, count);
        return count;
    }

    private bool Publish(DriverQueue deflate, int request, uint count)
    {
        deflate.TryAdd([new QueueBuffer(_control.DeflateAddress(request), count * sizeof(uint), DeviceWrites: false)], (ulong)request);
        return deflate.Publish();
    }

    /// <summary>Takes blocks out of the balloon, the last in first, and writes their page numbers.</summary>
    private uint Pick(int request, uint pages)
    {
        uint count = 0;
        Span<uint> numbers = _control.DeflatePages(request);
        while (count < pages && _held.TryPeek(out Block block) && count + block.Order.Pages <= BalloonControl.PageNumbersMax)
        {
            _leaving[request].Add(_held.Pop());
            count = Write(numbers, count, block.Head, block.Order);
        }

        return count;
    }

    private static uint Write(Span<uint> numbers, uint at, Pfn head, Order order)
    {
        for (uint i = 0; i < order.Pages; i++)
        {
            numbers[(int)(at + i)] = head.Value + i;
        }

        return at + order.Pages;
    }

    private void Settle()
    {
        uint pages = Sum(_moving);
        MovingPages -= pages;
        HeldPages += pages;
        foreach (Block block in _moving)
        {
            _held.Push(block);
        }

        _moving.Clear();
    }

    private void Return(int request)
    {
        MovingPages -= Sum(_leaving[request]);
        GiveBack(_leaving[request]);
    }

    private void GiveBack(List<Block> blocks)
    {
        foreach (Block block in blocks)
        {
            _pages.Give(block.Head, block.Order);
        }

        blocks.Clear();
    }

    private readonly record struct Block(Pfn Head, Order Order);
}
