using System;
using System.Linq;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Messages as they may arrive: in pieces, too long, half, with too many files, or not at all.</summary>
public sealed class MessageSocketTests : IDisposable
{
    private readonly LedgerDescriptors _ledger = new();
    private readonly MessageSocket _reader;
    private readonly string _name = $"wire-{Guid.NewGuid():N}";
    private int _raw;

    public MessageSocketTests()
    {
        Assert.Equal(Errno.None, Os.CreateSocketPair(out _raw, out int ours));
        _reader = MessageSocket.Adopt(ours, _ledger);
    }

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    public void Dispose()
    {
        _reader.Dispose();
        HangUp();
        Assert.Equal(0, OpenFiles.Named(_name));
        Assert.Empty(_ledger.Faults);
    }

    [Fact]
    public void A_message_arrives_byte_by_byte()
    {
        byte[] message = Message(9, 0x11, [1, 2, 3, 4, 5]);
        foreach (byte one in message[..^1])
        {
            Write([one]);
            Assert.Equal(ReceiveResult.More, _reader.TryReceive());
        }

        Write(message[^1..]);
        Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
        Assert.Equal((9u, (VhostUserFlags)0x10), (_reader.Request, _reader.Flags));
        Assert.Equal([1, 2, 3, 4, 5], _reader.Payload.ToArray());
        Assert.Equal(ReceiveResult.More, _reader.TryReceive());
    }

    [Fact]
    public void A_message_may_be_split_anywhere_and_two_may_come_as_one()
    {
        byte[] first = Message(1, 1, [7]);
        byte[] both = [.. first, .. Message(2, 9, [8, 9])];
        for (int split = 1; split < both.Length; split++)
        {
            Write(both[..split]);
            bool isWhole = split >= first.Length;
            Assert.Equal(isWhole ? ReceiveResult.Message : ReceiveResult.More, _reader.TryReceive());
            Write(both[split..]);
            Assert.True(isWhole || _reader.TryReceive() == ReceiveResult.Message);
            Assert.Equal((1u, 7), (_reader.Request, _reader.Payload[0]));
            Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
            Assert.Equal((2u, VhostUserFlags.NeedReply, 9), (_reader.Request, _reader.Flags, _reader.Payload[1]));
        }
    }

    [Fact]
    public void Files_belong_to_the_message_with_which_they_came()
    {
        int memfd = Memfd();
        byte[] message = Message(5, 1, [1, 2, 3]);
        Write(message[..4], memfd);
        Write(message[4..], memfd, memfd);
        Write(Message(6, 1, []));
        Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
        Assert.Equal(3, _reader.Files);
        int taken = _reader.TakeFile(1);
        Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
        Assert.Equal((6u, 0), (_reader.Request, _reader.Files));
        Assert.Equal(2, OpenFiles.Named(_name)); // ours, and the one that was taken
        _ledger.Close(taken);
        Os.Close(memfd);
    }

    [Fact]
    public void Files_that_nobody_takes_are_closed_by_the_next_message_or_the_end()
    {
        int memfd = Memfd();
        for (int i = 0; i < 3; i++)
        {
            Write(Message(5, 1, [1]), memfd, memfd);
            Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
            Assert.Equal(3, OpenFiles.Named(_name));
        }

        Write(Message(5, 1, [1])[..3], memfd); // half a message with a file
        Assert.Equal(ReceiveResult.More, _reader.TryReceive());
        Assert.Equal(2, OpenFiles.Named(_name));
        _reader.Dispose();
        Assert.Equal(1, OpenFiles.Named(_name));
        Os.Close(memfd);
    }

    [Fact]
    public void More_files_than_a_message_may_have_end_the_conversation_and_are_closed()
    {
        int memfd = Memfd();
        byte[] message = Message(5, 1, [1, 2, 3, 4]);
        Write(message[..1], [.. Enumerable.Repeat(memfd, 6)]);
        Write(message[1..], [.. Enumerable.Repeat(memfd, 3)]);
        Assert.Equal(ReceiveResult.Malformed, _reader.TryReceive());
        _reader.Dispose();
        Assert.Equal(1, OpenFiles.Named(_name));
        Os.Close(memfd);
    }

    [Theory]
    [InlineData(VhostUserLimits.PayloadMax, true)]
    [InlineData(VhostUserLimits.PayloadMax + 1, false)]
    [InlineData(uint.MaxValue, false)]
    [InlineData(1u << 31, false)]
    [InlineData(uint.MaxValue - 11, false)]
    public void A_payload_is_of_bounded_length(uint length, bool isMessage)
    {
        ReceiveResult expected = isMessage ? ReceiveResult.Message : ReceiveResult.Malformed;
        byte[] header = Message(1, 1, []);
        MemoryMarshal.Write(header.AsSpan(8), length);
        Write([.. header, .. new byte[VhostUserLimits.PayloadMax]]);
        Assert.Equal(expected, _reader.TryReceive());
        Assert.Equal(isMessage ? ReceiveResult.More : expected, _reader.TryReceive());
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(2u)]
    [InlineData(3u)]
    [InlineData(0xfffffffcu)]
    public void Another_version_is_another_language(uint flags)
    {
        Write(Message(1, flags, []));
        Assert.Equal(ReceiveResult.Malformed, _reader.TryReceive());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    [InlineData(12)]
    [InlineData(14)]
    public void An_end_in_the_middle_is_an_end(int bytes)
    {
        if (bytes > 0)
        {
            Write(Message(1, 1, [1, 2, 3])[..bytes]);
            Assert.Equal(ReceiveResult.More, _reader.TryReceive());
        }

        HangUp();
        Assert.Equal(ReceiveResult.Closed, _reader.TryReceive());
        Assert.Equal(ReceiveResult.Closed, _reader.TryReceive());
    }

    [Fact]
    public void What_was_said_before_the_end_is_heard()
    {
        Write(Message(3, 1, [1]));
        HangUp();
        Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
        Assert.Equal(ReceiveResult.Closed, _reader.TryReceive());
    }

    [Fact]
    public void A_struct_is_read_only_where_the_payload_has_its_length()
    {
        Write(Message(1, 1, [1, 0, 0, 0, 0, 0, 0, 0]));
        Write(Message(1, 1, [1, 0, 0, 0]));
        Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
        Assert.True(_reader.TryRead(out ulong word));
        Assert.Equal(1ul, word);
        Assert.False(_reader.TryRead(out uint _));
        Assert.Equal(ReceiveResult.Message, _reader.TryReceive());
        Assert.False(_reader.TryRead(out word));
        Assert.Equal(0ul, word);
    }

    [Fact]
    public void Whoever_does_not_read_holds_nobody_up()
    {
        Errno error;
        int sent = 0;
        while ((error = _reader.Send(1, 0, new byte[VhostUserLimits.PayloadMax])) == Errno.None)
        {
            sent++;
        }

        Assert.Equal(Errno.EAGAIN, error);
        Assert.InRange(sent, 1, 1000);
        HangUp();
        Assert.Equal((Errno)32, _reader.Send(1, 0, [])); // EPIPE
    }

    [Theory]
    [InlineData(3, Errno.None)]
    [InlineData(int.MaxValue, Errno.EINTR)]
    public void A_sending_that_is_interrupted_is_repeated_and_not_for_ever(int times, Errno expected)
    {
        FaultyDescriptors faulty = new();
        faulty.Fail(DescriptorCall.Send, Errno.EINTR, 1, times);
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int ours, out int theirs));
        using MessageSocket sender = MessageSocket.Adopt(ours, faulty);
        using MessageSocket receiver = MessageSocket.Adopt(theirs, faulty);
        Assert.Equal(expected, sender.Send(1, 0, [1, 2, 3]));
        Assert.Equal(expected == Errno.None ? ReceiveResult.Message : ReceiveResult.More, receiver.TryReceive());
    }

    [Fact]
    public void What_is_sent_is_a_header_a_payload_and_files()
    {
        int memfd = Memfd();
        Assert.Equal(Errno.None, _reader.Send(24, VhostUserFlags.Reply, [0xaa], [memfd, memfd]));
        int[] files = new int[IDescriptors.FilesMax];
        byte[] bytes = new byte[32];
        Assert.Equal(Errno.None, Os.Receive(_raw, bytes, files, out int received, out int count));
        Assert.Equal((13, 2), (received, count));
        Assert.Equal([24, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0xaa], bytes[..13]);
        Array.ForEach(files[..2], fd => Os.Close(fd));
        Os.Close(memfd);
    }

    [Fact]
    public void The_process_at_the_other_end_is_known() => Assert.Equal(Environment.ProcessId, _reader.PeerProcess);

    [Fact]
    public void What_is_no_unix_stream_is_closed_and_told()
    {
        int memfd = Memfd();
        Assert.Throws<SocketException>(() => MessageSocket.Adopt(memfd, Os));
        Assert.Equal(0, OpenFiles.Named(_name));
        using Socket tcp = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        Assert.Throws<SocketException>(() => MessageSocket.Adopt(Libc.Duplicate((int)tcp.Handle), Os));
        using Socket datagrams = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        Assert.Throws<SocketException>(() => MessageSocket.Adopt(Libc.Duplicate((int)datagrams.Handle), Os));
    }

    private static byte[] Message(uint request, uint flags, byte[] payload) => ScriptedFrontend.Message(request, flags, payload);

    private void Write(byte[] bytes, params int[] files)
    {
        Assert.Equal(Errno.None, Os.Send(_raw, bytes, files, out int sent));
        Assert.Equal(bytes.Length, sent);
    }

    private int Memfd()
    {
        Assert.Equal(Errno.None, LinuxSystem.Instance.CreateMemfd(_name, 4096, out int fd));
        return fd;
    }

    private void HangUp()
    {
        if (_raw >= 0)
        {
            Os.Close(_raw);
            _raw = -1;
        }
    }
}
