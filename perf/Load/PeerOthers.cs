using System;
using System.Buffers;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>malloc and free, as .NET offers them; whose they are is the preloaded library's matter.</summary>
internal readonly struct MallocPeer(int bytes) : IPeer<NativeBlock>
{
    private readonly nuint _bytes = (nuint)bytes;

    public unsafe NativeBlock Allocate() => new((nint)NativeMemory.Alloc(_bytes));

    public unsafe void Free(NativeBlock block) => NativeMemory.Free(block.Pointer);

    public void Touch(NativeBlock block) => block.Touch(_bytes);
}

/// <summary>aligned_alloc and free, as .NET offers them: what a program takes that wants pages.</summary>
internal readonly struct AlignedPeer(int bytes) : IPeer<NativeBlock>
{
    private const int Alignment = 4096;

    private readonly nuint _bytes = (nuint)bytes;

    public unsafe NativeBlock Allocate() => new((nint)NativeMemory.AlignedAlloc(_bytes, Alignment));

    public unsafe void Free(NativeBlock block) => NativeMemory.AlignedFree(block.Pointer);

    public void Touch(NativeBlock block) => block.Touch(_bytes);
}

/// <summary>A mapping a block.</summary>
internal readonly struct MmapPeer(int bytes) : IPeer<NativeBlock>
{
    private readonly nuint _bytes = (nuint)bytes;

    public NativeBlock Allocate()
    {
        Errno error = LinuxSystem.Instance.MapAnonymous(_bytes, MemoryProtection.ReadWrite, out nint address);
        return error == Errno.None ? new NativeBlock(address) : throw new MeasurementException($"mmap of {_bytes} bytes: {error}");
    }

    public void Free(NativeBlock block) => LinuxSystem.Instance.Unmap(block.Address, _bytes);

    public void Touch(NativeBlock block) => block.Touch(_bytes);
}

/// <summary>A managed array in a struct of its own: see <see cref="IPeer{TBlock}"/>.</summary>
internal readonly struct ArrayBlock(byte[]? array)
{
    public byte[]? Array { get; } = array;

    public unsafe void Touch(int bytes)
    {
        // Sound: the array does not move meanwhile, and has at least so many bytes.
        fixed (byte* first = Array)
        {
            new NativeBlock((nint)first).Touch((nuint)bytes);
        }
    }
}

/// <summary>The framework's shared pool of arrays.</summary>
internal readonly struct ArrayPoolPeer(int bytes) : IPeer<ArrayBlock>
{
    public ArrayBlock Allocate() => new(ArrayPool<byte>.Shared.Rent(bytes));

    public void Free(ArrayBlock block) => ArrayPool<byte>.Shared.Return(block.Array!);

    public void Touch(ArrayBlock block) => block.Touch(bytes);
}

/// <summary>Arrays on the pinned object heap; the collector frees them.</summary>
internal readonly struct PinnedPeer(int bytes) : IPeer<ArrayBlock>
{
    public ArrayBlock Allocate() => new(GC.AllocateUninitializedArray<byte>(bytes, pinned: true));

    public void Free(ArrayBlock block)
    {
        // To lose the reference, which the loops do, is all that a program can do.
    }

    public void Touch(ArrayBlock block) => block.Touch(bytes);
}

/// <summary>NativeMemory.Alloc.</summary>
internal sealed class MallocLoad : PeerLoad<MallocPeer, NativeBlock>
{
    public override void Release() => PeerLibrary.Release();

    protected override MallocPeer Create(int bytes) => new(bytes);
}

/// <summary>NativeMemory.AlignedAlloc.</summary>
internal sealed class AlignedLoad : PeerLoad<AlignedPeer, NativeBlock>
{
    public override void Release() => PeerLibrary.Release();

    protected override AlignedPeer Create(int bytes) => new(bytes);
}

/// <summary>mmap and munmap: nothing is kept.</summary>
internal sealed class MmapLoad : PeerLoad<MmapPeer, NativeBlock>
{
    protected override MmapPeer Create(int bytes) => new(bytes);
}

/// <summary>ArrayPool: arrays that it dropped wait for the collector.</summary>
internal sealed class ArrayPoolLoad : PeerLoad<ArrayPoolPeer, ArrayBlock>
{
    public override void Release() => GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);

    protected override ArrayPoolPeer Create(int bytes) => new(bytes);
}

/// <summary>Pinned arrays.</summary>
internal sealed class PinnedLoad : PeerLoad<PinnedPeer, ArrayBlock>
{
    public override void Release() => GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);

    protected override PinnedPeer Create(int bytes) => new(bytes);
}
