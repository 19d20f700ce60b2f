using System;
using System.Buffers;
using System.Threading;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace LowLevel.Allocator.AspNetCore;

/// <summary>Makes the pools that Kestrel, and whoever else asks for an <see cref="IMemoryPoolFactory{T}"/>, rents from: all on one arena,
/// which is created with the first pool. Safe from any thread.</summary>
/// <remarks>The container disposes the factory after the server that uses it. Buffers that are still rented then stay valid; the arena
/// is unmapped when the last of them has come back.</remarks>
public sealed class ArenaMemoryPoolFactory : IMemoryPoolFactory<byte>, IDisposable
{
    private readonly LowLevelMemoryPoolOptions options;
    private readonly ILogger logger;
    private readonly Lock gate = new();
    private PageArena? arena;
    private bool disposed;

    /// <summary>A factory with these options; nothing is reserved yet.</summary>
    /// <param name="options">Validated where it comes from a container.</param>
    /// <param name="logger">Is told, once, that the arena is full. Null: nobody is.</param>
    /// <exception cref="ArgumentNullException"><paramref name="options"/> is null.</exception>
    /// <exception cref="OptionsValidationException">An option is out of its range.</exception>
    public ArenaMemoryPoolFactory(IOptions<LowLevelMemoryPoolOptions> options, ILogger<ArenaMemoryPoolFactory>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        this.options = options.Value;
        this.logger = logger ?? NullLogger<ArenaMemoryPoolFactory>.Instance;
        ValidateOptionsResult result = new LowLevelMemoryPoolOptionsValidator().Validate(Options.DefaultName, this.options);
        if (result.Failed)
        {
            throw new OptionsValidationException(Options.DefaultName, typeof(LowLevelMemoryPoolOptions), result.Failures);
        }
    }

    /// <summary>The arena of all pools; created by whoever asks first.</summary>
    /// <exception cref="ObjectDisposedException">The factory has been disposed.</exception>
    /// <exception cref="PlatformNotSupportedException">Not 64-bit Linux, or pages of another size than 4 KiB.</exception>
    /// <exception cref="OutOfMemoryException">The system refused the reservation.</exception>
    public PageArena Arena
    {
        get
        {
            lock (gate)
            {
                ObjectDisposedException.ThrowIf(disposed, this);
                return arena ??= CreateArena();
            }
        }
    }

    /// <summary>A pool on the arena. Its buffers are at least <see cref="LowLevelMemoryPoolOptions.BlockBytes"/> long.</summary>
    /// <param name="options">The owner's name is not used.</param>
    /// <exception cref="ObjectDisposedException">The factory has been disposed.</exception>
    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) =>
        new ServerMemoryPool(new ArenaMemoryPool(Arena), this.options.BlockBytes, this.options.FallBackToManaged ? logger : null);

    /// <summary>Ends the arena: the pools rent out nothing more. Harmless when repeated.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            disposed = true;
            arena?.Dispose();
        }
    }

    private PageArena CreateArena() => PageArena.Create(new PageArenaOptions
    {
        SizeBytes = (nuint)(options.SizeBytes ?? 0),
        CapBytes = options.CapBytes is long cap ? (nuint)cap : null,
        HugePages = options.HugePages,
        Aeration = new AerationOptions { Delay = options.Delay },
        Name = "lowlevel-aspnetcore",
    });
}
