using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Faults;

/// <summary>The life of a small arena and a heap on it, in one thread, the same each time, over an operating system that fails where it is told to.
/// Whatever fails: what users hold keeps its contents, all invariants hold, whoever is refused hears the errno's name, and once the system works
/// again so does the arena, to its last page; at the end every mapping and descriptor is back.</summary>
internal sealed class FaultScenario(FaultSetup setup, FaultyOperatingSystem os) : IDisposable
{
    private const int SizeMiB = 64;
    private const int CapMiB = 28;
    private const int RestPasses = 12;

    private readonly ManualClock _clock = new();
    private readonly Dictionary<nint, (nuint Bytes, ulong Mark)> _held = [];
    private PageArena? _arena;
    private ulong _nextMark = 1;

    /// <summary>What was refused, as the caller heard it.</summary>
    public List<string> Refusals { get; } = [];

    private PageArena Arena => _arena!;

    /// <summary>From creation to disposal. False: the arena could not be created, which was said.</summary>
    public void Run()
    {
        if (!Try(Create))
        {
            return;
        }

        Blocks();
        Passes();
        Heap();
        Ranges();
        Try(Arena.Trim);
        Check();
        os.Heal();
        Serve();
        Dispose();
    }

    public void Dispose()
    {
        foreach (nint block in _held.Keys.ToArray())
        {
            Free(block);
        }

        _arena?.Dispose();
    }

    private void Create() => _arena = PageArena.CreateOn(
        os, setup.Options(_clock, SizeMiB, CapMiB), TreatmentSeams.Default with { HasWorker = false, WatchesMemory = false });

    private void Blocks()
    {
        nint[] large = [.. Enumerable.Range(0, 4).Select(_ => Take(10, AllocationFlags.None))];
        Free(large[0]);
        Free(large[2]);
        nint[] small = [.. Enumerable.Range(0, 1200).Select(i => Take(0, i % 7 == 0 ? AllocationFlags.Zeroed : AllocationFlags.None))];
        for (int i = 0; i < small.Length; i++)
        {
            if (i % 5 != 0)
            {
                Free(small[i]);
            }
        }

        Take(3, AllocationFlags.Populate);
        Take(9, AllocationFlags.Populate | AllocationFlags.Zeroed);
        Free(large[3]);
        Check();
    }

    private void Passes()
    {
        for (int i = 0; i < RestPasses; i++)
        {
            _clock.Advance(TimeSpan.FromMilliseconds(250));
            Arena.Aerator.Pass();
        }

        Check();
        Free(Take(10, AllocationFlags.Zeroed));
        Free(Take(2, AllocationFlags.Zeroed));
        Arena.Aerator.Stop();
        Try(Arena.Aerator.Start);
        Check();
    }

    private unsafe void Heap()
    {
        using NativeHeap heap = new(Arena);
        List<(nint Address, int Bytes)> objects = [];
        for (int i = 0; i < 300; i++)
        {
            int bytes = 1 + (i * i * 7 % 90_000);
            Try(() =>
            {
                byte* block = (byte*)heap.AllocateZeroed((nuint)bytes);
                Assert.True(new ReadOnlySpan<byte>(block, bytes).IndexOfAnyExcept((byte)0) < 0, "a zeroed object is not zero");
                new Span<byte>(block, bytes).Fill((byte)(bytes & 0xff)); // sound: live, and so long
                objects.Add(((nint)block, bytes));
            });
            if (i % 3 == 2 && objects.Count > 0)
            {
                Resize(heap, objects, i % objects.Count, 1 + (i * 311 % 150_000));
            }

            if (i % 2 == 1 && objects.Count > 4)
            {
                heap.Free((void*)Take(objects, i % objects.Count));
            }
        }

        heap.Verify();
        Check();
        objects.ForEach(o => heap.Free((void*)o.Address));
        heap.Trim();
    }

    private void Ranges()
    {
        nint range = TakeRange(6 << 20, AllocationFlags.Zeroed);
        nint other = TakeRange((5 << 20) + 4096, AllocationFlags.Populate);
        Free(range);
        if (setup.CapPolicy == CapPolicy.FallBack)
        {
            nint[] beyond = [.. Enumerable.Range(0, 8).Select(_ => Take(10, AllocationFlags.Zeroed))];
            Check();
            Array.ForEach(beyond, Free);
        }

        Free(other);
        Passes();
    }

    /// <summary>With nothing failing any more, every page can be had, reads zero where that is asked for, and goes back.</summary>
    private void Serve()
    {
        foreach (nint block in _held.Keys.ToArray())
        {
            Free(block);
        }

        Arena.Trim();
        ulong cap = (ulong)Arena.GetStatistics().CapBytes;
        nint[] all = [.. Enumerable.Range(0, (int)(cap >> 22)).Select(_ => Take(10, AllocationFlags.Zeroed))];
        Assert.DoesNotContain(0, all);
        Check();
        Array.ForEach(all, Free);
        Arena.Trim(); // the first may only bring a quarantine back
        Arena.Trim();
        Check();
        ArenaStatistics end = Arena.GetStatistics();
        Assert.Equal((0, 0, 0, 0), (end.AllocatedBytes, end.InReactorBytes, end.QuarantinedBytes, end.RawBytes));
        Assert.Equal(end.ReservedBytes, end.TreatedBytes + end.UnreachedBytes);
    }

    private void Check()
    {
        Arena.Verify();
        foreach ((nint block, (nuint bytes, ulong mark)) in _held)
        {
            CheckMarks(block, bytes, mark);
        }
    }

    private unsafe nint Take(int order, AllocationFlags flags)
    {
        nint block = 0;
        Try(() => block = (nint)Arena.AllocatePages(order, order == 0 ? MigrateType.Movable : MigrateType.Unmovable, flags));
        Admit(block, (nuint)4096 << order, flags);
        return block;
    }

    private unsafe nint TakeRange(nuint bytes, AllocationFlags flags)
    {
        nint block = 0;
        Try(() => block = (nint)Arena.AllocateRange(bytes, flags));
        Admit(block, bytes, flags);
        return block;
    }

    private unsafe void Admit(nint block, nuint bytes, AllocationFlags flags)
    {
        if (block == 0)
        {
            return;
        }

        // Sound: the block is live, so long, and nobody else's.
        if ((flags & AllocationFlags.Zeroed) != 0)
        {
            int at = new ReadOnlySpan<byte>((void*)block, (int)bytes).IndexOfAnyExcept((byte)0);
            Assert.True(at < 0, $"a zeroed block of {bytes} bytes is not zero at {at}");
        }

        ulong mark = _nextMark++;
        for (nuint at = 0; at < bytes; at += 4096)
        {
            *(ulong*)((byte*)block + at) = mark ^ at;
            *(ulong*)((byte*)block + at + 4088) = ~mark ^ at;
        }

        _held.Add(block, (bytes, mark));
    }

    private static unsafe void CheckMarks(nint block, nuint bytes, ulong mark)
    {
        // Sound: as in Admit.
        for (nuint at = 0; at < bytes; at += 4096)
        {
            Assert.Equal(mark ^ at, *(ulong*)((byte*)block + at));
            Assert.Equal(~mark ^ at, *(ulong*)((byte*)block + at + 4088));
        }
    }

    private unsafe void Free(nint block)
    {
        if (_held.Remove(block, out (nuint Bytes, ulong Mark) what))
        {
            CheckMarks(block, what.Bytes, what.Mark);
            Arena.FreePages((void*)block); // never refused: whatever fails below, a free succeeds
        }
    }

    private unsafe void Resize(NativeHeap heap, List<(nint Address, int Bytes)> objects, int index, int bytes) => Try(() =>
    {
        (nint address, int old) = objects[index];
        byte* block = (byte*)heap.Reallocate((void*)address, (nuint)bytes);
        int kept = Math.Min(old, bytes);
        Assert.True(new ReadOnlySpan<byte>(block, kept).IndexOfAnyExcept((byte)(old & 0xff)) < 0, "a resized object lost its contents");
        new Span<byte>(block, bytes).Fill((byte)(bytes & 0xff)); // sound: live, and so long
        objects[index] = ((nint)block, bytes);
    });

    private static nint Take(List<(nint Address, int Bytes)> objects, int index)
    {
        nint address = objects[index].Address;
        objects.RemoveAt(index);
        return address;
    }

    private bool Try(Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (Exception e) when (e is OutOfMemoryException or InvalidOperationException { InnerException: null } && e.GetType().Namespace == "System")
        {
            Refusals.Add($"{e.GetType().Name}: {e.Message}");
            return false;
        }
    }
}

/// <summary>One kind of arena for the scenario.</summary>
internal sealed record FaultSetup(string Name, ArenaBacking Backing, HugePages HugePages)
{
    public CapPolicy CapPolicy { get; init; }

    public AerationContext Context { get; init; }

    public DiscardMode Discard { get; init; }

    public static FaultSetup[] All { get; } =
    [
        new("anonymous", ArenaBacking.Anonymous, HugePages.Advise),
        new("memfd", ArenaBacking.Memfd, HugePages.System),
        new("small pages, falls back", ArenaBacking.Anonymous, HugePages.Never) { CapPolicy = CapPolicy.FallBack },
        new("freeing thread, MADV_FREE", ArenaBacking.Anonymous, HugePages.Advise) { Context = AerationContext.FreeingThread, Discard = DiscardMode.Free },
    ];

    public PageArenaOptions Options(TimeProvider clock, int sizeMiB, int capMiB) => new()
    {
        SizeBytes = (nuint)sizeMiB << 20,
        CapBytes = (nuint)capMiB << 20,
        MinFreeBytes = 0,
        Zones = 1,
        Backing = Backing,
        HugePages = HugePages,
        CapPolicy = CapPolicy,
        ExcludeFromDumps = true,
        Aeration = new AerationOptions { Clock = clock, Context = Context, Discard = Discard, HostTimeout = TimeSpan.FromSeconds(30) },
    };

    public override string ToString() => Name;
}
