using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>An arena and what a simple mind knows of it: which block has which pages, which pageblocks are isolated, what stands in
/// each block. Every step is checked against that, and the arena verifies itself after each.</summary>
internal sealed partial class ArenaModel : IDisposable
{
    private const int PageShift = PageblockLimits.PageShift;

    private readonly ArenaSetup _setup;
    private readonly PageArena _arena;
    private readonly ManualClock _clock = new();
    private readonly ScribblingBalloon? _balloon;
    private readonly List<Block> _live = [];
    private readonly Block?[] _owner;
    private readonly HashSet<uint> _isolated = [];
    private ulong _nextMark = 1;
    private bool _isLight;

    public ArenaModel(ArenaSetup setup)
    {
        _setup = setup;
        ScribblingBalloon? balloon = null;
        _arena = PageArena.CreateOn(LinuxSystem.Instance, setup.Options(_clock), new TreatmentSeams(
            (arena, _) => balloon = new ScribblingBalloon(arena) { MaxBatch = setup.Capacity, InFlightMax = 1 + (setup.Capacity % 3), Inspect = MustNotBeLive },
            HasWorker: false));
        _balloon = balloon;
        _pages = new ArenaBalloonPages(_arena, setup.Poison);
        if (balloon is not null)
        {
            balloon.OnDeflate = Deflate;
        }

        SetCap((ulong)(setup.CapMiB ?? setup.MiB) << (20 - PageShift));
        _owner = new Block?[(int)(_arena.SizeBytes >> PageShift)];
    }

    private long LivePages { get; set; }

    /// <summary>How many requests were met and how many were not: a run in which nothing happens proves nothing.</summary>
    public (int Met, int Refused) Requests { get; private set; }

    /// <summary>Treated so far.</summary>
    public long PagesTreated => _arena.Aerator.PagesTreated;

    /// <summary>Blocks below a pageblock that went to the device so far.</summary>
    public int HolesReported { get; private set; }

    /// <summary>One step and all checks.</summary>
    public void Step(ArenaOperation operation)
    {
        Do(operation);
        CheckAll();
        CheckSomeContents(operation.C);
    }

    /// <summary>One step and what is cheap to check: what was given out, the sums, and one block's contents.</summary>
    public void StepLightly(ArenaOperation operation)
    {
        _isLight = true;
        Do(operation);
        CheckTaken();
        CheckSomeContents(operation.C);
    }

    /// <summary>Every invariant, and every page's owner as the arena sees it.</summary>
    public void CheckAll()
    {
        _arena.Verify();
        CheckSums();
        CheckOwners();
    }

    private void Do(ArenaOperation operation)
    {
        switch (operation.Kind)
        {
            case OperationKind.Allocate: Allocate(operation); break;
            case OperationKind.Free: Free(operation.A, operation.B); break;
            case OperationKind.BadFree: BadFree(operation); break;
            case OperationKind.Range: AllocateRange(operation); break;
            case OperationKind.Resize: Resize(operation); break;
            case OperationKind.Isolate: Isolate((uint)operation.A); break;
            case OperationKind.Unisolate: Unisolate(operation); break;
            case OperationKind.Pass: Pass(operation.A); break;
            case OperationKind.Trim: Trim(); break;
            case OperationKind.Inflate: Inflate(operation); break;
            case OperationKind.Deflate: Deflate((uint)(operation.A % 2000)); break;
            case OperationKind.Cap: MoveCap(operation.A); break;
            case OperationKind.Treatment: SwitchTreatment(); break;
            case OperationKind.ThreadEnd: EndThread(operation.A); break;
            default: Script(operation); break;
        }

        _balloon?.Scribble();
    }

    /// <summary>Frees everything and lets the device heal: nothing must be left with anybody.</summary>
    public void Finish()
    {
        while (_live.Count != 0)
        {
            Free(_live.Count - 1, drawnThread: _live.Count);
        }

        SettleWorld();

        foreach (uint block in _isolated.ToArray())
        {
            Assert.True(_arena.UnisolatePageblock(block, MigrateType.Movable));
        }

        _isolated.Clear();
        if (_balloon is not null)
        {
            _balloon.Answer = DeviceAnswer.TreatedZero;
            _arena.Trim(); // the first may only bring the quarantine back
        }

        Trim();
        _arena.Verify();
        ArenaStatistics end = _arena.GetStatistics();
        Assert.Equal((0, 0, 0, 0, 0), (end.AllocatedBytes, end.ThreadPagesBytes, end.InReactorBytes, end.QuarantinedBytes, end.IsolatedBytes));
        Assert.Equal(0ul, _arena.Budget.TakenPages);
        Assert.Equal(end.ReservedBytes, end.UnreachedBytes + end.RawBytes + end.TreatedBytes);
        Assert.All(end.Free, free => Assert.Equal(PageblockLimits.MaxOrder, free.Order));
    }

    public void Dispose()
    {
        Array.ForEach(_threads, static thread => thread?.Dispose());
        _arena.Dispose();
    }

    private unsafe void Allocate(ArenaOperation operation)
    {
        int order = ArenaSetup.OrderOf(operation.A);
        MigrateType type = (MigrateType)(operation.B % 3);
        AllocationFlags flags = ArenaSetup.FlagsOf(operation.C);
        (bool got, nint block) = On(operation.B / 3, () =>
        {
            bool taken = _arena.TryAllocatePages(order, out void* at, type, flags);
            return (taken, (nint)at);
        });
        if (got)
        {
            Admit((void*)block, 1u << order, 1u << order, flags);
        }
        else
        {
            Assert.Equal(0, block);
            Requests = (Requests.Met, Requests.Refused + 1);
            CheckRefusal(order, flags);
        }
    }

    private unsafe void AllocateRange(ArenaOperation operation)
    {
        // Up to 12 MiB, half of them below one order-10 block.
        ulong pages = 1 + (ulong)(operation.A % (operation.B % 2 == 0 ? 1024 : 3072));
        nuint bytes = (nuint)((pages << PageShift) - (ulong)(operation.B % 4096));
        AllocationFlags flags = ArenaSetup.FlagsOf(operation.C);
        void* block;
        try
        {
            block = _arena.AllocateRange(bytes, flags);
        }
        catch (OutOfMemoryException)
        {
            Requests = (Requests.Met, Requests.Refused + 1);
            if (pages > PageblockLimits.PagesPerMaxBlock)
            {
                CheckRangeRefusal(pages, flags);
            }
            else
            {
                CheckRefusal(Order.ForPages(pages).Value, flags);
            }

            return;
        }

        ulong align = pages > PageblockLimits.PagesPerMaxBlock ? (ulong)PageblockLimits.PagesPerPageblock : Order.ForPages(pages).Pages;
        Admit(block, (uint)pages, (uint)align, flags);
    }

    /// <summary>A new block: inside, aligned, nobody's before, outside isolated pageblocks, zero where that was asked for.</summary>
    private unsafe void Admit(void* address, uint pages, uint alignPages, AllocationFlags flags)
    {
        nuint offset = (nuint)((byte*)address - _arena.BaseAddress);
        Assert.True(offset + ((nuint)pages << PageShift) <= _arena.SizeBytes, $"offset {offset}, {pages} pages: outside the arena");
        Pfn pfn = Pfn.FromByteOffset(offset);
        Assert.True(pfn.Value % alignPages == 0 && (offset & (PageblockLimits.PageSize - 1)) == 0, $"{pfn} is not aligned to {alignPages} pages");
        Block block = new(pfn, pages, _nextMark++);
        for (uint page = pfn.Value; page < pfn.Value + pages; page++)
        {
            Assert.True(_owner[page] is null, $"page {page} was given out twice: {_owner[page]} and {block}");
            _owner[page] = block;
        }

        for (uint pageblock = pfn.Pageblock; pageblock <= (pfn + (pages - 1)).Pageblock; pageblock++)
        {
            Assert.False(_isolated.Contains(pageblock), $"{block} lies in pageblock {pageblock}, which is isolated");
        }

        if ((flags & AllocationFlags.Zeroed) != 0)
        {
            ReadOnlySpan<byte> bytes = new(address, (int)pages << PageShift);
            Assert.True(bytes.IndexOfAnyExcept((byte)0) < 0, $"{block} was to read zero and does not at {bytes.IndexOfAnyExcept((byte)0)}");
        }

        block.Write(_arena);
        _live.Add(block);
        LivePages += pages;
        Requests = (Requests.Met + 1, Requests.Refused);
    }

    private unsafe void Free(int drawn, int drawnThread)
    {
        if (_live.Count == 0)
        {
            return;
        }

        int index = drawn % _live.Count;
        Block block = _live[index];
        block.Check(_arena);
        _live[index] = _live[^1];
        _live.RemoveAt(_live.Count - 1);
        Array.Clear(_owner, (int)block.Start.Value, (int)block.Pages);
        LivePages -= block.Pages;
        On(drawnThread, () =>
        {
            _arena.FreePages(block.Address(_arena));
            return true;
        });
    }

    /// <summary>Whatever is not the head of a live block throws, and nothing at all changes.</summary>
    private unsafe void BadFree(ArenaOperation operation)
    {
        byte* start = _arena.BaseAddress;
        Block? some = _live.Count == 0 ? null : _live[operation.A % _live.Count];
        byte* wrong = (operation.B % 6) switch
        {
            0 => null,
            1 => start - PageblockLimits.PageSize,
            2 => start + _arena.SizeBytes,
            3 => (some is null ? start : (byte*)some.Address(_arena)) + 1 + (operation.C % 4095),
            4 when some is { Pages: > 1 } => (byte*)some.Address(_arena) + ((nuint)(1 + (operation.C % ((int)some.Pages - 1))) << PageShift),
            _ => start + ((nuint)(operation.C % _owner.Length) << PageShift),
        };
        nuint page = unchecked((nuint)(wrong - start)) >> PageShift;
        if (page < (nuint)_owner.Length && _owner[page] is Block owner && (byte*)owner.Address(_arena) == wrong)
        {
            return; // drawn by chance: a live head
        }

        // To look at a struct page may make the page of zeros resident that it lies in.
        string before = Now();
        Assert.Throws<ArgumentException>("block", () => _arena.FreePages(wrong));
        Assert.Equal(before, Now());
    }

    private void Isolate(uint drawn)
    {
        uint pageblock = drawn % (uint)(_owner.Length / PageblockLimits.PagesPerPageblock);
        Zone zone = _arena.ZoneOf(Pfn.FromPageblock(pageblock));
        bool expected = _isolated.Count < 4 && !_isolated.Contains(pageblock) && Pfn.FromPageblock(pageblock).Value < zone.ReachedPfn;
        if (_isolated.Count < 4)
        {
            Assert.Equal(expected, _arena.IsolatePageblock(pageblock));
            if (expected)
            {
                _isolated.Add(pageblock);
            }
        }
    }

    private void Unisolate(ArenaOperation operation)
    {
        uint pageblock = operation.A % 4 == 0 || _isolated.Count == 0
            ? (uint)(operation.B % (_owner.Length / PageblockLimits.PagesPerPageblock))
            : _isolated.Order().ElementAt(operation.B % _isolated.Count);
        Assert.Equal(_isolated.Remove(pageblock), _arena.UnisolatePageblock(pageblock, (MigrateType)(operation.C % 3)));
    }

    private void Pass(int drawn)
    {
        _clock.Advance(TimeSpan.FromMilliseconds(250 * (drawn % 3)));
        _arena.Aerator.Pass();
    }

    private void Script(ArenaOperation operation)
    {
        if (_balloon is not null)
        {
            // Two in three answers are good ones, or little would ever be treated.
            _balloon.Answer = operation.A % 3 == 0 ? (DeviceAnswer)(operation.B % 6) : (DeviceAnswer)(operation.B % 2);
        }
    }

    private void MustNotBeLive(PageRange range)
    {
        Assert.True(range.Pages >= 1u << (_setup.MinimumOrder ?? 0), $"{range} is below the least order");
        HolesReported += range.Pages < PageblockLimits.PagesPerPageblock ? 1 : 0;
        for (uint page = range.Start.Value; page < range.Start.Value + range.Pages; page++)
        {
            Assert.True(_owner[page] is null, $"page {page} of {_owner[page]} went to the device");
        }
    }
}

/// <summary>A live block and what its user has written into it: two words of each page, made from its mark.</summary>
internal sealed record Block(Pfn Start, uint Pages, ulong Mark)
{
    public unsafe void* Address(PageArena arena) => arena.BaseAddress + Start.ByteOffset;

    public unsafe void Write(PageArena arena)
    {
        for (uint page = 0; page < Pages; page++)
        {
            (nuint first, nuint second, ulong word) = Words(page);
            byte* at = arena.BaseAddress + (Start + page).ByteOffset;
            *(ulong*)(at + first) = word;
            *(ulong*)(at + second) = ~word;
        }
    }

    public unsafe void Check(PageArena arena)
    {
        for (uint page = 0; page < Pages; page++)
        {
            (nuint first, nuint second, ulong word) = Words(page);
            byte* at = arena.BaseAddress + (Start + page).ByteOffset;
            if (*(ulong*)(at + first) != word || *(ulong*)(at + second) != ~word)
            {
                Assert.Fail($"{this}: page {page} reads 0x{*(ulong*)(at + first):x} and 0x{*(ulong*)(at + second):x} instead of 0x{word:x} and its complement");
            }
        }
    }

    /// <summary>The first word lies where the device scribbles.</summary>
    private (nuint First, nuint Second, ulong Word) Words(uint page)
    {
        ulong word = unchecked(((Mark << 20) + page + 1) * 0x9E37_79B9_7F4A_7C15);
        return (8, 16 + ((nuint)(word >> 40) % 510 * 8), word);
    }
}
