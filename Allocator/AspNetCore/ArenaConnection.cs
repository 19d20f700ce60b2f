using System;
using System.Buffers;
using System.Collections.Generic;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace LowLevel.Allocator.AspNetCore;

/// <summary>A connection of Kestrel's socket transport that sends by itself.</summary>
/// <remarks>
/// <para>Why: what a response leaves in more than one buffer, the transport sends as a list of array segments, the only form in which
/// <see cref="Socket"/> takes a list, and so it throws InvalidOperationException ("Buffer backed by array was expected") on memory that is no
/// array. Receiving, closing, aborting and everything else is the transport's, which never sees a byte to send.</para>
/// <para>One buffer after the other is sent, each goes back to its pool as soon as it is, and what waits is bounded by
/// <see cref="SocketTransportOptions.MaxWriteBufferSize"/> as in the transport.</para>
/// </remarks>
internal sealed class ArenaConnection : ConnectionContext
{
    private readonly ConnectionContext inner;
    private readonly Socket socket;
    private readonly Pipe output;
    private readonly Task sending;

    public ArenaConnection(ConnectionContext inner, SocketTransportOptions options, int segmentBytes)
    {
        this.inner = inner;
        socket = inner.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket;
        MemoryPool<byte> pool = inner.Features.GetRequiredFeature<IMemoryPoolFeature>().MemoryPool;
        long most = options.MaxWriteBufferSize ?? 0;

        // The reader is the loop below, which runs no code of anybody else: it may run in the thread that flushes, and saves a switch.
        output = new Pipe(new PipeOptions(
            pool,
            readerScheduler: PipeScheduler.Inline,
            writerScheduler: options.UnsafePreferInlineScheduling ? PipeScheduler.Inline : PipeScheduler.ThreadPool,
            pauseWriterThreshold: most,
            resumeWriterThreshold: most / 2,
            minimumSegmentSize: segmentBytes,
            useSynchronizationContext: false));
        inner.Transport = new Duplex(inner.Transport.Input, output.Writer);
        sending = SendAsync();
    }

    public override string ConnectionId
    {
        get => inner.ConnectionId;
        set => inner.ConnectionId = value;
    }

    public override IFeatureCollection Features => inner.Features;

    public override IDictionary<object, object?> Items
    {
        get => inner.Items;
        set => inner.Items = value;
    }

    public override IDuplexPipe Transport
    {
        get => inner.Transport;
        set => inner.Transport = value;
    }

    public override EndPoint? LocalEndPoint
    {
        get => inner.LocalEndPoint;
        set => inner.LocalEndPoint = value;
    }

    public override EndPoint? RemoteEndPoint
    {
        get => inner.RemoteEndPoint;
        set => inner.RemoteEndPoint = value;
    }

    public override CancellationToken ConnectionClosed
    {
        get => inner.ConnectionClosed;
        set => inner.ConnectionClosed = value;
    }

    /// <summary>Closes the socket, which ends a send under way, and lets go of what has not been sent.</summary>
    public override void Abort(ConnectionAbortedException abortReason)
    {
        inner.Abort(abortReason);
        output.Reader.CancelPendingRead();
    }

    /// <summary>Sends what is left, as the transport does, and closes.</summary>
    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync().ConfigureAwait(false);
        await output.Writer.CompleteAsync().ConfigureAwait(false);
        try
        {
            await sending.ConfigureAwait(false);
        }
        finally
        {
            await inner.DisposeAsync().ConfigureAwait(false);
        }
    }

    private async Task SendAsync()
    {
        try
        {
            for (bool ended = false; !ended;)
            {
                ReadResult read = await output.Reader.ReadAsync().ConfigureAwait(false);
                ReadOnlyMemory<byte> first = read.Buffer.First;
                if (!first.IsEmpty && !read.IsCanceled)
                {
                    await socket.SendAsync(first, SocketFlags.None).ConfigureAwait(false);
                }

                ended = read.IsCanceled || (read.IsCompleted && read.Buffer.Length == first.Length);
                output.Reader.AdvanceTo(read.Buffer.GetPosition(first.Length));
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The other side is gone, or the connection was aborted meanwhile; to whoever still writes it looks as in the transport.
            inner.Abort(new ConnectionAbortedException(e.Message, e));
        }
        finally
        {
            await output.Reader.CompleteAsync().ConfigureAwait(false);
        }
    }

    private sealed record Duplex(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
