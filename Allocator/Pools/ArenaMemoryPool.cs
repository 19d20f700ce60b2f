using System;
using System.Buffers;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>A <see cref="MemoryPool{T}"/> of bytes on an arena: what is returned is free arena memory, shared with everything else
/// on the arena, and goes back to the system by itself. Buffers have a fixed address and are no burden to the garbage collector.
/// Safe from any thread. Does not own the arena.</summary>
/// <remarks>
/// <para>Up to 4 MiB a buffer is a block of 2^n pages (of type <see cref="MigrateType.Reclaimable"/>), above that a range of pages;
/// its length is the whole block's. Contents are undefined: whatever the last user left.</para>
/// <para>Renting and returning allocate nothing managed once as many owners exist as are rented at one time, plus 64. That has a
/// price, which every pool of owners pays: an owner object serves again. Here it rests first, until 64 others have been returned
/// after it. While it rests, returning it again does nothing and using it throws <see cref="ObjectDisposedException"/>, for sure;
/// a holder that comes back still later, when the owner has been rented to somebody else, cannot be told from the new one.</para>
/// <para>A pinned buffer (<see cref="Memory{T}.Pin"/>) stays where it is until the last handle is disposed, even if its owner
/// is returned before.</para>
/// </remarks>
public sealed class ArenaMemoryPool : MemoryPool<byte>
{
    /// <summary>How many owners must be returned after one before it is used again.</summary>
    internal const int RestingMin = 64;

    /// <summary>What -1 asks for: one page.</summary>
    private const int PageBytes = 4096;

    private readonly PageArena arena;
    private readonly Lock gate = new();

    /// <summary>The resting owners, the one that has rested longest first; linked through the owners, so that a return
    /// allocates nothing.</summary>
    private ArenaMemoryOwner? oldest;
    private ArenaMemoryOwner? youngest;
    private int resting;
    private volatile bool disposed;

    /// <summary>A pool on this arena. Any number of pools may share an arena.</summary>
    /// <param name="arena">Where the buffers come from; must outlive the pool.</param>
    /// <exception cref="ArgumentNullException"><paramref name="arena"/> is null.</exception>
    public ArenaMemoryPool(PageArena arena)
    {
        ArgumentNullException.ThrowIfNull(arena);
        this.arena = arena;
        MaxBufferSize = (int)Math.Min(int.MaxValue, arena.SizeBytes);
    }

    /// <summary>The largest size that <see cref="Rent"/> takes, bytes: the arena's size, at most 2^31 - 1. Whether that much
    /// is free is another matter.</summary>
    public override int MaxBufferSize { get; }

    /// <summary>Hands out a buffer of at least this many bytes. Dispose the owner to return it.</summary>
    /// <param name="minBufferSize">Bytes, 0 to <see cref="MaxBufferSize"/>; -1: as the pool likes best, 4096.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="minBufferSize"/> is less than -1 or more than
    /// <see cref="MaxBufferSize"/>.</exception>
    /// <exception cref="OutOfMemoryException">The arena has no such block; the message says what is free.</exception>
    /// <exception cref="ObjectDisposedException">The pool or its arena has been disposed.</exception>
    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (minBufferSize < -1 || minBufferSize > MaxBufferSize)
        {
            throw new ArgumentOutOfRangeException(
                nameof(minBufferSize), minBufferSize, $"Allowed: 0 to {MaxBufferSize} bytes, or -1 for {PageBytes}.");
        }

        ulong bytes = minBufferSize < 0 ? PageBytes : (ulong)Math.Max(1, minBufferSize);
        ulong pages = (bytes + PageBytes - 1) / PageBytes;
        Order order = Order.ForPages(pages);

        // Sound: the block is fresh and this thread's alone until the owner, which knows its whole length, is returned.
        unsafe
        {
            bool isRange = order > Order.Max;
            ulong length = isRange ? pages * PageBytes : order.Bytes;
            void* block = isRange ? arena.AllocateRange((nuint)length) : arena.AllocatePages(order.Value, MigrateType.Reclaimable);
            ArenaMemoryOwner owner = TakeRested() ?? new ArenaMemoryOwner(this);
            owner.Start(block, (int)Math.Min(int.MaxValue, length));
            return owner;
        }
    }

    /// <summary>The block of an owner that nobody holds any more goes back to the arena, the owner to its rest.</summary>
    internal unsafe void Return(ArenaMemoryOwner owner, void* block)
    {
        // Sound: the owner's state has let exactly one caller through, and nothing is pinned.
        arena.FreePages(block);
        lock (gate)
        {
            owner.Next = null;
            if (youngest is null)
            {
                oldest = owner;
            }
            else
            {
                youngest.Next = owner;
            }

            youngest = owner;
            resting++;
        }
    }

    /// <summary>Ends the pool: nothing can be rented any more; what is rented stays good and can be returned. The arena lives on.</summary>
    protected override void Dispose(bool disposing) => disposed = true;

    private ArenaMemoryOwner? TakeRested()
    {
        lock (gate)
        {
            if (resting <= RestingMin)
            {
                return null;
            }

            ArenaMemoryOwner rested = oldest!;
            oldest = rested.Next;
            resting--;
            return rested;
        }
    }
}
