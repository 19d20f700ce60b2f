using System;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Rings that cannot be: of no size, in no memory, with chains that are none. The frontend is cut off with the reason.</summary>
public sealed class RefusedRingTests : IDisposable
{
    private const int Reporting = BalloonLimits.ReportingQueue;

    private readonly ScriptedFrontend _front = new();

    public void Dispose() => _front.Dispose();

    /// <summary>The base is the frontend's word; what does not fit the ring ends it.</summary>
    [Fact]
    public void A_base_that_the_ring_does_not_bear_out_ends_it()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Report(0, 1, 1, kicks: false);
        _front.Say(VhostUserRequest.SetVringNum, ScriptedFrontend.State(ring.Queue, 8));
        _front.Say(VhostUserRequest.SetVringBase, ScriptedFrontend.State(ring.Queue, 0x1234_5678));
        _front.Say(VhostUserRequest.SetVringAddress, ring.Address);
        _front.Say(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1));
        _front.Say(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick);
        _front.AssertCutOff(nameof(ChainFault.AvailableIndexAhead));
    }

    [Theory]
    [InlineData(3u)]
    [InlineData(2048u)]
    [InlineData(65536u)]
    [InlineData(0x8000_0000u)]
    [InlineData(uint.MaxValue)]
    public void A_ring_of_no_size_ends_it(uint size) => Refuses(nameof(ProtocolFault.QueueSize), size, static at => at);

    [Fact]
    public void A_ring_of_size_0_was_not_described_yet()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringNum, ScriptedFrontend.State(ring.Queue, 0)));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringAddress, ring.Address));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1)));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick));
        Assert.Equal(0, _front.Backend.RunningRings);
    }

    [Fact]
    public void Rings_outside_of_the_memory_end_it()
    {
        Refuses(nameof(ProtocolFault.QueuePlacement), 8, static at => at with { DescUserAddr = ScriptedFrontend.UserBase + ScriptedFrontend.Bytes - 64 });
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(ScriptedFrontend.UserBase - 1)]
    [InlineData(ScriptedFrontend.UserBase + ScriptedFrontend.Bytes)]
    [InlineData(ScriptedFrontend.GuestBase)] // a guest address is none of the frontend's
    [InlineData(ulong.MaxValue)]
    [InlineData(ScriptedFrontend.UserBase + 1)] // misaligned
    public void A_used_ring_that_is_nowhere_ends_it(ulong used) =>
        Refuses(nameof(ProtocolFault.QueuePlacement), 8, at => at with { UsedUserAddr = used });

    [Fact]
    public void A_ring_without_memory_ends_it()
    {
        _front.Greet(shares: false);
        using FrontRing ring = new(_front, Reporting);
        _front.Say(VhostUserRequest.SetVringNum, ScriptedFrontend.State(ring.Queue, 8));
        _front.Say(VhostUserRequest.SetVringAddress, ring.Address);
        _front.Say(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1));
        _front.Say(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick);
        _front.AssertCutOff(nameof(ProtocolFault.QueuePlacement));
    }

    [Fact]
    public void A_queue_that_was_not_offered_ends_it()
    {
        _front.Greet();
        using FrontRing ring = new(_front, BalloonLimits.FreePageQueue);
        _front.Say(VhostUserRequest.SetVringNum, ScriptedFrontend.State(ring.Queue, 8));
        _front.Say(VhostUserRequest.SetVringAddress, ring.Address);
        _front.Say(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1));
        _front.Say(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick);
        _front.AssertCutOff(nameof(ProtocolFault.QueueUnknown));
    }

    [Fact]
    public void A_chain_that_is_none_ends_it()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        ring.Report(ScriptedFrontend.Bytes / ScriptedFrontend.Page, 1);
        _front.AssertCutOff(nameof(ChainFault.BufferOutOfRange));
    }

    /// <summary>Whatever else comes over the socket with it.</summary>
    [Fact]
    public void A_chain_that_is_none_ends_it_also_when_the_next_message_begins_anew()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 0)));
        ring.Report(ScriptedFrontend.Bytes / ScriptedFrontend.Page, 1);
        _front.SayAtOnce(
            (VhostUserRequest.SetVringEnable, ScriptedFrontend.BytesOf(ScriptedFrontend.State(ring.Queue, 1))),
            (VhostUserRequest.SetFeatures, ScriptedFrontend.BytesOf((ulong)(Feature.Version1 | VhostUserBackend.ProtocolFeaturesBit))));
        _front.AssertCutOff(nameof(ChainFault.BufferOutOfRange));
    }

    [Fact]
    public void Rings_that_are_not_in_the_new_memory_end_it()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        VhostUserMemoryRegion less = ScriptedFrontend.Region with { Bytes = 16 * ScriptedFrontend.Page };
        Assert.Equal(1ul, _front.Tell(VhostUserRequest.SetMemoryTable, ScriptedFrontend.Table(less), _front.Memory.File));
        _front.AssertCutOff(nameof(ProtocolFault.QueuePlacement));
    }

    private void Refuses(string because, uint size, Func<VhostUserVringAddress, VhostUserVringAddress> change)
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        _front.Say(VhostUserRequest.SetVringNum, ScriptedFrontend.State(ring.Queue, size));
        _front.Say(VhostUserRequest.SetVringAddress, change(ring.Address));
        _front.Say(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1));
        _front.Say(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick);
        _front.AssertCutOff(because);
    }
}
