using System;
using System.Buffers;

namespace LowLevel.Allocator;

/// <summary>A growing run of bytes on an arena, with the members of the base library's <see cref="ArrayBufferWriter{T}"/>. What is
/// written lies in one piece. Not thread-safe; dispose it to return the memory.</summary>
/// <remarks>
/// <para>Memory is a buffer of the pool: whole blocks of 2^n pages up to 4 MiB, a range of pages above. When it is full, the writer rents
/// one of at least twice the size (at least what was asked for, at most <see cref="ArenaMemoryPool.MaxBufferSize"/>; no more than what was
/// asked for if twice the size is not to be had), copies what is written and returns the old one. The two exist side by side
/// for that time.</para>
/// <para>Growing, <see cref="Dispose"/> and nothing else end the memory that was handed out before: a <see cref="Memory{T}"/> from before
/// then throws <see cref="ObjectDisposedException"/> (see <see cref="ArenaMemoryPool"/> for how long that is sure), a span must not be used.
/// A pinned piece stays until its handle is disposed.</para>
/// </remarks>
public sealed class ArenaBufferWriter : IBufferWriter<byte>, IDisposable
{
    private readonly ArenaMemoryPool pool;
    private IMemoryOwner<byte>? owner;
    private Memory<byte> buffer;
    private int written;
    private bool disposed;

    /// <summary>An empty writer.</summary>
    /// <param name="pool">Where the memory comes from; must outlive the writer.</param>
    /// <param name="initialCapacity">Bytes to begin with, 0 to <see cref="ArenaMemoryPool.MaxBufferSize"/>, rounded up to a whole block;
    /// 0: nothing is rented before the first write.</param>
    /// <exception cref="ArgumentNullException"><paramref name="pool"/> is null.</exception>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="initialCapacity"/> is none of the allowed.</exception>
    /// <exception cref="OutOfMemoryException">The arena has no such block; the message says what is free.</exception>
    public ArenaBufferWriter(ArenaMemoryPool pool, int initialCapacity = 0)
    {
        ArgumentNullException.ThrowIfNull(pool);
        if (initialCapacity < 0 || initialCapacity > pool.MaxBufferSize)
        {
            throw new ArgumentOutOfRangeException(nameof(initialCapacity), initialCapacity, $"Allowed: 0 to {pool.MaxBufferSize} bytes.");
        }

        this.pool = pool;
        if (initialCapacity > 0)
        {
            owner = pool.Rent(initialCapacity);
            buffer = owner.Memory;
        }
    }

    /// <summary>Bytes written.</summary>
    public int WrittenCount => written;

    /// <summary>Bytes there is room for without growing, the written ones included.</summary>
    public int Capacity => buffer.Length;

    /// <summary>Bytes that can be written without growing.</summary>
    public int FreeCapacity => buffer.Length - written;

    /// <summary>What is written.</summary>
    /// <exception cref="ObjectDisposedException">The writer was disposed.</exception>
    public ReadOnlyMemory<byte> WrittenMemory
    {
        get
        {
            ObjectDisposedException.ThrowIf(disposed, this);
            return buffer[..written];
        }
    }

    /// <summary>What is written; good until the writer grows or is disposed.</summary>
    /// <exception cref="ObjectDisposedException">The writer was disposed.</exception>
    public ReadOnlySpan<byte> WrittenSpan => WrittenMemory.Span;

    /// <summary>Says that the next <paramref name="count"/> bytes have been written.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 0.</exception>
    /// <exception cref="InvalidOperationException">More than <see cref="FreeCapacity"/>; nothing changes.</exception>
    /// <exception cref="ObjectDisposedException">The writer was disposed.</exception>
    public void Advance(int count)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if (count > FreeCapacity)
        {
            throw new InvalidOperationException($"Advance by {count} bytes: the buffer has room for {FreeCapacity} more. Ask for memory first.");
        }

        written += count;
    }

    /// <summary>Memory to write to, at least <paramref name="sizeHint"/> bytes, at least 1. Its contents are undefined.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 0.</exception>
    /// <exception cref="OutOfMemoryException">The arena has no such block, or the sum would be more than
    /// <see cref="ArenaMemoryPool.MaxBufferSize"/>. What is written stays.</exception>
    /// <exception cref="ObjectDisposedException">The writer, the pool or the arena was disposed.</exception>
    public Memory<byte> GetMemory(int sizeHint = 0)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        int needed = Math.Max(1, sizeHint);
        if (needed > FreeCapacity)
        {
            Grow(needed);
        }

        return buffer[written..];
    }

    /// <summary>As <see cref="GetMemory"/>; the span is good until the writer grows or is disposed.</summary>
    public Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;

    /// <summary>Forgets what is written and overwrites it with zeros. The capacity stays.</summary>
    /// <exception cref="ObjectDisposedException">The writer was disposed.</exception>
    public void Clear()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        buffer.Span[..written].Clear();
        written = 0;
    }

    /// <summary>Forgets what is written, without touching it. The capacity stays.</summary>
    /// <exception cref="ObjectDisposedException">The writer was disposed.</exception>
    public void ResetWrittenCount()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        written = 0;
    }

    /// <summary>Returns the memory. Harmless when repeated.</summary>
    public void Dispose()
    {
        disposed = true;
        owner?.Dispose();
        owner = null;
        buffer = default;
        written = 0;
    }

    private void Grow(int more)
    {
        long least = (long)written + more;
        if (least > pool.MaxBufferSize)
        {
            throw new OutOfMemoryException($"{written} bytes are written, {more} more would be {least}: a buffer has at most {pool.MaxBufferSize} bytes.");
        }

        IMemoryOwner<byte> larger = RentOneOf((int)Math.Clamp(2L * buffer.Length, least, pool.MaxBufferSize), (int)least);
        Memory<byte> fresh = larger.Memory;
        buffer.Span[..written].CopyTo(fresh.Span);
        owner?.Dispose();
        owner = larger;
        buffer = fresh;
    }

    private IMemoryOwner<byte> RentOneOf(int wanted, int least)
    {
        try
        {
            return pool.Rent(wanted);
        }
        catch (OutOfMemoryException) when (wanted > least)
        {
            return pool.Rent(least);
        }
    }
}
