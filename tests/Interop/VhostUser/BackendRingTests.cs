using System;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Rings under a scripted frontend: when they run, from where, and what of a guest's words about them is not believed. What was dropped is
/// asked of the kernel.</summary>
public sealed class BackendRingTests : IDisposable
{
    private const int Reporting = BalloonLimits.ReportingQueue;

    private readonly ScriptedFrontend _front = new();

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    public void Dispose() => _front.Dispose();

    [Fact]
    public void A_report_is_a_hole_in_the_guests_file()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        Touch(0, 64);
        ulong before = Resident();
        ring.Report(16, 32, token: 5);
        Assert.Equal(5ul, ring.Await());
        Assert.Equal(before - (32 * ScriptedFrontend.Page), Resident());
        Assert.Equal((1, 1), (Word(15), Word(48)));
        Assert.Equal((0, 0), (Word(16), Word(47)));
    }

    [Fact]
    public void Requests_from_before_the_first_kick_are_served_without_one()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        Touch(0, 4);
        ring.Report(0, 1, 1, kicks: false);
        ring.Report(1, 1, 2, kicks: false);
        ring.Start();
        Assert.Equal(1ul, ring.Await());
        Assert.Equal(2ul, ring.Await());
    }

    [Fact]
    public void A_ring_runs_only_while_it_is_enabled_and_goes_on_where_it_was()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        ring.Report(0, 1, 1);
        Assert.Equal(1ul, ring.Await());
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 0)));
        Assert.Equal(0, _front.Backend.RunningRings);
        ring.Report(1, 1, 2);
        ring.Report(2, 1, 3);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, []));
        Assert.False(ring.Driver.HasUsed);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1)));
        Assert.Equal(2ul, ring.Await());
        Assert.Equal(3ul, ring.Await());
        Assert.Equal(1, _front.Backend.RunningRings);
    }

    [Fact]
    public void A_stopped_ring_says_where_it_stands_and_goes_on_from_there()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting, size: 4);
        Assert.Equal(0u, ring.Stop());
        ring.Start();
        for (ulong i = 0; i < 3; i++)
        {
            ring.Report(i, 1, i);
            Assert.Equal(i, ring.Await());
        }

        Assert.Equal(3u, ring.Stop());
        Assert.Equal(3u, ring.Stop());
        Assert.Equal(0, _front.Backend.RunningRings);
        ring.Report(8, 1, 8);
        Assert.False(ring.Driver.HasUsed);
        ring.Start(from: 3);
        Assert.Equal(8ul, ring.Await());
        Assert.Equal(4u, ring.Stop());
    }

    [Fact]
    public void A_kick_without_addresses_waits_for_them()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1)));
        Assert.Equal(0, _front.Backend.RunningRings);
        ring.Start();
        ring.Report(0, 1, 1);
        Assert.Equal(1ul, ring.Await());
    }

    [Fact]
    public void Rings_go_on_where_they_were_when_the_memory_is_replaced()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        Touch(0, 64);
        for (ulong i = 0; i < 20; i++)
        {
            ring.Report(i, 1, i);
            Assert.Equal(i, ring.Await());
            Assert.Equal(0ul, _front.ShareMemory());
            Assert.Equal((1, ScriptedFrontend.Bytes), (_front.Backend.RunningRings, _front.Guest.Bytes));
        }

        Assert.Equal(20u, ring.Stop());
        Assert.Equal(20, _front.Device.Counters.Reports);
    }

    [Fact]
    public void A_polled_ring_is_served_without_an_event()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringKick, ring.Queue | (ulong)VhostUserLimits.VringNoFd));
        for (ulong i = 0; i < 20; i++)
        {
            ring.Report(i, 1, i, kicks: false);
            Assert.Equal(i, ring.Await());
        }
    }

    [Fact]
    public void Without_protocol_features_rings_need_not_be_enabled()
    {
        _front.Say(VhostUserRequest.SetFeatures, (ulong)(Feature.Version1 | Feature.PageReporting));
        _front.Say(VhostUserRequest.SetMemoryTable, ScriptedFrontend.Table(ScriptedFrontend.Region), _front.Memory.File);
        using FrontRing ring = new(_front, Reporting);
        _front.Say(VhostUserRequest.SetVringNum, ScriptedFrontend.State(ring.Queue, 8));
        _front.Say(VhostUserRequest.SetVringAddress, ring.Address);
        _front.Say(VhostUserRequest.SetVringCall, (ulong)ring.Queue, ring.Call);
        _front.Say(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick);
        ring.Report(0, 1, 9);
        Assert.Equal(9ul, ring.Await());
    }

    /// <summary>An event of the guest's own making: full, and made to block. To tell it must not wait for the guest.</summary>
    [Fact]
    public void An_event_that_is_full_holds_nobody_up()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        int full = Libc.BlockingEvent(ulong.MaxValue - 1);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetVringCall, (ulong)ring.Queue, full));
        for (uint i = 0; i < 4; i++)
        {
            ring.Report(i, 1, i);
        }

        Assert.True(SpinWait.SpinUntil(() => ring.Ring.UsedIndex == 4, ScriptedFrontend.Patience));
        Os.Close(full);
    }

    /// <summary>What free pages hold is said between the features and the rings, and again by the next driver.</summary>
    [Fact]
    public void Contents_that_must_stay_are_not_dropped_and_the_next_driver_says_anew()
    {
        _front.Greet(Feature.Version1 | Feature.PageReporting | Feature.PagePoison);
        using FrontRing ring = new(_front, Reporting);
        SayPoison(0xaa);
        ring.Start();
        Touch(0, 8);
        ring.Report(0, 8);
        ring.Await();
        Assert.Equal((1, 8), (Word(0), _front.Device.Counters.KeptPages));

        SayPoison(0); // too late
        ring.Report(0, 8);
        ring.Await();
        Assert.Equal((1, 16), (Word(0), _front.Device.Counters.KeptPages));

        uint from = ring.Stop();
        SayPoison(0);
        ring.Start((ushort)from);
        ring.Report(0, 8);
        ring.Await();
        Assert.Equal((0, 16), (Word(0), _front.Device.Counters.KeptPages));
    }

    /// <summary>A machine that was started anew with another kernel, under a frontend that says the value before the features.</summary>
    [Fact]
    public void A_driver_with_contents_to_keep_may_follow_one_without()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        uint from = ring.Stop();
        SayPoison(0xaa);
        const Feature Features = Feature.Version1 | Feature.PageReporting | Feature.PagePoison;
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetFeatures, (ulong)(Features | VhostUserBackend.ProtocolFeaturesBit)));
        ring.Start((ushort)from);
        Touch(0, 8);
        ring.Report(0, 8);
        ring.Await();
        Assert.Equal((1, 8), (Word(0), _front.Device.Counters.KeptPages));
    }

    /// <summary>A machine that stands still is told when it goes on, and one whose memory changes as ever.</summary>
    [Fact]
    public void A_target_that_was_set_while_the_rings_stood_still_is_told_when_they_run()
    {
        _front.Greet();
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int ours, out int theirs));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetBackendChannel, [], theirs));
        Os.Close(theirs);
        using MessageSocket channel = MessageSocket.Adopt(ours, Os);
        using FrontRing ring = new(_front, BalloonLimits.InflateQueue);
        ring.Start();
        uint from = ring.Stop();
        _front.Device.SetTarget(5);
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, []));
        Assert.Equal(ReceiveResult.More, channel.TryReceive());
        ring.Start((ushort)from);
        Assert.True(SpinWait.SpinUntil(() => channel.TryReceive() == ReceiveResult.Message, ScriptedFrontend.Patience));

        // Once; and a ring that is moved to other memory has not stood still.
        Assert.Equal(0ul, _front.ShareMemory());
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, []));
        Assert.Equal(ReceiveResult.More, channel.TryReceive());
        Assert.True((_front.Device.Status & DeviceStatus.DriverOk) != 0);
    }

    /// <summary>A driver that has always published one more before the last was served keeps neither questions nor the end waiting.</summary>
    [Fact]
    public void A_ring_that_never_ends_holds_up_neither_questions_nor_the_end()
    {
        _front.Greet();
        using FrontRing ring = new(_front, Reporting);
        ring.Start();
        SplitRing raw = ring.Ring;
        for (int i = 0; i < ring.Size; i++)
        {
            raw.WriteDescriptor(i, ScriptedFrontend.GuestBase, (uint)ScriptedFrontend.Page, DescriptorFlags.Write, next: 0);
            raw.WriteAvailable((ushort)i, (ushort)i);
        }

        _front.System.Before = (call, _, _) =>
        {
            // In the thread that serves: there is one more before it looks again.
            if (call == SystemCall.PunchHole)
            {
                raw.AvailableIndex = unchecked((ushort)(raw.UsedIndex + 2));
            }
        };
        raw.AvailableIndex = 1;
        Os.Signal(ring.Kick);
        Assert.True(SpinWait.SpinUntil(() => _front.Device.Counters.Reports > 1000, ScriptedFrontend.Patience));
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal((ulong)BalloonLimits.Queues, _front.Ask<ulong>(VhostUserRequest.GetQueueNum, []));
        }

        _front.Backend.Stop();
        Assert.Equal("this host ends", _front.End());
    }

    [Fact]
    public void The_statistics_buffer_stays_with_the_device_over_a_stop_and_a_change_of_memory()
    {
        _front.Greet();
        using FrontRing ring = new(_front, BalloonLimits.StatsQueue);
        ring.Start();
        SendStatistics(ring, 100);
        Assert.True(SpinWait.SpinUntil(() => _front.Device.Statistics.Updates == 1, ScriptedFrontend.Patience));
        Assert.Equal(0ul, _front.ShareMemory());
        uint from = ring.Stop();
        Assert.Equal(1u, from);
        ring.Start((ushort)from);
        Assert.False(ring.Driver.HasUsed);
        _front.Device.WantStatistics();
        _front.Backend.AskFor(BalloonLimits.StatsQueue);
        Assert.Equal(100ul, ring.Await());
        SendStatistics(ring, 101);
        Assert.True(SpinWait.SpinUntil(() => _front.Device.Statistics.Updates == 2, ScriptedFrontend.Patience));
        Assert.Equal(101ul, _front.Device.Statistics[BalloonStatTag.FreeMemory]);
    }

    /// <summary>Page numbers of memory that the guest keeps to itself: accounts, and nothing of anybody's is dropped.</summary>
    [Fact]
    public void Where_the_guest_drops_for_itself_page_numbers_are_counted_and_nothing_else()
    {
        _front.Device.CountsOnly = true;
        _front.Greet();
        using FrontRing ring = new(_front, BalloonLimits.InflateQueue);
        ring.Start();
        Touch(0, 8);
        for (int i = 0; i < 16; i++)
        {
            ring.Buffer[i] = (uint)(0x4000_0000 + i);
        }

        ulong before = Resident();
        ring.Send(16 * sizeof(uint));
        ring.Await();
        BalloonDeviceCounters counters = _front.Device.Counters;
        Assert.Equal((16, 0, 0), (counters.InflatedPages, counters.BadRanges, counters.DroppedPages));
        Assert.Equal(before, Resident());
    }

    private static void SendStatistics(FrontRing ring, ulong value)
    {
        MemoryMarshal.Write(MemoryMarshal.AsBytes(ring.Buffer), new BalloonStat { Tag = (ushort)BalloonStatTag.FreeMemory, Val = value });
        ring.Send(BalloonStat.SizeInBytes, value);
    }

    private void SayPoison(byte value)
    {
        byte[] header = ScriptedFrontend.BytesOf(new VhostUserConfigHeader { Offset = 12, Size = 4 });
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetConfig, [.. header, value, value, value, value]));
    }

    private ulong Resident()
    {
        Assert.Equal(Errno.None, Os.Examine(_front.Memory.File, out FileFacts facts));
        return facts.ResidentBytes;
    }

    private unsafe void Touch(int page, int pages)
    {
        for (int i = page; i < page + pages; i++)
        {
            *(int*)(_front.Memory.Mapping + (i * (nint)ScriptedFrontend.Page)) = 1;
        }
    }

    private unsafe int Word(int page) => *(int*)(_front.Memory.Mapping + (page * (nint)ScriptedFrontend.Page));
}
