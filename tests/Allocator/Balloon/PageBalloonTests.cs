using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>Pages that the host asks for go into the balloon and come back, and none is lost on the way.</summary>
public sealed class PageBalloonTests
{
    [Theory]
    [InlineData(1u)]
    [InlineData(255u)]
    [InlineData(256u)]
    [InlineData(1000u)]
    [InlineData(2048u)]
    public void The_balloon_follows_the_target_up_and_down(uint target)
    {
        using BalloonFixture f = new(HostMode.Inline);
        foreach (uint pages in (uint[])[target, target / 2, target, 3, 0])
        {
            f.Host.SetTarget(pages);
            Serve(f);
            Assert.Equal((pages, pages, 0u), (f.Driver.InflatedPages, f.Device.ActualPages, f.Driver.MovingPages));
            Assert.Equal(pages, f.ArenaPages.TakenPages);
            Assert.All(f.ArenaPages.Taken, p => Assert.Equal(0, f.ResidentPages(new PageRange(p, 1))));
        }

        Assert.InRange(f.ArenaPages.LargestOrder, 0, 10);
        Assert.Equal(0, f.Device.Counters.RefusedDiscards);
        Assert.Equal(f.Device.Counters.InflatedPages, f.Device.Counters.DroppedPages);
    }

    [Fact]
    public void Small_blocks_will_do_and_an_empty_arena_is_no_error()
    {
        using BalloonFixture f = new(HostMode.Inline);
        f.ArenaPages.OrderMax = 0;
        f.ArenaPages.Limit = 1400;
        f.Host.SetTarget(uint.MaxValue);
        Serve(f);
        Assert.Equal((1400u, 1400u), (f.Driver.InflatedPages, f.Device.ActualPages));
        Assert.False(f.Driver.Service());
        Assert.Equal(1400u, f.ArenaPages.TakenPages);

        // Neighbours that came one by one leave in one piece, 1024 pages to a request.
        Assert.Contains(f.Os.Calls, c => c.Call == SystemCall.Advise && c.Bytes == 1024 * 4096);
    }

    [Fact]
    public void One_service_is_bounded()
    {
        using BalloonFixture f = new(HostMode.Inline);
        f.ArenaPages.Limit = 100_000;
        f.ArenaPages.OrderMax = 0;
        f.ArenaPages.Portion = 10;
        f.Host.SetTarget(4096);
        Assert.True(f.Driver.Service());
        Assert.InRange(f.Driver.InflatedPages, 1u, 160u);
        Serve(f);
        Assert.Equal(4096u, f.Driver.InflatedPages);
    }

    [Fact]
    public void Pages_count_as_moving_until_the_host_has_answered()
    {
        using BalloonFixture f = new();
        f.Host.SetTarget(1068);
        Assert.Equal(1, f.WorkCalls);
        Assert.False(f.Driver.Service());
        Assert.Equal((0u, 1024u, 0u), (f.Driver.InflatedPages, f.Driver.MovingPages, f.Device.ActualPages));
        Assert.False(f.Driver.Service());
        Assert.Equal(1024u, f.ArenaPages.TakenPages);
        f.Host.Process();
        Assert.True(f.WorkCalls >= 2);
        Assert.False(f.Driver.Service());
        Assert.Equal((1024u, 44u, 1024u), (f.Driver.InflatedPages, f.Driver.MovingPages, f.Device.ActualPages));
    }

    [Fact]
    public void Nothing_is_inflated_while_memory_is_short()
    {
        using BalloonFixture f = new(HostMode.Inline);
        f.ArenaPages.IsShort = true;
        f.Host.SetTarget(100);
        Serve(f);
        Assert.Equal(0u, f.ArenaPages.TakenPages);
        f.ArenaPages.IsShort = false;
        Serve(f);
        Assert.Equal(100u, f.Driver.InflatedPages);
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(300u)]
    [InlineData(2000u)]
    public void The_balloon_gives_back_when_memory_is_short(uint pages)
    {
        foreach (HostMode mode in (HostMode[])[HostMode.Inline, HostMode.Manual])
        {
            using BalloonFixture f = Inflated(mode, 2048);
            f.ArenaPages.IsShort = true;
            uint came = f.Driver.Deflate(pages);
            Assert.True(came >= pages);
            Assert.Equal((2048 - came, 2048 - came), (f.ArenaPages.TakenPages, f.Device.ActualPages));
            f.Host.Process();
            Serve(f);
            Assert.Equal(came, f.Device.Counters.DeflatedPages);
        }
    }

    /// <summary>Memory may have come back between the look at the watermark and the call.</summary>
    [Fact]
    public void Asked_for_nothing_it_gives_nothing_and_can_be_asked_again()
    {
        using BalloonFixture f = Inflated(HostMode.Manual, 2048, small: true);
        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(0u, f.Driver.Deflate(0));
        }

        Assert.Equal((2048u, 0u), (f.Driver.InflatedPages, f.Driver.MovingPages));
        Assert.Equal(1u, f.Driver.Deflate(1));
    }

    [Fact]
    public void A_host_that_does_not_answer_keeps_nothing_back_and_is_told_of_the_rest_later()
    {
        using BalloonFixture f = Inflated(HostMode.Manual, 2048, small: true);
        for (uint request = 1; request <= 100; request++)
        {
            Assert.Equal(1u, f.Driver.Deflate(1));
        }

        // Nothing goes in again before the host was told of all that has come out.
        f.ArenaPages.IsShort = false;
        Assert.False(f.Driver.Service());
        Assert.Equal((1948u, 1948u), (f.ArenaPages.TakenPages, f.Device.ActualPages));
        f.Host.Process();
        Assert.Equal(16, f.Device.Counters.DeflatedPages);
        Pump(f);
        Assert.Equal((2048u, 100L), (f.ArenaPages.TakenPages, f.Device.Counters.DeflatedPages));
    }

    [Fact]
    public void A_host_that_must_be_told_first_is_told_of_16_requests_and_no_more_until_it_answers()
    {
        BalloonDeviceOptions device = new() { Offered = new BalloonDeviceOptions().Offered | Feature.MustTellHost };
        using BalloonFixture f = Inflated(HostMode.Manual, 4096, small: true, device);
        for (uint request = 1; request <= 20; request++)
        {
            Assert.Equal(0u, f.Driver.Deflate(1));
        }

        Assert.Equal((4096u, 16u), (f.ArenaPages.TakenPages, f.Driver.MovingPages));
        f.Host.Process();
        Assert.Equal(16, f.Device.Counters.DeflatedPages);
        f.Driver.Service();
        Assert.Equal((4080u, 0u), (f.ArenaPages.TakenPages, f.Driver.MovingPages));
    }

    [Fact]
    public void A_host_that_did_not_agree_keeps_its_pages()
    {
        BalloonDeviceOptions device = new() { Offered = Feature.Version1 | Feature.PageReporting };
        using BalloonFixture f = new(HostMode.Inline, device: device);
        f.Host.SetTarget(100);
        Serve(f);
        Assert.Equal(0u, f.Driver.Deflate(10));
        Assert.Equal(100u, f.Driver.InflatedPages);
    }

    [Fact]
    public void Where_the_host_must_be_told_first_pages_come_back_with_its_answer()
    {
        BalloonDeviceOptions device = new() { Offered = new BalloonDeviceOptions().Offered | Feature.MustTellHost };
        using BalloonFixture f = new(device: device);
        f.Host.SetTarget(256);
        Pump(f);
        Assert.Equal(256u, f.Driver.InflatedPages);
        Assert.Equal(0u, f.Driver.Deflate(256));
        Assert.Equal((0u, 256u, 256u), (f.Driver.InflatedPages, f.Driver.MovingPages, f.ArenaPages.TakenPages));
        f.ArenaPages.IsShort = true;
        Pump(f);
        Assert.Equal((0u, 0u), (f.Driver.MovingPages, f.ArenaPages.TakenPages));
    }

    [Fact]
    public void A_late_drop_of_a_page_that_was_given_back_is_refused()
    {
        using BalloonFixture f = Inflated(HostMode.Inline, 256);
        Pfn page = f.ArenaPages.Taken.First();
        f.ArenaPages.IsShort = true;
        Assert.Equal(256u, f.Driver.Deflate(256));
        f.Touch();
        Assert.Equal(DiscardOutcome.Refused, f.Balloon.Gates.Inflates.Discard(page.ByteOffset, 4096));
        Assert.True(f.IsUntouched(new PageRange(page, 256)));
    }

    /// <summary>B24 for the balloon: a reset finds pages on their way in.</summary>
    [Fact]
    public void A_reset_gives_pages_on_their_way_back_and_keeps_those_inside()
    {
        using BalloonFixture f = new();
        f.Host.SetTarget(300);
        Pump(f);
        Assert.Equal(300u, f.Driver.InflatedPages);
        f.Host.SetTarget(400);
        Assert.False(f.Driver.Service());
        Assert.Equal(100u, f.Driver.MovingPages);
        Assert.True(f.Driver.TryRevoke(TimeSpan.Zero));
        Assert.Equal((300u, 0u, 300u), (f.Driver.InflatedPages, f.Driver.MovingPages, f.ArenaPages.TakenPages));
        f.Host.Process();
        Assert.Equal(0, f.Device.Counters.RefusedDiscards);

        // The host learns in its next life what the balloon holds.
        Assert.True(f.Driver.TryRestart());
        Assert.True(f.Device.ActualPages >= 300);
        Pump(f);
        Assert.Equal((400u, 400u), (f.Driver.InflatedPages, f.Device.ActualPages));
    }

    [Fact]
    public void Without_a_device_the_balloon_still_gives_back()
    {
        using BalloonFixture f = Inflated(HostMode.Inline, 256);
        Assert.True(f.Driver.TryRevoke(TimeSpan.Zero));
        Assert.Equal(256u, f.Driver.Deflate(256));
        Assert.Equal(0u, f.ArenaPages.TakenPages);
    }

    [Fact]
    public void A_page_that_could_not_be_dropped_is_in_the_balloon_all_the_same()
    {
        using BalloonFixture f = new(HostMode.Inline);
        f.Os.FailAlways(SystemCall.Advise, Errno.EINVAL, MemoryAdvice.DontNeed);
        f.Host.SetTarget(16);
        Serve(f);
        Assert.Equal((16u, 1L), (f.Driver.InflatedPages, f.Device.Counters.FailedDiscards));
        f.Host.SetTarget(0);
        Serve(f);
        Assert.Equal(0u, f.ArenaPages.TakenPages);
    }

    [Theory]
    [InlineData(HostMode.Inline)]
    [InlineData(HostMode.Manual)]
    internal void Statistics_are_sent_at_the_start_and_whenever_they_are_wanted(HostMode mode)
    {
        using BalloonFixture f = new(mode);
        Pump(f);
        Assert.Equal((4096ul, 1), (f.Device.Statistics[BalloonStatTag.FreeMemory]!.Value, f.Device.Statistics.Updates));
        for (int i = 2; i < 5; i++)
        {
            f.ArenaPages.FreeBytes = (ulong)i;
            f.Host.RequestStatistics();
            Pump(f);
            Assert.Equal(((ulong)i, i), (f.Device.Statistics[BalloonStatTag.FreeMemory]!.Value, f.Device.Statistics.Updates));
        }
    }

    private static BalloonFixture Inflated(HostMode mode, uint pages, bool small = false, BalloonDeviceOptions? device = null)
    {
        BalloonFixture f = new(mode, device: device);
        f.ArenaPages.Limit = pages;
        f.ArenaPages.OrderMax = small ? 0 : 10;
        f.Host.SetTarget(pages);
        Pump(f);
        Assert.Equal(pages, f.Driver.InflatedPages);
        f.ArenaPages.IsShort = true;
        return f;
    }

    private static void Serve(BalloonFixture f)
    {
        while (f.Driver.Service())
        {
        }
    }

    /// <summary>Both sides until neither has anything to do.</summary>
    private static void Pump(BalloonFixture f)
    {
        int calls;
        do
        {
            calls = f.WorkCalls;
            Serve(f);
            f.Host.Process();
        }
        while (f.WorkCalls != calls);
        Serve(f);
    }
}
