using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Threads;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>What happens around the one thread: other threads that allocate, free and end (one at a time), the balloon, the cap, treatment that
/// stops and starts.</summary>
internal sealed partial class ArenaModel
{
    private readonly ThreadActor?[] _threads = new ThreadActor?[3];
    private readonly List<Block> _inflated = [];
    private readonly ArenaBalloonPages _pages;
    private ulong _cap;

    /// <summary>What happened: steps of other threads, threads that ended, blocks inflated, pages deflated, caps set, stops and starts.</summary>
    public (int Others, int Ends, int Inflated, int Deflated, int Caps, int Switches) World { get; private set; }

    private long InflatedPages { get; set; }

    /// <summary>Does something in a thread: mostly this one, else one of three others.</summary>
    private T On<T>(int drawn, Func<T> work)
    {
        int thread = drawn % 16;
        if (thread >= _threads.Length)
        {
            return work();
        }

        World = World with { Others = World.Others + 1 };
        return (_threads[thread] ??= new ThreadActor()).Get(work);
    }

    /// <summary>A thread ends with what it keeps; the next one in its place is another.</summary>
    private void EndThread(int drawn)
    {
        ref ThreadActor? thread = ref _threads[drawn % _threads.Length];
        World = World with { Ends = World.Ends + (thread is null ? 0 : 1) };
        thread?.Dispose();
        thread = null;
    }

    /// <summary>The host takes a block into the balloon, and writes into it as long as it has it.</summary>
    private unsafe void Inflate(ArenaOperation operation)
    {
        if (_balloon is null)
        {
            return;
        }

        Order order = new(operation.B % 4 == 0 ? PageblockLimits.PageblockOrder : operation.A % 5);
        if (!_pages.TryTake(order, out Pfn head))
        {
            return;
        }

        Block block = new(head, (uint)order.Pages, 0);
        for (uint page = head.Value; page < head.Value + block.Pages; page++)
        {
            Assert.True(_owner[page] is null, $"page {page} of {_owner[page]} went into the balloon");
            _owner[page] = block;
            *(ulong*)(_arena.BaseAddress + new Pfn(page).ByteOffset + 8) = 0xbad1_bad1_bad1_bad1;
        }

        _inflated.Add(block);
        CountInflated(block.Pages);
        World = World with { Inflated = World.Inflated + 1 };
    }

    /// <summary>Blocks come back until so many pages have; the arena asks for this too, when an allocation would fail.</summary>
    private uint Deflate(uint pages)
    {
        uint given = 0;
        while (given < pages && _inflated.Count != 0)
        {
            Block block = _inflated[^1];
            _inflated.RemoveAt(_inflated.Count - 1);
            Array.Clear(_owner, (int)block.Start.Value, (int)block.Pages);
            CountInflated(-(long)block.Pages);
            _pages.Give(block.Start, Order.ForPages(block.Pages));
            given += block.Pages;
        }

        World = World with { Deflated = World.Deflated + (int)given };
        return given;
    }

    private void CountInflated(long pages)
    {
        InflatedPages += pages;
        _balloon!.InflatedPages = (ulong)InflatedPages;
    }

    /// <summary>Between half of the arena's own cap and all of it.</summary>
    private void MoveCap(int drawn)
    {
        ulong most = (ulong)(_setup.CapMiB ?? _setup.MiB) << (20 - PageShift);
        SetCap(drawn % 3 == 0 ? most : (most / 2) + ((ulong)drawn % (most / 2)));
        World = World with { Caps = World.Caps + 1 };
    }

    private void SetCap(ulong pages)
    {
        _cap = pages;
        _arena.Budget.SetLimit(pages);
    }

    private void SwitchTreatment()
    {
        if (_balloon is null)
        {
            return;
        }

        World = World with { Switches = World.Switches + 1 };
        if (_arena.Aerator.IsRunning)
        {
            _arena.Aerator.Stop();
        }
        else
        {
            _arena.Aerator.Start();
        }
    }

    /// <summary>Before the end: nothing in the balloon, all of the cap, treatment on.</summary>
    private void SettleWorld()
    {
        Deflate(uint.MaxValue);
        SetCap((ulong)(_setup.CapMiB ?? _setup.MiB) << (20 - PageShift));
        if (_balloon is not null)
        {
            _arena.Aerator.Start();
        }
    }

    /// <summary>Every page of the arena: the heads of live blocks are the user's, those in the balloon are the balloon's, what is inside says
    /// nothing, and nothing else says that it is anybody's but what debug mode holds back.</summary>
    private unsafe void CheckOwners()
    {
        for (uint at = 0; at < (uint)_owner.Length; at++)
        {
            Page* page = _arena.Map[new Pfn(at)];
            Block? owner = _owner[at];
            ulong state = page->State;
            bool isUsers = state == PageState.User;
            bool isBalloons = state != 0 && !isUsers && page->PageType.IsInflated;
            bool holds = owner is null ? !isBalloons && (!isUsers || _arena.Debug?.Quarantine?.Holds(new Pfn(at)) == true)
                : owner.Start.Value != at ? state == 0
                : owner.Mark == 0 ? isBalloons : isUsers;
            if (!holds)
            {
                Assert.Fail($"page {at}, whose owner is {owner?.ToString() ?? "nobody"}, says 0x{state:x}");
            }
        }
    }
}
