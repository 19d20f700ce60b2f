using System;
using System.Linq;
using System.Text.Json;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>Our driver under a balloon device that others wrote: QEMU's, of Debian 12 and the newest there is.</summary>
public sealed class QemuBalloonTests
{
    /// <summary>QEMU 7.2, then the newest.</summary>
    public static TheoryData<bool> Both => [false, true];

    private static string Qemu(bool next) => next ? PeerTools.QemuNext() : PeerTools.Qemu();

    [Theory]
    [MemberData(nameof(Both))]
    public void The_driver_and_QEMU_agree(bool next)
    {
        using QemuBalloon f = new(Qemu(next), "free-page-reporting=on,deflate-on-oom=on");
        Assert.True(f.Driver.TryRestart());
        Assert.Equal(
            Feature.Version1 | Feature.PageReporting | Feature.StatsQueue | Feature.DeflateOnOom | Feature.EventIndex | Feature.IndirectDescriptors,
            f.Driver.Features & ~Feature.MustTellHost);
        Assert.Equal((32, 1, 0ul), (f.Driver.Capacity, f.Driver.Sessions, f.ActualPages));
    }

    /// <summary>Every page that is told of leaves the file, and no other; with and without what QEMU's ring can do.</summary>
    [Theory]
    [InlineData(false, true, true)]
    [InlineData(false, true, false)]
    [InlineData(false, false, true)]
    [InlineData(false, false, false)]
    [InlineData(true, true, true)]
    [InlineData(true, false, false)]
    public void Reports_shrink_QEMUs_file(bool next, bool indirect, bool eventIndex)
    {
        using QemuBalloon f = new(Qemu(next), options: new BalloonDriverOptions { UseIndirect = indirect, UseEventIndex = eventIndex });
        Assert.True(f.Driver.TryRestart());
        f.Touch();
        ulong full = f.FileBytes;

        // All sizes, from one page to 4 MiB; then full reports of 32 blocks, so many that the ring goes round more than once.
        PageRange[] sizes = [.. Enumerable.Range(0, 11).Select(order => QemuBalloon.Block(1u << order, 1u << order))];
        Assert.Equal(SettleResult.Treated, f.Report(sizes));
        Assert.Equal(full - (2047 * 4096), f.FileBytes);
        for (uint report = 0; report < 100; report++)
        {
            PageRange[] batch = [.. Enumerable.Range(0, 32).Select(i => QemuBalloon.Block(2048 + (report * 64) + ((uint)i * 2), 1))];
            Assert.Equal(SettleResult.Treated, f.Report(batch));
        }

        Assert.Equal(full - ((2047 + 3200) * 4096), f.FileBytes);
        uint[] kept = [f.KeptPages(QemuBalloon.Block(0, 1)), f.KeptPages(QemuBalloon.Block(1, 2047)), f.KeptPages(QemuBalloon.Block(2048, 6400))];
        Assert.Equal([1u, 0u, 3200u], kept);
    }

    [Theory]
    [MemberData(nameof(Both))]
    public void The_balloon_follows_its_target_both_ways(bool next)
    {
        using QemuBalloon f = new(Qemu(next));
        Assert.True(f.Driver.TryRestart());
        f.Touch();
        ulong full = f.FileBytes;
        foreach ((uint target, uint gone) in ((uint, uint)[])[(3000, 3000), (8192, 8192), (0, 8192), (1000, 8192)])
        {
            f.SetTarget(target);
            f.ServiceUntil(() => f.Driver.InflatedPages == target && f.Driver.MovingPages == 0, $"balloon of {target} pages");
            Assert.Equal((target, target), (f.ActualPages, f.ArenaPages.TakenPages));
            Assert.Equal(full - (gone * 4096), f.FileBytes);
        }

        // What went out again is there as soon as somebody writes to it.
        f.Touch();
        Assert.Equal(full, f.FileBytes);
        Assert.NotEqual(0u, f.Monitor.WaitForEvent("BALLOON_CHANGE").GetProperty("actual").GetUInt32());
    }

    [Theory]
    [MemberData(nameof(Both))]
    public void Memory_that_is_short_is_taken_back_from_the_balloon(bool next)
    {
        using QemuBalloon f = new(Qemu(next), "deflate-on-oom=on");
        Assert.True(f.Driver.TryRestart());
        f.SetTarget(4096);
        f.ServiceUntil(() => f.Driver.InflatedPages == 4096, "full balloon");
        Assert.InRange(f.Driver.Deflate(1000), 1000u, 1255u);
        Assert.InRange(f.ActualPages, 4096u - 1255, 4096u - 1000);
    }

    /// <summary>QEMU gives the buffer back when its own timer says so, and that runs by the machine's clock: so here the processor is let run,
    /// into its halt.</summary>
    [Theory]
    [MemberData(nameof(Both))]
    public void Statistics_reach_QEMU_and_are_asked_for_again(bool next)
    {
        using QemuBalloon f = new(Qemu(next));
        f.ArenaPages.FreeBytes = 123 << 20;
        Assert.True(f.Driver.TryRestart());
        Assert.Equal(123ul << 20, FreeMemory(f));

        f.ArenaPages.FreeBytes = 45 << 20;
        f.Monitor.Execute("cont");
        f.Set("guest-stats-polling-interval", 1);
        f.ServiceUntil(() => FreeMemory(f) == 45 << 20, "news for QEMU");
    }

    /// <summary>QEMU declares itself broken (NEEDS_RESET) where a block is no memory of its own. What it held comes back after the reset; then all is
    /// as it was, and the balloon as large.</summary>
    [Theory]
    [MemberData(nameof(Both))]
    public void A_range_outside_memory_breaks_QEMU_and_the_driver_brings_it_back(bool next)
    {
        using QemuBalloon f = new(Qemu(next));
        Assert.True(f.Driver.TryRestart());
        f.SetTarget(256);
        f.ServiceUntil(() => f.Driver.InflatedPages == 256, "balloon");
        f.Touch();
        ulong full = f.FileBytes;
        PageRange inside = QemuBalloon.Block(1024, 512);
        PageRange outside = new(new Pfn(1 << 18), 512);
        Assert.Equal(SettleResult.TimedOut, f.Report(inside, outside));
        Assert.Equal((0, true), (f.Driver.Capacity, f.Driver.IsOutOfService));
        Assert.False(f.Driver.React([inside]));
        Assert.True(f.Driver.TryRevoke(TimeSpan.FromSeconds(20)));
        Assert.Equal(full, f.FileBytes);

        Assert.True(f.Driver.TryRestart());
        Assert.Equal((2, 32, 256ul), (f.Driver.Sessions, f.Driver.Capacity, f.ActualPages));
        Assert.Equal(SettleResult.Treated, f.Report(inside));
        Assert.Equal(full - (512 * 4096), f.FileBytes);
        f.SetTarget(512);
        f.ServiceUntil(() => f.Driver.InflatedPages == 512 && f.ActualPages == 512, "balloon after the restart");
    }

    /// <summary>Contents that must not change stay where they are.</summary>
    [Fact]
    public void With_a_poison_value_QEMU_keeps_what_it_is_told_of()
    {
        using QemuBalloon f = new(PeerTools.Qemu(), options: new BalloonDriverOptions { PoisonValue = 0xaa });
        Assert.True(f.Driver.TryRestart());
        Assert.True((f.Driver.Features & Feature.PagePoison) != 0);
        f.Touch();
        ulong full = f.FileBytes;
        Assert.Equal(SettleResult.Treated, f.Report(QemuBalloon.Block(0, 1024)));
        Assert.Equal(full, f.FileBytes);
    }

    /// <summary>Hinting has the queue before reporting's; where QEMU offers it, the numbers are the standard's.</summary>
    [Fact]
    public void Reports_find_their_queue_beside_the_one_of_hints()
    {
        using QemuBalloon f = new(PeerTools.Qemu(), "free-page-hint=on,iothread=io,free-page-reporting=on", null, "-object", "iothread,id=io");
        Assert.True(f.Driver.TryRestart());
        f.Touch();
        ulong full = f.FileBytes;
        Assert.Equal(SettleResult.Treated, f.Report(QemuBalloon.Block(0, 1024)));
        Assert.Equal(full - (1024 * 4096), f.FileBytes);
    }

    private static ulong FreeMemory(QemuBalloon f)
    {
        JsonElement statistics = f.Get("guest-stats").GetProperty("stats");
        return statistics.GetProperty("stat-free-memory").GetUInt64();
    }
}
