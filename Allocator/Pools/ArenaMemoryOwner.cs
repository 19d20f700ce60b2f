using System;
using System.Buffers;
using System.Runtime.InteropServices;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>One rented buffer at a time, many in its life. Its whole state is one word: a bit for "rented" and the number of pins;
/// the block goes back when the word becomes 0, and whoever makes it 0 carries it back.</summary>
/// <remarks>No finalizer (CA2015): a <see cref="Memory{T}"/> does not keep its manager's finalizer from running while a span of it is
/// in use. A buffer that is never returned stays allocated; the arena's statistics show it, and a pool that looks out for leaks
/// gives each rent an <see cref="ArenaMemoryGuard"/>.</remarks>
internal sealed class ArenaMemoryOwner : MemoryManager<byte>
{
    private const int Rented = 1 << 30;

    private readonly PageArena arena;
    private readonly OwnerLane? lane; // null: serves once
    private readonly ArenaMemoryGuard? guard;
    private nint block;
    private int length;
    private int state;

    /// <summary>An owner that rests in this lane between two rents.</summary>
    public ArenaMemoryOwner(PageArena arena, OwnerLane lane)
    {
        this.arena = arena;
        this.lane = lane;
    }

    /// <summary>An owner for one rent, which is looked after.</summary>
    public ArenaMemoryOwner(PageArena arena, ArenaMemoryGuard guard)
    {
        this.arena = arena;
        this.guard = guard;
    }

    /// <summary>The owner that was returned after this one; the lane's, under its lock.</summary>
    internal ArenaMemoryOwner? Next { get; set; }

    /// <summary>The buffer's bytes.</summary>
    /// <exception cref="ObjectDisposedException">The buffer has been returned.</exception>
    public override unsafe Span<byte> GetSpan()
    {
        ThrowIfReturned();

        // Sound: the block is at least this long and is freed only after the holder has returned it, which ends his right to the span.
        return new Span<byte>((void*)block, length);
    }

    /// <summary>A pointer that stays good until the handle is disposed, whatever happens to the owner meanwhile. No object is
    /// pinned: the block has never been the garbage collector's.</summary>
    public override unsafe MemoryHandle Pin(int elementIndex = 0)
    {
        if (elementIndex < 0 || elementIndex > length)
        {
            throw new ArgumentOutOfRangeException(nameof(elementIndex), elementIndex, $"Allowed: 0 to {length}, the buffer's length in bytes.");
        }

        int seen = Volatile.Read(ref state);
        for (int before; ; seen = before)
        {
            ObjectDisposedException.ThrowIf((seen & Rented) == 0, typeof(IMemoryOwner<byte>));
            before = Interlocked.CompareExchange(ref state, seen + 1, seen);
            if (before == seen)
            {
                // Sound: inside the block or one past its end, and the pin that was just counted keeps the block.
                return new MemoryHandle((byte*)block + elementIndex, default(GCHandle), this);
            }
        }
    }

    /// <summary>Ends one pin; called by the handle.</summary>
    /// <exception cref="InvalidOperationException">Nothing is pinned.</exception>
    public override void Unpin()
    {
        int seen = Volatile.Read(ref state);
        for (int before; ; seen = before)
        {
            if ((seen & ~Rented) == 0)
            {
                throw new InvalidOperationException("Unpin without a Pin before it: nothing of this buffer is pinned.");
            }

            before = Interlocked.CompareExchange(ref state, seen - 1, seen);
            if (before == seen)
            {
                break;
            }
        }

        if (seen - 1 == 0)
        {
            CarryBack();
        }
    }

    /// <summary>From rest to service; the caller is the only one who has this owner.</summary>
    internal unsafe void Start(void* newBlock, int newLength)
    {
        block = (nint)newBlock;
        length = newLength;
        Volatile.Write(ref state, Rented);
    }

    /// <summary>Returns the buffer; a second call, also by another thread at the same time, finds the bit cleared and does nothing.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing && guard?.TryReturn() != false && Interlocked.And(ref state, ~Rented) == Rented)
        {
            CarryBack();
        }
    }

    private void ThrowIfReturned() => ObjectDisposedException.ThrowIf((Volatile.Read(ref state) & Rented) == 0, typeof(IMemoryOwner<byte>));

    private unsafe void CarryBack()
    {
        guard?.Dispose();

        // Sound: only one transition of the word leads to 0, and it has led here; nothing is pinned and nobody may use the buffer.
        void* freed = (void*)block;
        block = 0;
        arena.FreePages(freed);
        lane?.Rest(this);
    }
}
