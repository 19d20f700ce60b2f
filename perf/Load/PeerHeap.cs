using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>This library's heap.</summary>
/// <param name="heap">Shared by all threads.</param>
/// <param name="bytes">Of each block.</param>
internal readonly struct HeapPeer(NativeHeap heap, int bytes) : IPeer<NativeBlock>
{
    private readonly NativeHeap _heap = heap;
    private readonly nuint _bytes = (nuint)bytes;

    public unsafe NativeBlock Allocate() => new((nint)_heap.Allocate(_bytes));

    // Sound: the loops free each block once and use it no more.
    public unsafe void Free(NativeBlock block) => _heap.Free(block.Pointer);

    public void Touch(NativeBlock block) => block.Touch(_bytes);
}

/// <summary>The heap on an arena with default options, as a contestant.</summary>
internal sealed class HeapLoad : PeerLoad<HeapPeer, NativeBlock>
{
    private readonly PageArena _arena = PageArena.Create();
    private readonly NativeHeap _heap;

    public HeapLoad() => _heap = new NativeHeap(_arena);

    /// <summary>Bytes that are out.</summary>
    public long AllocatedBytes => _heap.GetStatistics().AllocatedBytes;

    public override void Release()
    {
        _heap.Trim();
        _arena.Trim();
    }

    protected override HeapPeer Create(int bytes) => new(_heap, bytes);

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _heap.Verify();
        _heap.Dispose();
        _arena.Dispose();
    }
}
