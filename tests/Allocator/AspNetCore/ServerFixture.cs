using System;
using System.Collections.Concurrent;
using System.Linq;
using System.Net;
using System.Net.Http;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Allocator.AspNetCore;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace LowLevel.Tests.Allocator.AspNetCore;

/// <summary>How the two sides of a test speak.</summary>
public enum Speech
{
    /// <summary>HTTP/1.1.</summary>
    Http1,

    /// <summary>HTTP/1.1 over TLS.</summary>
    Https,

    /// <summary>HTTP/2 without TLS, by prior knowledge.</summary>
    Http2,
}

/// <summary>A real Kestrel on a loopback port of the system's choice, with our pool.</summary>
internal sealed class ServerFixture : IAsyncDisposable
{
    private readonly WebApplication application;
    private readonly X509Certificate2? certificate;
    private readonly SocketsHttpHandler handler = new();

    private ServerFixture(WebApplication application, X509Certificate2? certificate, WarningLog log, Speech speech)
    {
        this.application = application;
        this.certificate = certificate;
        Log = log;
        handler.SslOptions.RemoteCertificateValidationCallback = (_, shown, _, _) => shown?.GetCertHashString() == certificate?.GetCertHashString();
        Client = new HttpClient(handler)
        {
            BaseAddress = Address,
            DefaultRequestVersion = speech == Speech.Http2 ? HttpVersion.Version20 : HttpVersion.Version11,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
    }

    public ArenaMemoryPoolFactory Factory => application.Services.GetRequiredService<ArenaMemoryPoolFactory>();

    public PageArena Arena => Factory.Arena;

    public WarningLog Log { get; }

    public Uri Address => new(application.Urls.Single());

    public static async Task<ServerFixture> StartAsync(
        RequestDelegate answer, Action<LowLevelMemoryPoolOptions>? configure = null, Speech speech = Speech.Http1)
    {
        var log = new WarningLog();
        X509Certificate2? certificate = speech == Speech.Https ? SelfSigned() : null;
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Logging.AddProvider(log);
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen =>
        {
            listen.Protocols = speech == Speech.Http2 ? HttpProtocols.Http2 : HttpProtocols.Http1;
            if (certificate is not null)
            {
                listen.UseHttps(certificate);
            }
        }));
        builder.Services.AddLowLevelMemoryPool(options =>
        {
            options.SizeBytes = 256 << 20;
            configure?.Invoke(options);
        });
        WebApplication application = builder.Build();
        application.Run(answer);
        await application.StartAsync();
        return new ServerFixture(application, certificate, log, speech);
    }

    /// <summary>A client that trusts this server's certificate and no other.</summary>
    public HttpClient Client { get; }

    /// <summary>A bare connection.</summary>
    public async Task<Socket> ConnectAsync()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(Address.Host, Address.Port);
        return socket;
    }

    /// <summary>Ends the server; the arena lives on until this fixture is disposed.</summary>
    public Task StopAsync(CancellationToken hurry = default) => application.StopAsync(hurry);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        handler.Dispose();
        await application.DisposeAsync();
        certificate?.Dispose();
        Log.Dispose();
    }

    private static X509Certificate2 SelfSigned()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        return request.CreateSelfSigned(DateTimeOffset.UnixEpoch, new DateTimeOffset(2100, 1, 1, 0, 0, 0, TimeSpan.Zero));
    }
}

/// <summary>Warnings and worse.</summary>
internal sealed class WarningLog : ILoggerProvider, ILogger
{
    public ConcurrentQueue<string> Lines { get; } = new();

    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel))
        {
            Lines.Enqueue(formatter(state, exception) + " " + exception);
        }
    }

    public void Dispose()
    {
    }
}
