using System;
using System.Buffers.Text;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading.Tasks;

namespace LowLevel.Perf;

/// <summary>One connection of the load: one request after the other until the time is over, uploads and downloads alike often. Speaks just
/// enough HTTP/1.1, so that the measuring costs little beside what is measured.</summary>
internal sealed class KestrelClient : IDisposable
{
    /// <summary>What a slow side waits after each piece.</summary>
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(5);

    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private readonly byte[] _piece = new byte[KestrelBody.PieceBytes];
    private readonly List<long> _ticks = [];
    private readonly bool _slow;
    private readonly int _largest;
    private SplitMix _random;
    private int _start;
    private int _end;

    /// <param name="seed">Of its sizes and contents.</param>
    /// <param name="slow">Whether it reads and writes with pauses, through small socket buffers, so that the server's fill.</param>
    /// <param name="largest">The largest body, bytes.</param>
    public KestrelClient(ulong seed, bool slow, int largest)
    {
        _random = new SplitMix(seed);
        _slow = slow;
        _largest = largest;
        if (slow)
        {
            _socket.ReceiveBufferSize = KestrelBody.PieceBytes;
        }
    }

    /// <summary>Stopwatch ticks of each request, from its first byte to the last of its answer.</summary>
    public IReadOnlyList<long> Ticks => _ticks;

    public bool IsSlow => _slow;

    /// <summary>Body bytes, both ways.</summary>
    public long Bytes { get; private set; }

    public Task ConnectAsync(int port) => _socket.ConnectAsync(IPAddress.Loopback, port);

    /// <summary>Asks until the time is over; the request under way is finished.</summary>
    public async Task RunAsync(TimeSpan time)
    {
        long start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < time)
        {
            ulong seed = _random.Next();
            int bytes = KestrelBody.Size(ref _random, _largest);
            long asked = Stopwatch.GetTimestamp();
            await (_random.Below(2) == 0 ? PutAsync(seed, bytes) : GetAsync(seed, bytes));
            _ticks.Add(Stopwatch.GetTimestamp() - asked);
            Bytes += bytes;
        }
    }

    public void Dispose() => _socket.Dispose();

    private async Task PutAsync(ulong seed, int bytes)
    {
        await SendAsync(Encoding.ASCII.GetBytes($"PUT /{seed}/{bytes} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}\r\n\r\n"));
        for (int sent = 0; sent < bytes; sent += KestrelBody.PieceBytes)
        {
            int length = Math.Min(KestrelBody.PieceBytes, bytes - sent);
            KestrelBody.Fill(_piece.AsSpan(0, length), seed, sent);
            await SendAsync(_piece.AsMemory(0, length));
            await HesitateAsync();
        }

        int answer = await ReadHeadAsync();
        while (_end - _start < answer)
        {
            await ReceiveAsync();
        }

        Check(Utf8Parser.TryParse(_piece.AsSpan(_start, answer), out ulong sum, out _) && sum == KestrelBody.SumOf(seed, bytes), "an upload's sum");
        _start += answer;
    }

    private async Task GetAsync(ulong seed, int bytes)
    {
        await SendAsync(Encoding.ASCII.GetBytes($"GET /{seed}/{bytes} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        int length = await ReadHeadAsync();
        Check(length == bytes, "a download's length");
        ulong sum = 0;
        for (int left = bytes; left > 0;)
        {
            // Whole words only: what is left of one stays for the next piece.
            int words = Math.Min(_end - _start, left) & ~7;
            sum = unchecked(sum + KestrelBody.Sum(_piece.AsSpan(_start, words)));
            _start += words;
            left -= words;
            if (left > 0)
            {
                await ReceiveAsync();
                await HesitateAsync();
            }
        }

        Check(sum == KestrelBody.SumOf(seed, bytes), "a download's sum");
    }

    private async Task SendAsync(ReadOnlyMemory<byte> bytes)
    {
        for (int sent = 0; sent < bytes.Length;)
        {
            sent += await _socket.SendAsync(bytes[sent..]);
        }
    }

    // A slow reader is part of the load: what the server has to say to it stays in the server's buffers.
    private Task HesitateAsync() => _slow ? Task.Delay(Pause) : Task.CompletedTask;

    /// <summary>Reads to the empty line; the body's length.</summary>
    private async Task<int> ReadHeadAsync()
    {
        int head;
        while ((head = _piece.AsSpan(_start, _end - _start).IndexOf("\r\n\r\n"u8)) < 0)
        {
            await ReceiveAsync();
        }

        string text = Encoding.ASCII.GetString(_piece, _start, head);
        _start += head + 4;
        Check(text.StartsWith("HTTP/1.1 200", StringComparison.Ordinal), $"the answer '{text.Split('\r')[0]}'");
        const string Name = "Content-Length: ";
        int at = text.IndexOf(Name, StringComparison.Ordinal);
        Check(at >= 0, "an answer without Content-Length");
        return int.Parse(text[(at + Name.Length)..].Split('\r')[0], CultureInfo.InvariantCulture);
    }

    private async Task ReceiveAsync()
    {
        _piece.AsSpan(_start, _end - _start).CopyTo(_piece);
        _end -= _start;
        _start = 0;
        int received = await _socket.ReceiveAsync(_piece.AsMemory(_end));
        Check(received > 0, "the end of the connection");
        _end += received;
    }

    private static void Check(bool fine, string what)
    {
        if (!fine)
        {
            throw new MeasurementException($"the load generator did not expect {what}");
        }
    }
}
