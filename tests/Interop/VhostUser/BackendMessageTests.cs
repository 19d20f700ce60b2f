using System;
using System.Buffers.Binary;
using System.Linq;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Message by message: what each does, what is answered, and that whoever breaks a rule is cut off with a reason and leaves nothing
/// behind.</summary>
public sealed class BackendMessageTests : IDisposable
{
    private const VhostUserRequest Kick = VhostUserRequest.SetVringKick;

    private readonly ScriptedFrontend _front = new();

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    public void Dispose() => _front.Dispose();

    [Fact]
    public void Features_are_offered_with_the_bit_that_stands_for_more()
    {
        Feature features = (Feature)_front.Ask<ulong>(VhostUserRequest.GetFeatures, []);
        Assert.Equal(_front.Device.OfferedFeatures | VhostUserBackend.ProtocolFeaturesBit, features);
        Assert.Equal((ulong)VhostUserBackend.Offered, _front.Ask<ulong>(VhostUserRequest.GetProtocolFeatures, []));
        Assert.Equal((ulong)BalloonLimits.Queues, _front.Ask<ulong>(VhostUserRequest.GetQueueNum, []));
    }

    [Theory]
    [InlineData((ulong)Feature.PageReporting)] // without VERSION_1
    [InlineData((1ul << 32) | (1ul << 34))] // RING_PACKED, which was not offered
    [InlineData(ulong.MaxValue)]
    public void Features_that_do_not_go_end_it(ulong features)
    {
        _front.Say(VhostUserRequest.SetFeatures, features);
        _front.AssertCutOff("features");
    }

    [Fact]
    public void Protocol_features_that_were_not_offered_end_it()
    {
        _front.Say(VhostUserRequest.SetProtocolFeatures, 1ul << 1);
        _front.AssertCutOff("protocol features");
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(6u)]
    [InlineData(7u)]
    [InlineData(19u)]
    [InlineData(31u)]
    [InlineData(39u)]
    [InlineData(40u)]
    [InlineData(41u)]
    [InlineData(uint.MaxValue)]
    [InlineData(36u)] // memory slots
    [InlineData(37u)]
    [InlineData(38u)]
    public void A_request_that_nobody_negotiated_ends_it(uint request)
    {
        _front.Say((VhostUserRequest)request, new byte[64]);
        _front.AssertCutOff($"request {request} was not negotiated");
    }

    [Theory]
    [InlineData(VhostUserRequest.SetFeatures)]
    [InlineData(VhostUserRequest.SetProtocolFeatures)]
    [InlineData(VhostUserRequest.SetMemoryTable)]
    [InlineData(VhostUserRequest.SetVringNum)]
    [InlineData(VhostUserRequest.SetVringBase)]
    [InlineData(VhostUserRequest.SetVringAddress)]
    [InlineData(VhostUserRequest.SetVringKick)]
    [InlineData(VhostUserRequest.SetVringCall)]
    [InlineData(VhostUserRequest.SetVringErr)]
    [InlineData(VhostUserRequest.SetVringEnable)]
    [InlineData(VhostUserRequest.GetVringBase)]
    [InlineData(VhostUserRequest.GetConfig)]
    [InlineData(VhostUserRequest.SetConfig)]
    [InlineData(VhostUserRequest.SetBackendChannel)]
    public void A_payload_of_the_wrong_length_ends_it(VhostUserRequest request)
    {
        _front.Say(request, [0, 0, 0]);
        _front.AssertCutOff(string.Empty);
    }

    [Fact]
    public void Whoever_asks_how_it_went_is_told_also_that_it_ends()
    {
        _front.Greet();
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, []));
        Assert.Equal(1ul, _front.Tell(VhostUserRequest.SetVringNum, ScriptedFrontend.State(5, 8)));
        Assert.Equal(ReceiveResult.Closed, _front.Hear());
        _front.AssertCutOff("ring 5 of 5");
    }

    [Fact]
    public void An_answer_is_not_acknowledged_on_top()
    {
        _front.Greet();
        Assert.Equal(Errno.None, _front.Socket.Send((uint)VhostUserRequest.GetQueueNum, VhostUserFlags.NeedReply, []));
        Assert.Equal(ReceiveResult.Message, _front.Hear());
        Assert.True(_front.Socket.TryRead(out ulong queues));
        Assert.Equal((ulong)BalloonLimits.Queues, queues);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, [])); // the very next thing that comes
    }

    /// <summary>It may have negotiated that with another life of this host.</summary>
    [Fact]
    public void Whoever_asks_how_it_went_is_told_also_if_it_has_not_negotiated_that()
    {
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, []));
        _front.Say(VhostUserRequest.SetOwner, []);
        Assert.Equal((ulong)BalloonLimits.Queues, _front.Ask<ulong>(VhostUserRequest.GetQueueNum, []));
    }

    [Theory]
    [InlineData(VhostUserRequest.SetVringNum)]
    [InlineData(VhostUserRequest.SetVringBase)]
    [InlineData(VhostUserRequest.SetVringEnable)]
    [InlineData(VhostUserRequest.GetVringBase)]
    public void A_ring_that_there_is_not_ends_it(VhostUserRequest request)
    {
        _front.Say(request, ScriptedFrontend.State(uint.MaxValue, 1));
        _front.AssertCutOff("ring 4294967295 of 5");
    }

    [Theory]
    [InlineData(VhostUserRequest.SetVringKick)]
    [InlineData(VhostUserRequest.SetVringCall)]
    [InlineData(VhostUserRequest.SetVringErr)]
    public void An_event_for_a_ring_that_there_is_not_ends_it(VhostUserRequest request)
    {
        Assert.Equal(Errno.None, Os.CreateEvent(out int fd));
        _front.Say(request, 7ul, fd);
        Os.Close(fd);
        _front.AssertCutOff("ring 7 of 5");
    }

    [Theory]
    [InlineData(VhostUserRequest.SetVringKick, 0)]
    [InlineData(VhostUserRequest.SetVringKick, 2)]
    [InlineData(VhostUserRequest.SetVringCall, 0)]
    [InlineData(VhostUserRequest.SetVringErr, 8)]
    [InlineData(VhostUserRequest.SetBackendChannel, 0)]
    [InlineData(VhostUserRequest.SetBackendChannel, 2)]
    public void A_message_without_its_one_file_ends_it(VhostUserRequest request, int files)
    {
        Assert.Equal(Errno.None, Os.CreateEvent(out int fd));
        _front.Say(request, 0ul, [.. Enumerable.Repeat(fd, files)]);
        Os.Close(fd);
        _front.AssertCutOff($"with {files} files instead of one");
    }

    /// <summary>A pipe that nobody writes to is readable for ever, a file of a process's file system waits for that process.</summary>
    [Theory]
    [InlineData(VhostUserRequest.SetVringKick)]
    [InlineData(VhostUserRequest.SetVringCall)]
    public void An_event_that_is_none_ends_it(VhostUserRequest request)
    {
        _front.Say(request, 0ul, _front.Memory.File);
        _front.AssertCutOff("no event");
    }

    [Fact]
    public void Events_are_replaced_and_taken_away_without_a_trace()
    {
        _front.Greet();
        Assert.Equal(Errno.None, Os.CreateEvent(out int fd));
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(0ul, _front.Tell(Kick, 2ul, fd));
            Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringCall, 2ul, fd));
            Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringErr, 2ul, fd));
            Assert.Equal(0ul, _front.Tell(Kick, 2ul | VhostUserLimits.VringNoFd));
            Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringCall, 2ul | VhostUserLimits.VringNoFd, fd)); // one that nobody asked for
        }

        Os.Close(fd);
    }

    [Theory]
    [InlineData(0u, 16u)]
    [InlineData(4u, 8u)]
    [InlineData(1u, 2u)]
    [InlineData(3u, 6u)]
    [InlineData(0u, 256u)]
    [InlineData(256u, 0u)]
    public void The_configuration_is_read_wherever_it_is_asked_for(uint offset, uint size)
    {
        _front.Device.SetTarget(0x0403_0201);
        byte[] answer = Configuration(offset, size)!;
        byte[] whole = new byte[256];
        BinaryPrimitives.WriteUInt32LittleEndian(whole, 0x0403_0201);
        Assert.Equal(whole.AsSpan((int)offset, (int)size).ToArray(), answer);
    }

    /// <summary>By the protocol no payload says no, and the conversation goes on.</summary>
    [Theory]
    [InlineData(0u, 257u)]
    [InlineData(257u, 0u)]
    [InlineData(255u, 2u)]
    [InlineData(uint.MaxValue, 4u)]
    [InlineData(4u, uint.MaxValue)]
    [InlineData(0x8000_0000u, 0x8000_0000u)]
    public void A_configuration_that_there_is_not_is_answered_by_nothing(uint offset, uint size)
    {
        Assert.Null(Configuration(offset, size));
        Assert.NotNull(Configuration(0, 4));
    }

    [Theory]
    [InlineData(0u, 8u, 4)] // shorter than it says
    [InlineData(1u, 4u, 4)]
    [InlineData(0u, 3u, 3)]
    [InlineData(256u, 4u, 4)]
    [InlineData(uint.MaxValue - 3, 4u, 4)]
    public void To_write_a_configuration_that_there_is_not_ends_it(uint offset, uint size, int bytes)
    {
        _front.Say(VhostUserRequest.SetConfig, [.. ScriptedFrontend.BytesOf(new VhostUserConfigHeader { Offset = offset, Size = size }), .. new byte[bytes]]);
        _front.AssertCutOff(string.Empty);
    }

    [Fact]
    public void What_the_driver_may_write_is_written_and_nothing_else()
    {
        _front.Greet(Feature.Version1 | Feature.PagePoison);
        byte[] all = [.. Enumerable.Repeat((byte)0x11, 16)];
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetConfig, [.. ScriptedFrontend.BytesOf(new VhostUserConfigHeader { Size = 16 }), .. all]));
        Assert.Equal([0, 0, 0, 0, 0x11, 0x11, 0x11, 0x11, 0, 0, 0, 0, 0x11, 0x11, 0x11, 0x11], Configuration(0, 16));
    }

    [Theory]
    [InlineData(9, 8)]
    [InlineData(2, 1)]
    [InlineData(0, 1)]
    [InlineData(1, 0)]
    public void A_memory_table_has_a_file_for_each_region(int regions, int files)
    {
        byte[] table = ScriptedFrontend.Table([.. Enumerable.Range(0, regions).Select(i => Small((ulong)i))]);
        _front.Say(VhostUserRequest.SetMemoryTable, table, [.. Enumerable.Repeat(_front.Memory.File, files)]);
        _front.AssertCutOff("a memory table of");
    }

    [Fact]
    public void A_memory_table_that_is_cut_short_leaves_nothing_mapped()
    {
        byte[] table = ScriptedFrontend.Table(Small(0), Small(1));
        _front.Say(VhostUserRequest.SetMemoryTable, table[..^1], _front.Memory.File, _front.Memory.File);
        _front.AssertCutOff("payload");
    }

    /// <summary>It is as it was before the first word, but for its memory.</summary>
    [Fact]
    public void A_reset_device_has_forgotten_its_driver()
    {
        _front.Greet();
        using FrontRing ring = new(_front, BalloonLimits.DeflateQueue);
        ring.Start();
        byte[] header = ScriptedFrontend.BytesOf(new VhostUserConfigHeader { Offset = 4, Size = 4 });
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetConfig, [.. header, 5, 0, 0, 0]));
        ring.Send(4);
        ring.Await();
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.ResetDevice, []));
        Assert.Equal((0, 0u, (Feature)0), (_front.Backend.RunningRings, _front.Device.ActualPages, _front.Device.Features));
        Assert.Equal(ScriptedFrontend.Bytes, _front.Guest.Bytes);

        // Features come first again; the ring begins anew.
        ring.Driver.Clear();
        ring.Start();
        Assert.Equal(0, _front.Backend.RunningRings);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetFeatures, (ulong)(Feature.Version1 | VhostUserBackend.ProtocolFeaturesBit)));
        ring.Send(4, token: 2);
        Assert.Equal(2ul, ring.Await());
    }

    private static VhostUserMemoryRegion Small(ulong number) => new()
    {
        GuestAddress = number * ScriptedFrontend.Page,
        Bytes = ScriptedFrontend.Page,
        UserAddress = (number + 1) << 20,
        MmapOffset = number * ScriptedFrontend.Page,
    };

    private byte[]? Configuration(uint offset, uint size)
    {
        byte[] header = ScriptedFrontend.BytesOf(new VhostUserConfigHeader { Offset = offset, Size = size });
        _front.Say(VhostUserRequest.GetConfig, header);
        Assert.Equal(ReceiveResult.Message, _front.Hear());
        Assert.Equal((uint)VhostUserRequest.GetConfig, _front.Socket.Request);
        byte[] answer = _front.Socket.Payload.ToArray();
        return answer.Length == 0 ? null : answer[VhostUserConfigHeader.SizeInBytes..];
    }
}
