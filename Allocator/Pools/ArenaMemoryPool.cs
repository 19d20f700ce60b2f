using System;
using System.Buffers;
using System.Numerics;
using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>A <see cref="MemoryPool{T}"/> of bytes on an arena: what is returned is free arena memory, shared with everything else
/// on the arena, and goes back to the system by itself. Buffers have a fixed address and are no burden to the garbage collector.
/// Safe from any thread. Does not own the arena.</summary>
/// <remarks>
/// <para>Up to 4 MiB a buffer is a block of 2^n pages (of type <see cref="MigrateType.Reclaimable"/>), above that a range of pages;
/// its length is the whole block's. Contents are undefined: whatever the last user left.</para>
/// <para>Renting and returning allocate nothing managed once the owners exist: each thread finds them in one of a few lanes (up to
/// 64, 2 or 4 for each processor), and a lane has as many as its threads have rented at one time, plus 64. That has a price, which
/// every pool of owners pays: an owner object serves again. Here it rests first, until at least 64 others have been returned after
/// it. While it rests, returning it again does nothing and using it throws <see cref="ObjectDisposedException"/>, for sure; a holder
/// that comes back still later, when the owner has been rented to somebody else, cannot be told from the new one. Where that
/// is suspected, and for buffers that are never returned, there are <see cref="ArenaMemoryPoolOptions"/>.</para>
/// <para>A pinned buffer (<see cref="Memory{T}.Pin"/>) stays where it is until the last handle is disposed, even if its owner
/// is returned before.</para>
/// </remarks>
public sealed class ArenaMemoryPool : MemoryPool<byte>
{
    /// <summary>How many owners must be returned after one before it is used again.</summary>
    internal const int RestingMin = 64;

    /// <summary>What -1 asks for: one page.</summary>
    private const int PageBytes = 4096;

    /// <summary>More than this many threads renting at one instant are seldom, and lanes cost owners at rest.</summary>
    private const int LanesMax = 64;

    private readonly PageArena arena;
    private readonly ArenaMemoryWatch? watch;
    private readonly OwnerLane[] lanes;
    private volatile bool disposed;

    /// <summary>A pool on this arena. Any number of pools may share an arena.</summary>
    /// <param name="arena">Where the buffers come from; must outlive the pool.</param>
    /// <param name="options">What to look out for. Null: nothing.</param>
    /// <exception cref="ArgumentNullException"><paramref name="arena"/> is null.</exception>
    /// <exception cref="ArgumentException">An option is set that can have no effect; the message names it and the one that is missing.</exception>
    public ArenaMemoryPool(PageArena arena, ArenaMemoryPoolOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(arena);
        this.arena = arena;
        watch = ArenaMemoryWatch.From(options);
        lanes = new OwnerLane[Math.Min(LanesMax, BitOperations.RoundUpToPowerOf2((uint)Environment.ProcessorCount * 2))];
        for (int i = 0; i < lanes.Length; i++)
        {
            lanes[i] = new OwnerLane(RestingMin);
        }

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
            int shown = (int)Math.Min(int.MaxValue, length);
            ArenaMemoryOwner owner = watch is null ? RestedOwner() : GuardedOwner(watch, block, shown);
            owner.Start(block, shown);
            return owner;
        }
    }

    /// <summary>Ends the pool: nothing can be rented any more; what is rented stays good and can be returned. The arena lives on.</summary>
    protected override void Dispose(bool disposing) => disposed = true;

    private ArenaMemoryOwner RestedOwner()
    {
        OwnerLane lane = lanes[Environment.CurrentManagedThreadId & (lanes.Length - 1)];
        return lane.TakeRested() ?? new ArenaMemoryOwner(arena, lane);
    }

    /// <summary>Not inlined: the guard leaves its callers up to here out of the stack that it keeps.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private unsafe ArenaMemoryOwner GuardedOwner(ArenaMemoryWatch by, void* block, int length) =>
        new(arena, new ArenaMemoryGuard(arena, by, block, length));
}
