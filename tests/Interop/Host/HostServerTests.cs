using System;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Host;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>What a host does for honest guests.</summary>
public sealed class HostServerTests
{
    private const ulong MiB = HostFixture.MiB;
    private const uint PagesPerMiB = 256;

    private static PageRange Block(uint first, uint pages) => new(new Pfn(first), pages);

    [Fact]
    public void A_report_punches_holes_that_the_kernel_sees()
    {
        using HostFixture host = new();
        HostGuest guest = host.Connect();
        PageRange[] blocks = [Block(0, 512), Block(1024, 512), Block(4096, 1024)];
        guest.Touch(Block(0, 8192));
        Assert.Equal(32 * MiB, guest.ResidentBytes);
        Assert.Equal(SettleResult.Treated, guest.Report(blocks));
        Assert.Equal(24 * MiB, guest.ResidentBytes);
        Assert.Equal((0, 0xAA, 0), (guest.FirstByte(blocks[0]), guest.FirstByte(Block(512, 1)), guest.FirstByte(blocks[2])));
        GuestStatus status = host[0];
        Assert.Equal((1, 2048, 2048, 0), (status.Reports, status.ReportedPages, status.DroppedPages, status.FailedDiscards));
        Assert.InRange(status.ResidentBytes, 24 * MiB, 25 * MiB);
        Assert.Equal((GuestKind.Memfd, Environment.ProcessId), (status.Kind, status.ProcessId));
        Assert.InRange(status.SharedBytes, 64 * MiB, 65 * MiB);
    }

    /// <summary>The value comes after the features and before the rings.</summary>
    [Fact]
    public void Pages_whose_value_must_stay_are_not_dropped()
    {
        using HostFixture host = new();
        HostGuest guest = host.Connect(poison: 0xAAAA_AAAA);
        guest.Touch(Block(0, 1024));
        Assert.Equal(SettleResult.Treated, guest.Report(Block(0, 512)));
        Assert.Equal((4 * MiB, 0xAA), (guest.ResidentBytes, guest.FirstByte(Block(0, 1))));
        Assert.Equal((512, 0), (host[0].ReportedPages, host[0].DroppedPages));
    }

    [Fact]
    public void A_target_fills_the_balloon_and_another_empties_it()
    {
        using HostFixture host = new();
        HostGuest guest = host.Connect();
        guest.Touch(Block(0, 8192));
        host.Until(() => host[0].State == GuestState.Running, "running");
        Assert.True(host.Server.SetTarget(host[0].Id, 8 * PagesPerMiB));
        host.Until(() => host[0].ActualPages == 8 * PagesPerMiB, "inflated");
        Assert.Equal(24 * MiB, guest.ResidentBytes);
        Assert.Equal(8 * PagesPerMiB, guest.Driver.InflatedPages);
        host.Server.SetTarget(host[0].Id, 4 * PagesPerMiB);
        host.Until(() => host[0].ActualPages == 4 * PagesPerMiB, "deflated");
        host.Until(() => (host[0].InflatedPages, host[0].DeflatedPages) == (8 * PagesPerMiB, 4 * PagesPerMiB), "the device has counted them");
        Assert.False(host.Server.SetTarget(-1, 1));
    }

    [Fact]
    public void Statistics_come_every_interval()
    {
        using HostFixture host = new();
        HostGuest guest = host.Connect();
        guest.Use(10 * MiB);
        host.Until(() => host[0].UsedBytes == 10 * MiB, "10 MiB in use");
        guest.Use(20 * MiB);
        host.Until(() => host[0].UsedBytes == 20 * MiB, "20 MiB in use");
        Assert.Equal(64 * MiB, host[0].TotalBytes);
        Assert.Contains((BalloonStatTag.AvailableMemory, 44 * MiB), host[0].Statistics);
    }

    [Fact]
    public void Three_guests_share_one_budget()
    {
        using HostFixture host = new(budget: 288 * MiB);
        HostGuest[] guests = [host.Connect(192 * MiB), host.Connect(192 * MiB), host.Connect(192 * MiB)];
        guests[0].Use(96 * MiB);
        guests[1].Use(8 * MiB);
        guests[2].Use(8 * MiB);

        // Needs 128, 40 and 40; the other 80 are shared.
        host.Until(() => host.Server.Guests.Select(static guest => guest.AllowanceBytes / MiB).SequenceEqual(new ulong[] { 154, 66, 66 }), "each has its share");
        host.Until(
            () => host.Server.Guests.All(static guest => Math.Abs(Allowed(guest) - guest.ActualPages) <= 3 * PagesPerMiB), "the balloons follow the allowances");
        Assert.InRange(guests.Sum(guest => 192 - (guest.Driver.InflatedPages / PagesPerMiB)), 270, 300);

        static long Allowed(GuestStatus guest) => (long)((192 * MiB) - guest.AllowanceBytes) / HostGuest.PageBytes;
    }

    [Fact]
    public void A_host_that_begins_anew_hears_what_is_in_the_balloon()
    {
        using HostFixture host = new(budget: (63 * MiB) + (MiB / 2));
        HostGuest guest = host.Connect();
        host.Until(() => host[0].State == GuestState.Running, "running");
        host.Server.SetTarget(host[0].Id, PagesPerMiB);
        host.Until(() => host[0].ActualPages == PagesPerMiB, "inflated");
        host.Restart();
        host.Until(() => guest.Driver.IsOutOfService, "the guest has noticed");
        host.Until(guest.TryConnect, "nobody else has its memory, and it is served again");
        Assert.Equal(2, guest.Driver.Sessions);
        Assert.Equal(PagesPerMiB, guest.Driver.InflatedPages);
        Assert.Equal(PagesPerMiB, host[0].ActualPages);
        Assert.True(File.Exists(host.SocketPath));
    }

    [Fact]
    public void A_guest_does_not_begin_anew_while_somebody_still_holds_its_memory()
    {
        using HostFixture host = new();
        HostGuest guest = host.Connect();
        Assert.Equal(Errno.None, LinuxDescriptors.Instance.Reopen(guest.Arena.File, out int held));
        host.Restart();
        host.Until(() => guest.Driver.IsOutOfService, "the guest has noticed");
        Assert.True(guest.Transport.TryConnect(), guest.Transport.Failure);
        Assert.False(guest.Driver.TryRestart());
        LinuxDescriptors.Instance.Close(held);
        host.Until(guest.TryConnect, "nobody else has its memory, and it is served again");
    }
}
