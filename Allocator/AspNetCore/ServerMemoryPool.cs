using System;
using System.Buffers;
using System.Threading;
using Microsoft.Extensions.Logging;

namespace LowLevel.Allocator.AspNetCore;

/// <summary>An <see cref="ArenaMemoryPool"/> for a server: buffers have a least size, and where the arena is full they come from the managed
/// pool, so that a burst beyond the cap costs memory that the garbage collector watches and not requests.</summary>
internal sealed class ServerMemoryPool : MemoryPool<byte>
{
    /// <summary>After a refusal so many rents do not ask the arena: a refusal is an exception with an inventory in its text, which
    /// costs a thousand times a rent.</summary>
    internal const int Abstinence = 256;

    private readonly ArenaMemoryPool pool;
    private readonly int blockBytes;
    private readonly ILogger? logger;
    private int abstinence;
    private int warned;

    /// <param name="pool">Is disposed with this one.</param>
    /// <param name="blockBytes">The least buffer, a power of two.</param>
    /// <param name="logger">Is told of the first fall-back; null: there is no fall-back.</param>
    public ServerMemoryPool(ArenaMemoryPool pool, int blockBytes, ILogger? logger)
    {
        this.pool = pool;
        this.blockBytes = blockBytes;
        this.logger = logger;
    }

    public override int MaxBufferSize => pool.MaxBufferSize;

    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        // A size that is not allowed goes on as it is, so that the error names what the caller gave.
        int bytes = minBufferSize >= -1 && minBufferSize < blockBytes ? blockBytes : minBufferSize;
        return logger is null ? pool.Rent(bytes) : RentOrFallBack(bytes);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            pool.Dispose();
        }
    }

    private IMemoryOwner<byte> RentOrFallBack(int bytes)
    {
        if (Volatile.Read(ref abstinence) > 0 && Interlocked.Decrement(ref abstinence) >= 0)
        {
            return Shared.Rent(bytes);
        }

        try
        {
            return pool.Rent(bytes);
        }
        catch (OutOfMemoryException e)
        {
            Volatile.Write(ref abstinence, Abstinence);
            if (Interlocked.Exchange(ref warned, 1) == 0)
            {
                logger!.LogWarning(e, "The arena is full; buffers come from the managed pool until it has memory again. Said once.");
            }

            return Shared.Rent(bytes);
        }
    }
}
