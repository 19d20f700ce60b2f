using System;
using System.Buffers;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Http;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Allocator.AspNetCore;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace LowLevel.Tests.Allocator.AspNetCore;

/// <summary>A real server with real sockets whose buffers are ours.</summary>
public sealed class KestrelTests
{
    private static readonly int[] Sizes = [0, 1, 4095, 4096, 4097, 16_385, 65_536, 1_000_003, 5 << 20];

    public static TheoryData<Speech, int> Ways => new()
    {
        { Speech.Http1, 4096 }, { Speech.Http1, 16384 }, { Speech.Https, 4096 }, { Speech.Http2, 4096 }, { Speech.Http2, 1 << 20 },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Bodies_of_any_size_make_the_round_trip_and_every_byte_of_the_arena_comes_back(Speech speech, int blockBytes)
    {
        await using ServerFixture server = await ServerFixture.StartAsync(EchoAsync, o => o.BlockBytes = blockBytes, speech);
        HttpClient client = server.Client;
        foreach (int size in Sizes)
        {
            byte[] body = Body(size);
            using var content = new ByteArrayContent(body);
            using HttpResponseMessage response = await client.PostAsync(new Uri("/", UriKind.Relative), content, TestContext.Current.CancellationToken);
            byte[] answer = await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken);
            Assert.Equal(SHA256.HashData(body), SHA256.HashData(answer));
        }

        await EndAsync(server);
        Assert.Empty(server.Log.Lines);
    }

    /// <summary>What a response leaves in many buffers before it is flushed is what Kestrel's own transport cannot send of memory
    /// that is no array.</summary>
    [Fact]
    public async Task A_response_of_many_buffers_that_is_flushed_once_arrives_whole()
    {
        byte[] expected = Body(300 * 4096);
        await using ServerFixture server = await ServerFixture.StartAsync(
            async context =>
            {
                for (int i = 0; i < expected.Length; i += 4096)
                {
                    expected.AsSpan(i, 4096).CopyTo(context.Response.BodyWriter.GetSpan(4096));
                    context.Response.BodyWriter.Advance(4096);
                }

                await context.Response.BodyWriter.FlushAsync();
            },
            o => o.BlockBytes = 4096);
        HttpClient client = server.Client;
        Assert.Equal(expected, await client.GetByteArrayAsync(server.Address, TestContext.Current.CancellationToken));
        await EndAsync(server);
    }

    [Fact]
    public async Task While_a_request_is_held_open_its_buffers_are_the_arena_s()
    {
        var arrived = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var go = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using ServerFixture server = await ServerFixture.StartAsync(async context =>
        {
            // What has been read and not consumed stays in Kestrel's buffers.
            await context.Request.BodyReader.ReadAtLeastAsync(200_000);
            arrived.SetResult();
            await go.Task;
        });
        Assert.Equal(0, server.Arena.GetStatistics().AllocatedBytes);
        HttpClient client = server.Client;
        Task asking = PostAsync(client, 200_000);
        await arrived.Task;
        Assert.True(server.Arena.GetStatistics().AllocatedBytes >= 200_000);
        go.SetResult();
        await asking;
        await EndAsync(server);
    }

    [Fact]
    public async Task Many_requests_at_once_do_not_see_each_other_s_bytes()
    {
        await using ServerFixture server = await ServerFixture.StartAsync(EchoAsync);
        HttpClient client = server.Client;
        await Task.WhenAll(Enumerable.Range(0, 64).Select(async i =>
        {
            for (int round = 0; round < 8; round++)
            {
                byte[] body = Body(1 + (i * 7919 * (round + 1) % 300_000), i);
                using var content = new ByteArrayContent(body);
                using HttpResponseMessage response = await client.PostAsync(server.Address, content, TestContext.Current.CancellationToken);
                Assert.Equal(SHA256.HashData(body), SHA256.HashData(await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken)));
            }
        }));
        await EndAsync(server);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_client_that_goes_in_the_middle_of_a_response_leaves_nothing_behind(bool reset)
    {
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using ServerFixture server = await ServerFixture.StartAsync(async context =>
        {
            byte[] piece = Body(65536);
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.Body.WriteAsync(piece);
            }

            ended.SetResult();
        });
        using (Socket socket = await server.ConnectAsync())
        {
            await socket.SendAsync(Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
            Assert.NotEqual(0, await socket.ReceiveAsync(new byte[100_000]));
            socket.LingerState = new LingerOption(reset, 0);
        }

        await ended.Task;
        await EndAsync(server);
    }

    /// <summary>The response is larger than what the sockets take, so that the sender stands in the middle when the server stops.</summary>
    [Fact]
    public async Task A_server_that_stops_takes_its_buffers_back_from_a_client_that_does_not_read()
    {
        var begun = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using ServerFixture server = await ServerFixture.StartAsync(async context =>
        {
            byte[] piece = Body(1 << 20);
            begun.SetResult();
            for (int i = 0; i < 64 && !context.RequestAborted.IsCancellationRequested; i++)
            {
                await context.Response.Body.WriteAsync(piece);
            }
        });
        using Socket socket = await server.ConnectAsync();
        await socket.SendAsync(Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        await begun.Task;
        using var atOnce = new CancellationTokenSource();
        await atOnce.CancelAsync();
        await server.StopAsync(atOnce.Token);
        await EndAsync(server);
    }

    [Fact]
    public async Task Beyond_the_cap_requests_are_answered_from_managed_memory_and_a_warning_says_so_once()
    {
        await using ServerFixture server = await ServerFixture.StartAsync(EchoAsync, o => o.CapBytes = 4 << 20);
        List<IMemoryOwner<byte>> full = Fill(server.Arena);
        HttpClient client = server.Client;
        byte[] body = Body(1_000_000);
        for (int i = 0; i < 3; i++)
        {
            using var content = new ByteArrayContent(body);
            using HttpResponseMessage response = await client.PostAsync(server.Address, content, TestContext.Current.CancellationToken);
            Assert.Equal(body, await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken));
        }

        Assert.InRange(server.Log.Lines.Count(l => l.Contains("The arena is full", StringComparison.Ordinal)), 1, Environment.ProcessorCount);
        full.ForEach(o => o.Dispose());
        await EndAsync(server);
    }

    [Fact]
    public async Task Without_the_fall_back_a_request_beyond_the_cap_ends_and_the_server_lives_on()
    {
        await using ServerFixture server = await ServerFixture.StartAsync(EchoAsync, o =>
        {
            o.CapBytes = 4 << 20;
            o.FallBackToManaged = false;
        });
        List<IMemoryOwner<byte>> full = Fill(server.Arena);
        HttpClient client = server.Client;
        await Assert.ThrowsAsync<HttpRequestException>(() => client.GetByteArrayAsync(server.Address, TestContext.Current.CancellationToken));
        Assert.Contains(server.Log.Lines, l => l.Contains(nameof(OutOfMemoryException), StringComparison.Ordinal));
        full.ForEach(o => o.Dispose());
        Assert.Empty(await client.GetByteArrayAsync(server.Address, TestContext.Current.CancellationToken));
        await EndAsync(server);
    }

    /// <summary>Everything that the arena gives.</summary>
    private static List<IMemoryOwner<byte>> Fill(PageArena arena)
    {
        using var pool = new ArenaMemoryPool(arena);
        List<IMemoryOwner<byte>> held = [];
        try
        {
            while (true)
            {
                held.Add(pool.Rent(4096));
            }
        }
        catch (OutOfMemoryException)
        {
            return held;
        }
    }

    private static async Task EndAsync(ServerFixture server)
    {
        await server.StopAsync();
        Assert.Equal(0, server.Arena.GetStatistics().AllocatedBytes);
        server.Arena.Verify();
    }

    private static async Task EchoAsync(HttpContext context)
    {
        using var whole = new MemoryStream();
        await context.Request.Body.CopyToAsync(whole);
        context.Response.ContentLength = whole.Length;
        await context.Response.Body.WriteAsync(whole.GetBuffer().AsMemory(0, (int)whole.Length));
    }

    private static async Task PostAsync(HttpClient client, int size)
    {
        using var content = new ByteArrayContent(Body(size));
        using HttpResponseMessage response = await client.PostAsync(client.BaseAddress, content, TestContext.Current.CancellationToken);
        response.EnsureSuccessStatusCode();
    }

    private static byte[] Body(int size, int seed = 1)
    {
        byte[] body = new byte[size];
        new Random(seed).NextBytes(body);
        return body;
    }
}
