using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Heap;

/// <summary>A heap on a small arena of its own; blocks are addresses.</summary>
internal sealed class HeapProbe : IDisposable
{
    private readonly ArenaProbe _probe;

    public HeapProbe(int mebibytes = 64, Action<PageArenaOptions>? change = null)
    {
        _probe = new ArenaProbe(mebibytes, change);
        Heap = new NativeHeap(_probe.Arena);
    }

    public NativeHeap Heap { get; }

    public PageArena Arena => _probe.Arena;

    public ArenaProbe Pages => _probe;

    public long ArenaAllocated => Arena.GetStatistics().AllocatedBytes;

    public unsafe nint Take(long bytes, long alignment = 16) => (nint)Heap.Allocate((nuint)bytes, (nuint)alignment);

    public unsafe nint TakeZeroed(long bytes, long alignment = 16) => (nint)Heap.AllocateZeroed((nuint)bytes, (nuint)alignment);

    public nint[] TakeMany(int count, long bytes) => [.. Enumerable.Range(0, count).Select(_ => Take(bytes))];

    public unsafe nint Resize(nint block, long bytes) => (nint)Heap.Reallocate(unchecked((void*)block), (nuint)bytes);

    public unsafe void Free(nint block) => Heap.Free(unchecked((void*)block));

    public void Free(IEnumerable<nint> blocks)
    {
        foreach (nint block in blocks)
        {
            Free(block);
        }
    }

    public unsafe long Usable(nint block) => (long)Heap.UsableSize(unchecked((void*)block));

    /// <summary>The slab that an object of so many bytes lies in.</summary>
    public Slab SlabOf(nint block, int bytes) => Heap.Slabs.SlabOf((ulong)block, SizeClasses.Order(SizeClasses.For(bytes, 16)), out _);

    public unsafe ThreadSheaves Mine()
    {
        ThreadSheaves? mine = Heap.Sheaves.GetOrCreate();
        Assert.NotNull(mine);
        return mine;
    }

    /// <summary>Both levels.</summary>
    public void Verify()
    {
        Heap.Verify();
        Arena.Verify();
    }

    public void Dispose()
    {
        Heap.Dispose();
        _probe.Dispose();
    }
}
