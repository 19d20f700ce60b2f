using System;
using System.Buffers;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Allocator.AspNetCore;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;

namespace LowLevel.Perf;

/// <summary>A service with large bodies: PUT /seed/bytes takes a body in whole and answers with the sum of its words; GET /seed/bytes
/// makes one in whole and sends it. Both hold the whole body in one buffer of the pool meanwhile.</summary>
internal sealed class KestrelServer : IAsyncDisposable
{
    /// <summary>Kestrel's buffers of one connection, each way: the default for requests; responses have 64 KiB by default.</summary>
    private const int ConnectionBufferBytes = 1 << 20;

    private readonly WebApplication _application;
    private readonly MemoryPool<byte> _bodies;

    private KestrelServer(WebApplication application, MemoryPool<byte> bodies)
    {
        _application = application;
        _bodies = bodies;
    }

    /// <summary>"default": Kestrel's own pool, and bodies from <see cref="MemoryPool{T}.Shared"/>; "arena": both from ours.</summary>
    public static string[] Pools => ["default", "arena"];

    public int Port => new Uri(_application.Urls.Single()).Port;

    /// <summary>Null where there is no arena.</summary>
    public ArenaStatistics? Statistics => _application.Services.GetService<ArenaMemoryPoolFactory>()?.Arena.GetStatistics();

    /// <summary>Serves on a port of the system's choice on the loopback device.</summary>
    public static async Task<KestrelServer> StartAsync(string pool, int blockBytes)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.Configure<KestrelServerOptions>(o =>
        {
            o.Limits.MaxRequestBufferSize = ConnectionBufferBytes;
            o.Limits.MaxResponseBufferSize = ConnectionBufferBytes;
            o.Limits.MinRequestBodyDataRate = null;
            o.Limits.MinResponseDataRate = null;
        });
        builder.Services.Configure<SocketTransportOptions>(o =>
        {
            o.MaxReadBufferSize = ConnectionBufferBytes;
            o.MaxWriteBufferSize = ConnectionBufferBytes;
            o.Backlog = 4096;
        });
        if (pool == "arena")
        {
            builder.Services.AddLowLevelMemoryPool(o => o.BlockBytes = blockBytes);
        }

        WebApplication application = builder.Build();
        MemoryPool<byte> bodies = pool == "arena" ? application.Services.GetRequiredService<IMemoryPoolFactory<byte>>().Create() : MemoryPool<byte>.Shared;
        var server = new KestrelServer(application, bodies);
        application.Run(server.AnswerAsync);
        await application.StartAsync();
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        await _application.StopAsync();
        await _application.DisposeAsync();
    }

    private Task AnswerAsync(HttpContext context)
    {
        string[] words = context.Request.Path.Value!.Split('/');
        ulong seed = ulong.Parse(words[1], CultureInfo.InvariantCulture);
        int bytes = int.Parse(words[2], CultureInfo.InvariantCulture);
        return HttpMethods.IsPut(context.Request.Method) ? TakeAsync(context, bytes) : GiveAsync(context, seed, bytes);
    }

    private async Task TakeAsync(HttpContext context, int bytes)
    {
        using IMemoryOwner<byte> owner = _bodies.Rent(bytes);
        Memory<byte> body = owner.Memory[..bytes];
        Stream stream = context.Request.Body;
        await stream.ReadExactlyAsync(body);
        string sum = KestrelBody.Sum(body.Span).ToString(CultureInfo.InvariantCulture);
        context.Response.ContentLength = sum.Length;
        await context.Response.WriteAsync(sum);
    }

    private async Task GiveAsync(HttpContext context, ulong seed, int bytes)
    {
        using IMemoryOwner<byte> owner = _bodies.Rent(bytes);
        Memory<byte> body = owner.Memory[..bytes];
        KestrelBody.Fill(body.Span, seed, 0);
        context.Response.ContentLength = bytes;
        for (int sent = 0; sent < bytes; sent += KestrelBody.PieceBytes)
        {
            await context.Response.Body.WriteAsync(body.Slice(sent, Math.Min(KestrelBody.PieceBytes, bytes - sent)));
        }
    }
}
