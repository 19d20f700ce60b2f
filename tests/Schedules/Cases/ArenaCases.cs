using System;
using System.Buffers;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;

namespace Schedules;

/// <summary>Cases on a whole arena, tiny.</summary>
internal abstract class ArenaCase : ScheduleCase
{
    private int _inUse;

    protected PageArena Arena { get; private set; } = null!;

    protected FakeBalloon Balloon { get; private set; } = null!;

    protected static ManualClock Clock { get; } = new();

    public override int Preemptions => 1;

    protected void Make(bool threadPages, bool aerates = false, bool hasWorker = false)
    {
        _inUse = 0;
        FaultyOperatingSystem os = new(LinuxSystem.Instance)
        {
            Before = (call, _, _) => Require(call != SystemCall.Unmap || _inUse == 0, "the arena is unmapped while somebody is in it"),
        };
        Balloon = new FakeBalloon { Capacity = 2 };
        Arena = PageArena.CreateOn(
            os,
            new PageArenaOptions
            {
                SizeBytes = 16 << 20,
                CapBytes = 16 << 20,
                MinFreeBytes = 0,
                Zones = 1,
                ThreadPages = threadPages,
                HugePages = HugePages.Never,
                Aeration = new AerationOptions { Enabled = aerates, Clock = Clock, ReactorCapacity = 2, MinimumOrder = 9, Delay = TimeSpan.Zero },
            },
            Balloon.Seams(hasWorker));
    }

    protected void Enter() => _inUse++;

    protected void Leave() => _inUse--;

    /// <summary>A block, used as its only user does; 0 where there is none.</summary>
    protected unsafe nint Take(int order)
    {
        if (!Arena.TryAllocatePages(order, out void* block))
        {
            return 0;
        }

        Enter();
        *(nint*)block = (nint)block;
        return (nint)block;
    }

    protected unsafe void Give(nint block)
    {
        Require(*(nint*)block == block, "another has written into the block");
        *(nint*)block = 0;
        Leave();
        Arena.FreePages((void*)block);
    }

    protected void CheckAllIsBack()
    {
        Arena.Verify();
        Arena.Threads.DrainAll();
        Require(Arena.Budget.TakenPages == 0, $"{Arena.Budget.TakenPages} pages are taken");
        Require(Balloon.Violations.Count == 0, string.Join("; ", Balloon.Violations));
    }

    public override void TearDown()
    {
        Mutation? inForce = Mutation.InForce;
        Mutation.InForce = null;
        Arena.Dispose();
        Mutation.InForce = inForce;
    }
}

/// <summary>One allocates and frees, one is inside, one disposes: the end comes once, when both have left.</summary>
internal sealed class DisposeCase : ArenaCase
{
    public override string Name => "dispose";

    public override int Preemptions => 2;

    public override IReadOnlyList<Mutation> Mutations =>
        [Split("PageArena", "TryPin"), Split("PageArena", "Unpin")];

    public override void SetUp()
    {
        Make(threadPages: false);
        Go("user", () =>
        {
            try
            {
                if (Take(0) is not 0 and nint block)
                {
                    Give(block);
                }
            }
            catch (ObjectDisposedException)
            {
            }
        });
        Go("visitor", () =>
        {
            if (Arena.TryPin())
            {
                Enter();
                Seam.Point("inside");
                Require(!Arena.IsUnmapped, "unmapped under a pin");
                Leave();
                Arena.Unpin();
            }
        });
        Go("disposer", () => Arena.Dispose());
    }

    public override void Check()
    {
        Require(Arena.IsUnmapped, "everybody has left and the arena is there");
    }
}

/// <summary>Two threads on their own pages, one of which gives what the other took; a third drains.</summary>
internal sealed class ThreadPagesCase : ArenaCase
{
    private nint _handed;

    public override string Name => "thread pages";

    public override IReadOnlyList<Mutation> Mutations => [Skip("ThreadCacheRegistry", "Freeze"), LoseWrite("ThreadCache", "Freeze"), Split("ZoneLock", "Enter")];

    public override int BufferDepth => 4;

    public override void SetUp()
    {
        Make(threadPages: true);
        _handed = 0;
        Go("user", () =>
        {
            nint first = Take(0);
            nint second = Take(0);
            LowLevel.Volatile.Write(ref _handed, first);
            Give(second);
            Give(Take(0));
        });
        Go("other", () =>
        {
            Give(Take(1));
            Give(Take(0));
            nint handed = LowLevel.Volatile.Read(ref _handed);
            if (handed != 0)
            {
                LowLevel.Volatile.Write(ref _handed, 0);
                Give(handed);
            }
        });
        Go("drainer", () =>
        {
            Arena.Threads.DrainAll();
            Arena.Threads.DrainAll();
        });
    }

    public override void Check()
    {
        if (_handed != 0)
        {
            Give(_handed);
        }

        CheckAllIsBack();
    }
}

/// <summary>Frees that reach the high-water mark while treatment stops and starts, with its worker: no count is left, nothing is lost.</summary>
internal sealed class StopAndStartCase : ArenaCase
{
    private readonly List<nint> _blocks = [];

    public override string Name => "stop and start";

    public override int BufferDepth => 2;

    public override IReadOnlyList<Mutation> Mutations => [Split("HighWaterMarks", "Hold"), LoseWrite("Aerator.Lifecycle", "Start")];

    public override void SetUp()
    {
        Make(threadPages: false, aerates: true, hasWorker: true);
        _blocks.Clear();
        for (int i = 0; i < 8; i++)
        {
            _blocks.Add(Take(9));
        }

        Go("freer", () => Free(0));
        Go("freer", () => Free(1));
        Go("stopper", () =>
        {
            Arena.Aerator.Stop();
            Arena.Aerator.Start();
        });
    }

    public override void Check()
    {
        Require(Arena.Aerator.IsRunning, "started");
        Arena.Aerator.TreatEverything();
        int over = Arena.Zones[0].IsOverHighWaterMark ? 1 : 0;
        Require(Arena.Aerator.References == over, $"{Arena.Aerator.References} references, {over} zones over the mark");
        CheckAllIsBack();
    }

    private void Free(int from)
    {
        for (int i = from; i < 6; i += 2)
        {
            Give(_blocks[i]);
        }

        Give(_blocks[6 + from]);
    }
}

/// <summary>The arena is disposed while its last blocks come back and its worker treats them: it ends when the device has let go.</summary>
internal sealed class CloseCase : ArenaCase
{
    private readonly List<nint> _blocks = [];

    public override string Name => "close under treatment";

    public override int BufferDepth => 2;

    public override IReadOnlyList<Mutation> Mutations => [Split("PageArena", "Unpin"), Split("Budget", "Release")];

    public override void SetUp()
    {
        Make(threadPages: false, aerates: true, hasWorker: true);
        Balloon.WhileHeld = _ =>
        {
            Enter();
            Seam.Point("the device has a batch");
            Leave();
        };
        _blocks.Clear();
        for (int i = 0; i < 8; i++)
        {
            _blocks.Add(Take(9));
        }

        Go("freer", () => _blocks.GetRange(0, 5).ForEach(Give));
        Go("freer", () => _blocks.GetRange(5, 3).ForEach(Give));
        Go("disposer", () => Arena.Dispose());
    }

    public override void Check()
    {
        Require(Arena.IsUnmapped, "everything has come back and the arena is there");
        Require(Balloon.Violations.Count == 0, string.Join("; ", Balloon.Violations));
    }
}

/// <summary>A buffer that is pinned, unpinned and returned twice by three threads: its block comes back once, when the last pin has gone.</summary>
internal sealed class OwnerCase : ArenaCase
{
    private ArenaMemoryPool _pool = null!;

    public override string Name => "memory owner";

    public override int Preemptions => 3;

    public override IReadOnlyList<Mutation> Mutations =>
        [Split("ArenaMemoryOwner", "Dispose"), Split("ArenaMemoryOwner", "Pin"), Split("ArenaMemoryOwner", "Unpin")];

    public override unsafe void SetUp()
    {
        Make(threadPages: false);
        _pool = new ArenaMemoryPool(Arena);
        IMemoryOwner<byte> owner = _pool.Rent(1);
        Memory<byte> memory = owner.Memory;
        void Pin()
        {
            try
            {
                using MemoryHandle handle = memory.Pin();
                ulong at = (ulong)((byte*)handle.Pointer - Arena.BaseAddress);
                Require(at < Arena.SizeBytes, "a pin of no block");
                Page* head = Arena.Map[Pfn.FromByteOffset(at)];
                Require(head->State == PageState.User, "a pin of a block that has gone back");
                Seam.Point("pinned");
                Require(head->State == PageState.User, "the block has gone back under a pin");
            }
            catch (ObjectDisposedException)
            {
            }
        }

        Go("pinner", Pin);
        Go("pinner", Pin);
        Go("returner", owner.Dispose);
        Go("returner", owner.Dispose);
    }

    public override void Check() => CheckAllIsBack();
}

/// <summary>Objects of one slab that one thread takes and another gives back.</summary>
internal sealed class HeapCase : ArenaCase
{
    private NativeHeap _heap = null!;
    private nint _handed;

    public override string Name => "heap";

    public override IReadOnlyList<Mutation> Mutations => [Split("ZoneLock", "Enter"), Skip("ThreadCacheRegistry", "Freeze")];

    public override int BufferDepth => 4;

    public override void SetUp()
    {
        Make(threadPages: false);
        _heap = new NativeHeap(Arena);
        _handed = 0;
        Go("user", () =>
        {
            nint first = New();
            nint second = New();
            LowLevel.Volatile.Write(ref _handed, first);
            Delete(second);
        });
        Go("other", () =>
        {
            nint mine = New();
            nint handed = LowLevel.Volatile.Read(ref _handed);
            if (handed != 0)
            {
                LowLevel.Volatile.Write(ref _handed, 0);
                Delete(handed);
            }

            Delete(mine);
        });
        Go("trimmer", () => _heap.Trim());
    }

    public override void Check()
    {
        if (_handed != 0)
        {
            Delete(_handed);
        }

        _heap.Verify();
        _heap.Dispose();
        CheckAllIsBack();
    }

    private unsafe nint New()
    {
        nint made = (nint)_heap.Allocate(48);
        *(nint*)made = made;
        return made;
    }

    private unsafe void Delete(nint made)
    {
        Require(*(nint*)made == made, "another has written into the object");
        _heap.Free((void*)made);
    }
}
