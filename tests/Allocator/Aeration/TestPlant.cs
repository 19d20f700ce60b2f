using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>A small arena with a fake balloon and a clock that stands still: one zone of 128 MiB, no reserve, no threads' pages, batches
/// of 4 (so the high-water mark is at 8 blocks of one order), Delay 1 s. Passes are the test's.</summary>
internal sealed class TestPlant : IDisposable
{
    public const int Capacity = 4;
    public const int StartMark = 2 * Capacity;

    private readonly TimeSpan _delay;

    public TestPlant(Action<PageArenaOptions>? configure = null, bool hasWorker = false, FakeBalloon? balloon = null, IOperatingSystem? os = null)
    {
        Balloon = balloon ?? new FakeBalloon { Capacity = Capacity };
        PageArenaOptions options = new()
        {
            SizeBytes = 128 << 20,
            CapBytes = 128 << 20,
            MinFreeBytes = 0,
            Zones = 1,
            ThreadPages = false,
            HugePages = HugePages.System,
            Aeration = new AerationOptions { Clock = Clock, ReactorCapacity = Capacity, MinimumOrder = 9, HostTimeout = TimeSpan.FromMilliseconds(5) },
        };
        configure?.Invoke(options);
        _delay = options.Aeration.Delay;
        Arena = PageArena.CreateOn(os ?? LinuxSystem.Instance, options, Balloon.Seams(hasWorker));
    }

    public ManualClock Clock { get; } = new();

    public FakeBalloon Balloon { get; }

    public PageArena Arena { get; }

    public Zone Zone => Arena.Zones[0];

    public void Dispose() => Arena.Dispose();

    /// <summary>A quarter of the delay later, on time.</summary>
    public void Pass()
    {
        Clock.Advance(_delay / 4);
        Arena.Aerator.Pass();
    }

    /// <summary>As many punctual passes as it takes for what was freed before to rest and be treated.</summary>
    public void PassUntilRested()
    {
        for (int i = 0; i < 5; i++)
        {
            Pass();
        }
    }

    public unsafe nint Allocate(int order, MigrateType type = MigrateType.Unmovable, AllocationFlags flags = AllocationFlags.None) =>
        (nint)Arena.AllocatePages(order, type, flags);

    public nint[] Allocate(int order, int count, MigrateType type = MigrateType.Unmovable)
    {
        nint[] blocks = new nint[count];
        for (int i = 0; i < count; i++)
        {
            blocks[i] = Allocate(order, type);
        }

        return blocks;
    }

    /// <summary>Blocks whose buddies stay allocated, so that they do not merge when freed.</summary>
    public nint[] AllocateApart(int order, int count, MigrateType type = MigrateType.Unmovable)
    {
        nint[] pairs = Allocate(order, 2 * count, type);
        Array.Sort(pairs);
        return [.. pairs.Where(block => PfnOf(block).AlignDown(new Order(Math.Min(order + 1, 10))) == PfnOf(block)).Take(count)];
    }

    /// <summary>Every block of an order that can be had, under the cap.</summary>
    public unsafe List<nint> AllocateAll(int order = 0, MigrateType type = MigrateType.Unmovable)
    {
        List<nint> all = [];
        while (Arena.TryAllocatePages(order, out void* block, type))
        {
            all.Add((nint)block);
        }

        return all;
    }

    public unsafe void Free(params IEnumerable<nint> blocks)
    {
        foreach (nint block in blocks)
        {
            Arena.FreePages((void*)block);
        }
    }

    public unsafe Pfn PfnOf(nint block) => Pfn.FromByteOffset((ulong)(block - (nint)Arena.BaseAddress));

    public unsafe nint AddressOf(Pfn pfn) => (nint)(Arena.BaseAddress + pfn.ByteOffset);

    public long Raw(int order) => Arena.Zones.ToArray().Sum(zone => (long)zone.Area(new Order(order)).Raw);

    public long Treated(int order) => Arena.Zones.ToArray().Sum(zone => (long)zone.Area(new Order(order)).Treated);

    public unsafe BlockMarks MarksOf(nint block) => BlockMarks.Of(Arena.Map[PfnOf(block)]);

    public unsafe PageType TypeBitsOf(nint block) => Arena.Map[PfnOf(block)]->PageType;

    public unsafe ulong OrderOf(nint block) => Arena.Map[PfnOf(block)]->Private;

    public unsafe MigrateType ListOf(nint block) => (MigrateType)Arena.Map[PfnOf(block)]->Index;

    /// <summary>A free list from its head to its tail.</summary>
    public unsafe List<nint> List(int order, MigrateType type = MigrateType.Unmovable)
    {
        List<nint> blocks = [];
        ListHead* list = Zone.Area(new Order(order)).List(type);
        for (ListHead* node = list->Next; node != list; node = node->Next)
        {
            blocks.Add(AddressOf(Arena.Map.PfnOf(PageMap.PageOf(node))));
        }

        return blocks;
    }

    /// <summary>The block that is a list's membrane; 0 where the membrane is the list's head (nothing treated).</summary>
    public unsafe nint MembraneOf(int order, MigrateType type = MigrateType.Unmovable)
    {
        FreeArea area = Zone.Area(new Order(order));
        ListHead* membrane = *area.MembraneOf(type);
        return membrane == area.List(type) ? 0 : AddressOf(Arena.Map.PfnOf(PageMap.PageOf(membrane)));
    }

    /// <summary>The blocks that the device was told of, in order.</summary>
    public List<nint> Reported() => [.. Balloon.Ranges.Select(range => AddressOf(range.Start))];

    /// <summary>Every equation holds, and the seam's contract was kept.</summary>
    public void Check()
    {
        Arena.Verify();
        Assert.Empty(Balloon.Violations);
    }

    /// <summary>Runs something on a thread of its own to its end; its exception is the caller's.</summary>
    public static void OnAnotherThread(Action action)
    {
        Exception? failure = null;
        Thread thread = new(() =>
        {
            try
            {
                action();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.IsBackground = true;
        thread.Start();
        Assert.True(thread.Join(TimeSpan.FromSeconds(60)), "the other thread did not come to an end: deadlock");
        if (failure is not null)
        {
            throw new InvalidOperationException("on the other thread: " + failure.Message, failure);
        }
    }
}
