using System;
using System.Buffers;
using System.Threading;
using Apache.Arrow.Memory;
using LowLevel.Allocator;

namespace LowLevel.Samples.Arrow;

/// <summary>Apache Arrow's buffers on an arena. Each is a block of whole pages (4 KiB and up), aligned to its size, so more than the 64
/// bytes that Arrow wants; it reads zero, as Arrow's own allocator has it. Safe from any thread; does not own the pool.</summary>
public sealed class ArenaArrowAllocator : MemoryAllocator
{
    private readonly ArenaMemoryPool pool;

    /// <summary>An allocator on this pool, which must outlive the buffers.</summary>
    public ArenaArrowAllocator(ArenaMemoryPool pool)
    {
        ArgumentNullException.ThrowIfNull(pool);
        this.pool = pool;
    }

    /// <summary>Called by <see cref="MemoryAllocator.Allocate"/> with 1 byte and more.</summary>
    protected override IMemoryOwner<byte> AllocateInternal(int length, out int bytesAllocated)
    {
        IMemoryOwner<byte> block = pool.Rent(length);
        bytesAllocated = block.Memory.Length;
        block.Memory.Span[..length].Clear();
        return new ArrowOwner(block, length);
    }

    /// <summary>Shows the length that was asked for, because Arrow writes a buffer's whole length to files. Arrow may dispose an
    /// owner again at any time later, so this one, unlike the pool's, never serves twice.</summary>
    private sealed class ArrowOwner(IMemoryOwner<byte> block, int length) : IMemoryOwner<byte>
    {
        private readonly IMemoryOwner<byte> block = block;
        private int disposed;

        public Memory<byte> Memory
        {
            get
            {
                ObjectDisposedException.ThrowIf(Volatile.Read(ref disposed) != 0, this);
                return block.Memory[..length];
            }
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref disposed, 1) == 0)
            {
                block.Dispose();
            }
        }
    }
}
