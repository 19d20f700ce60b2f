using System;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Driver and device over a real socket, with nothing in common but what it carries. What was dropped is asked of the kernel.</summary>
public sealed class TransportTests
{
    private static readonly PageRange s_block = WireGuest.Block(64, 256);
    private static readonly PageRange s_other = WireGuest.Block(512, 64);

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public void Reports_are_holes_in_the_guests_file(bool indirect, bool eventIndex)
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path, Options(indirect, eventIndex));
        guest.Start();
        Assert.Equal(indirect, (guest.Driver.Features & Feature.IndirectDescriptors) != 0);
        Assert.Equal(eventIndex, (guest.Driver.Features & Feature.EventIndex) != 0);
        for (int i = 0; i < 20; i++)
        {
            guest.Touch();
            Assert.Equal(WireGuest.Pages, guest.ResidentPages);
            Assert.True(guest.Driver.React([s_block, s_other]));
            Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
            Assert.Equal(WireGuest.Pages - s_block.Pages - s_other.Pages, guest.ResidentPages);
            Assert.True(guest.IsZero(s_block) && guest.IsZero(s_other));
            Assert.True(guest.IsUntouched(WireGuest.Block(0, 64)) && guest.IsUntouched(WireGuest.Block(320, 192)));
        }

        Assert.Equal((20, 0), (host.Device.Counters.Reports, host.Device.Counters.BadRanges));
        Assert.Equal((ulong)guest.Arena.Bytes + guest.Control.Bytes, host.Guest.Bytes);
        Assert.Equal(Environment.ProcessId, host.Backend.PeerProcess);
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(false, false)]
    public void The_balloon_follows_the_hosts_target(bool indirect, bool eventIndex)
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path, Options(indirect, eventIndex));
        guest.Start();
        foreach (uint target in (uint[])[300, 512, 100, 0, 256])
        {
            guest.Touch();
            host.Device.SetTarget(target);
            guest.ServiceUntil(() => guest.Driver.InflatedPages == target && host.Device.ActualPages == target);
            Assert.Equal((target, target), (guest.Balloon.TakenPages, guest.Driver.InflatedPages));
        }

        Assert.Equal(WireGuest.Pages - 256, guest.ResidentPages);
        Assert.Equal(256, host.Device.Counters.InflatedPages - host.Device.Counters.DeflatedPages);
        Assert.Equal(256u, guest.Driver.Deflate(256));
        guest.ServiceUntil(() => host.Device.ActualPages == 0 || host.Device.ActualPages == 256);
    }

    [Fact]
    public void A_target_from_before_the_guest_came_is_met()
    {
        using WireHost host = new(prepare: (_, device) => device.SetTarget(77));
        using WireGuest guest = new(host.Path);
        guest.Start();
        guest.ServiceUntil(() => host.Device.ActualPages == 77);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Statistics_come_as_often_as_they_are_wanted(bool eventIndex)
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path, Options(indirect: true, eventIndex));
        guest.Balloon.FreeBytes = 1000;
        guest.Start();
        guest.ServiceUntil(() => host.Device.Statistics.Updates == 1);
        for (int i = 2; i < 12; i++)
        {
            guest.Balloon.FreeBytes = (ulong)i;
            host.WantStatistics();
            guest.ServiceUntil(() => host.Device.Statistics.Updates == i);
            Assert.Equal((ulong)i, host.Device.Statistics[BalloonStatTag.FreeMemory]);
        }
    }

    [Fact]
    public void Contents_that_must_stay_stay()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path, Options(true, true) with { PoisonValue = 0xaaaa_aaaa });
        guest.Start();
        Assert.True(guest.Driver.React([s_block]));
        Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
        Assert.True(guest.IsUntouched(s_block));
        Assert.Equal((s_block.Pages, 0), ((uint)host.Device.Counters.KeptPages, host.Device.Counters.DroppedPages));
    }

    [Fact]
    public void A_guest_that_drops_for_itself_shares_only_its_rings()
    {
        using WireHost host = new(prepare: (_, device) => device.CountsOnly = true);
        using WireGuest guest = new(host.Path, guestDrops: true);
        guest.Start();
        Assert.Equal(guest.Control.Bytes, host.Guest.Bytes);
        Assert.True((host.Backend.ProtocolFeatures & VhostUserProtocolFeature.GuestDrops) != 0);
        host.Device.SetTarget(200);
        guest.ServiceUntil(() => host.Device.ActualPages == 200);
        Assert.Equal((200, 0, 0), (host.Device.Counters.InflatedPages, host.Device.Counters.BadRanges, host.Device.Counters.DroppedPages));
        Assert.Equal(WireGuest.Pages, guest.ResidentPages);
        Assert.True(guest.IsUntouched(WireGuest.Block(0, WireGuest.Pages)));
    }

    [Fact]
    public void After_a_reset_the_memory_is_the_guests_alone_and_another_connection_can_be_made()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        for (int i = 1; i <= 10; i++)
        {
            guest.Start();
            Assert.Equal((i, i), (host.Sessions, guest.Driver.Sessions));
            Assert.True(guest.Driver.React([s_block]));
            Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
            Assert.True(guest.Driver.TryRevoke(ScriptedFrontend.Patience));
            Assert.True(guest.Transport.IsAlone);
            Assert.False(guest.Transport.IsConnected);
            Assert.Equal((DeviceStatus)0, guest.Transport.Status);
        }
    }

    [Fact]
    public void A_host_that_is_killed_shows_as_a_device_that_needs_a_reset()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        host.Kill();
        Assert.True(SpinWait.SpinUntil(() => guest.Driver.IsOutOfService, ScriptedFrontend.Patience));
        Assert.True(SpinWait.SpinUntil(() => !guest.Transport.IsConnected, ScriptedFrontend.Patience));
        Assert.Equal("the backend has closed the connection", guest.Transport.Failure);
        guest.RevokeInTheEnd();
        guest.Start();
        Assert.Equal(2, host.Sessions);
    }

    [Fact]
    public void Whoever_waits_for_a_report_hears_of_the_hosts_end()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        using ManualResetEventSlim bothAreThere = new();
        guest.Start();
        host.Os.Before = (call, _, _) =>
        {
            if (call == SystemCall.PunchHole)
            {
                bothAreThere.Wait(ScriptedFrontend.Patience);
                host.Backend.Stop();
            }
        };
        Assert.True(guest.Driver.React([s_block], 0));
        Assert.True(guest.Driver.React([s_other], 1));
        bothAreThere.Set();

        // Of the two at most one is answered; the wait for the other ends with the connection, long before its time.
        SettleResult first = guest.Driver.Settle(Timeout.InfiniteTimeSpan);
        SettleResult second = first == SettleResult.Treated ? guest.Driver.Settle(Timeout.InfiniteTimeSpan) : first;
        Assert.Equal(SettleResult.TimedOut, second);
        guest.RevokeInTheEnd();
        guest.RevokeInTheEnd(1);
    }

    [Fact]
    public void Nobody_there_is_told_and_costs_nothing()
    {
        using WireGuest guest = new("/nowhere/at/all.sock");
        Assert.False(guest.TryStart());
        Assert.Contains("/nowhere/at/all.sock", guest.Transport.Failure, StringComparison.Ordinal);
        Assert.True(guest.Driver.TryRevoke(TimeSpan.Zero));
        using WireGuest longer = new("/" + new string('x', 300));
        Assert.False(longer.TryStart());
        Assert.NotNull(longer.Transport.Failure);
    }

    [Fact]
    public void Without_events_there_is_no_connection_and_nothing_is_left()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        for (int have = 0; have < 11; have++)
        {
            Assert.True(guest.Transport.TryConnect(), guest.Transport.Failure);
            guest.Ledger.EventsAllowed = have;
            Assert.False(guest.Driver.TryRestart());
            guest.Ledger.EventsAllowed = int.MaxValue;
            guest.RevokeInTheEnd();
        }

        guest.Start();
    }

    private static BalloonDriverOptions Options(bool indirect, bool eventIndex) =>
        new() { WantedCapacity = 8, ReportsInFlight = 2, UseIndirect = indirect, UseEventIndex = eventIndex };
}
