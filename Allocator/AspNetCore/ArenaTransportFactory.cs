using System;
using System.Net;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace LowLevel.Allocator.AspNetCore;

/// <summary>Kestrel's own socket transport with another sending half: see <see cref="ArenaConnection"/>.</summary>
internal sealed class ArenaTransportFactory : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    private readonly SocketTransportFactory inner;
    private readonly SocketTransportOptions options;
    private readonly int blockBytes;

    public ArenaTransportFactory(
        IMemoryPoolFactory<byte> pools,
        IOptions<SocketTransportOptions> options,
        IOptions<LowLevelMemoryPoolOptions> memory,
        ILoggerFactory loggers)
    {
        // UseKestrel registers its own factory anew with each call, and the last one counts.
        if (pools is not ArenaMemoryPoolFactory)
        {
            throw new InvalidOperationException(
                $"Another IMemoryPoolFactory<byte> ({pools.GetType()}) was registered after AddLowLevelMemoryPool, by UseKestrel for one; " +
                "call AddLowLevelMemoryPool after it.");
        }

        inner = new SocketTransportFactory(options, loggers);
        this.options = options.Value;
        blockBytes = memory.Value.BlockBytes;
    }

    public bool CanBind(EndPoint endpoint) => inner.CanBind(endpoint);

    public async ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        new Listener(await inner.BindAsync(endpoint, cancellationToken).ConfigureAwait(false), options, blockBytes);

    private sealed class Listener(IConnectionListener inner, SocketTransportOptions options, int blockBytes) : IConnectionListener
    {
        public EndPoint EndPoint => inner.EndPoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) =>
            await inner.AcceptAsync(cancellationToken).ConfigureAwait(false) is ConnectionContext accepted
                ? new ArenaConnection(accepted, options, blockBytes)
                : null;

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default) => inner.UnbindAsync(cancellationToken);

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }
}
