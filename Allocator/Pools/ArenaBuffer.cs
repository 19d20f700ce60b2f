using System;
using System.Runtime.InteropServices;

namespace LowLevel.Allocator;

/// <summary>A piece of an arena as a <see cref="SafeBuffer"/>: what the base library's
/// <see cref="System.IO.UnmanagedMemoryStream"/> and <see cref="System.IO.UnmanagedMemoryAccessor"/> work on, past 2 GiB too.
/// <code>
/// using var buffer = new ArenaBuffer(arena, 3L &lt;&lt; 30);
/// using var stream = new UnmanagedMemoryStream(buffer, 0, (long)buffer.ByteLength, FileAccess.ReadWrite);
/// stream.Write(bytes);
/// </code>
/// The stream does not dispose the buffer, but keeps it from being collected; use of a stream whose buffer is disposed throws. A buffer that is
/// forgotten is freed by its finalizer: whoever works on the memory counts as a reference (<see cref="SafeBuffer.AcquirePointer"/>).</summary>
/// <remarks>Dispose is safe from any thread; the memory goes back when the last reference ends. Reads and writes are as safe as the
/// caller makes them.</remarks>
public sealed class ArenaBuffer : SafeBuffer
{
    private readonly PageArena arena;

    /// <summary>Takes a range of pages that holds so many bytes.</summary>
    /// <param name="arena">Where the memory comes from.</param>
    /// <param name="bytes">1 to the arena's size; also the <see cref="SafeBuffer.ByteLength"/>.</param>
    /// <param name="flags">How to go about it; <see cref="AllocationFlags.Zeroed"/> for memory that reads zero.</param>
    /// <exception cref="ArgumentNullException"><paramref name="arena"/> is null.</exception>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="bytes"/> or <paramref name="flags"/> are none of the allowed.</exception>
    /// <exception cref="OutOfMemoryException">The arena has no such range; the message says what is free.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public ArenaBuffer(PageArena arena, long bytes, AllocationFlags flags = AllocationFlags.None)
        : base(ownsHandle: true)
    {
        ArgumentNullException.ThrowIfNull(arena);
        if (bytes < 1 || (ulong)bytes > arena.SizeBytes)
        {
            throw new ArgumentOutOfRangeException(nameof(bytes), bytes, $"Allowed: 1 to {arena.SizeBytes} bytes, the arena's size.");
        }

        this.arena = arena;
        Initialize((ulong)bytes);
        unsafe
        {
            // Sound: the range is this object's alone and at least as long as what Initialize was told.
            SetHandle((nint)arena.AllocateRange((nuint)bytes, flags));
        }
    }

    /// <summary>Called once, when nobody has a reference any more.</summary>
    protected override unsafe bool ReleaseHandle()
    {
        // Sound: the handle is the head of the range, and the base class lets through one call.
        arena.FreeQuietly((void*)handle);
        return true;
    }
}
