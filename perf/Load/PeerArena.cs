using System.Numerics;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>A block of native memory.</summary>
/// <param name="address">Its first byte.</param>
internal readonly struct NativeBlock(nint address)
{
    public nint Address { get; } = address;

    public unsafe byte* Pointer => (byte*)Address;

    /// <summary>Writes one byte of each 4 KiB. Sound as long as the block is held and has so many bytes.</summary>
    public unsafe void Touch(nuint bytes)
    {
        byte* block = Pointer;
        for (nuint offset = 0; offset < bytes; offset += 4096)
        {
            block[offset] = 1;
        }
    }
}

/// <summary>This library.</summary>
/// <param name="arena">Shared by all threads.</param>
/// <param name="bytes">A power of two, 4 KiB to 4 MiB.</param>
internal readonly struct ArenaPeer(PageArena arena, int bytes) : IPeer<NativeBlock>
{
    private readonly PageArena _arena = arena;
    private readonly int _order = BitOperations.Log2((uint)bytes) - 12;

    public unsafe NativeBlock Allocate() => new((nint)_arena.AllocatePages(_order));

    // Sound: the loops free each block once and use it no more.
    public unsafe void Free(NativeBlock block) => _arena.FreePages(block.Pointer);

    public void Touch(NativeBlock block) => block.Touch((nuint)4096 << _order);
}

/// <summary>The arena, with default options, as a contestant.</summary>
internal sealed class ArenaLoad : PeerLoad<ArenaPeer, NativeBlock>
{
    private readonly PageArena _arena = PageArena.Create();

    /// <summary>Bytes that are out, or in the threads' pages.</summary>
    public long AllocatedBytes => _arena.GetStatistics().AllocatedBytes;

    public override void Release() => _arena.Trim();

    protected override ArenaPeer Create(int bytes) => new(_arena, bytes);

    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        _arena.Verify();
        _arena.Dispose();
    }
}
