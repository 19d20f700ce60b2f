using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.Balloon;

/// <summary>The host's side of the balloon: what it drops, what it must not drop, and that it always answers.</summary>
public sealed class BalloonDeviceTests : IDisposable
{
    private const int Inflate = BalloonLimits.InflateQueue;
    private const int Deflate = BalloonLimits.DeflateQueue;
    private const int Stats = BalloonLimits.StatsQueue;
    private const int Reporting = BalloonLimits.ReportingQueue;

    private readonly List<DeviceFixture> _made = [];

    public void Dispose() => _made.ForEach(f => f.Dispose());

    [Fact]
    public void Reported_buffers_are_dropped_joined_and_answered()
    {
        DeviceFixture f = Started();
        Assert.True(f.Ask(Reporting, DeviceFixture.Free(8, 4), DeviceFixture.Free(20, 2), DeviceFixture.Free(4, 4), DeviceFixture.Free(12, 1)));
        Assert.Equal([DeviceFixture.Range(4, 9), DeviceFixture.Range(20, 2)], f.Reports.Dropped);
        Assert.Equal([Reporting], f.Interrupts);
        BalloonDeviceCounters counters = f.Device.Counters;
        Assert.Equal((1L, 11L, 11L, 0L), (counters.Reports, counters.ReportedPages, counters.DroppedPages, counters.BadRanges));
    }

    [Fact]
    public void Hints_of_the_series_are_dropped_joined_and_answered()
    {
        DeviceFixture f = Started(dialect: ReportDialect.Hints);
        f.Hints[0] = new Hint { Pfn = 100, Size = 16 };
        f.Hints[1] = new Hint { Pfn = 84, Size = 16 };
        f.Hints[2] = new Hint { Pfn = 0, Size = 1 };
        Assert.True(f.Ask(Reporting, DeviceFixture.Read(24)));
        Assert.Equal([DeviceFixture.Range(0, 1), DeviceFixture.Range(84, 32)], f.Reports.Dropped);
    }

    [Fact]
    public void A_report_may_only_name_whole_pages_of_the_arena()
    {
        DeviceFixture f = Started();
        QueueBuffer control = new(DeviceFixture.ControlAddress, 4096, DeviceWrites: true);
        QueueBuffer crooked = new(100, 4096, DeviceWrites: true);
        QueueBuffer part = new(4096, 4095, DeviceWrites: true);
        QueueBuffer readable = new(8 * DeviceFixture.Page, 4096, DeviceWrites: false);
        Assert.True(f.Ask(Reporting, readable, control, crooked, part, DeviceFixture.Free(DeviceFixture.Pages - 1, 1)));
        Assert.Equal([DeviceFixture.Range(DeviceFixture.Pages - 1, 1)], f.Reports.Dropped);
        Assert.Equal(4, f.Device.Counters.BadRanges);
    }

    [Theory]
    [InlineData(DeviceFixture.Pages, 1u)]
    [InlineData(DeviceFixture.Pages - 1, 2u)]
    [InlineData(1u, uint.MaxValue)]
    [InlineData(uint.MaxValue, uint.MaxValue)]
    [InlineData(3u, 0u)]
    public void A_hint_outside_the_arena_is_passed_over(uint page, uint size)
    {
        DeviceFixture f = Started(dialect: ReportDialect.Hints);
        f.Hints[0] = new Hint { Pfn = page, Size = size };
        f.Hints[1] = new Hint { Pfn = 7, Size = 1 };
        Assert.True(f.Ask(Reporting, DeviceFixture.Read(16)));
        Assert.Equal([DeviceFixture.Range(7, 1)], f.Reports.Dropped);
        Assert.Equal(1, f.Device.Counters.BadRanges);
    }

    [Theory]
    [InlineData(7)]
    [InlineData(12)]
    [InlineData(72)]
    public void Hints_of_a_crooked_length_or_too_many_are_answered_and_not_followed(int bytes)
    {
        DeviceFixture f = Started(dialect: ReportDialect.Hints, reportCapacity: 8);
        f.Hints[0] = new Hint { Pfn = 7, Size = 1 };
        Assert.True(f.Ask(Reporting, DeviceFixture.Read(bytes)));
        Assert.Empty(f.Reports.Dropped);
        Assert.Equal(1, f.Device.Counters.BadRanges);
    }

    [Fact]
    public void A_poison_value_keeps_reported_pages_as_they_are()
    {
        DeviceFixture f = Made(new BalloonDeviceOptions()).Negotiate(DeviceFixture.Usual | Feature.PagePoison);
        f.Device.WriteConfig(12, 0xaaaaaaaa);
        f.Start();
        Assert.True(f.Ask(Reporting, DeviceFixture.Free(1, 4)));
        Assert.Empty(f.Reports.Dropped);
        Assert.Equal(4, f.Device.Counters.KeptPages);

        // It stands from DRIVER_OK on.
        f.Device.WriteConfig(12, 0);
        Assert.Equal(0xaaaaaaaau, f.Device.ReadConfig(12));
        Assert.True(f.Ask(Reporting, DeviceFixture.Free(1, 4)));
        Assert.Empty(f.Reports.Dropped);
    }

    [Fact]
    public void A_poison_value_of_zero_or_one_not_negotiated_keeps_nothing()
    {
        DeviceFixture zero = Made(new BalloonDeviceOptions()).Negotiate(DeviceFixture.Usual | Feature.PagePoison).Start();
        Assert.True(zero.Ask(Reporting, DeviceFixture.Free(1, 4)));
        Assert.Single(zero.Reports.Dropped);

        DeviceFixture none = Made(new BalloonDeviceOptions()).Negotiate();
        none.Device.WriteConfig(12, 5);
        none.Start();
        Assert.True(none.Ask(Reporting, DeviceFixture.Free(1, 4)));
        Assert.Single(none.Reports.Dropped);
        Assert.Equal(0u, none.Device.ReadConfig(12));
    }

    [Theory]
    [InlineData((int)DiscardOutcome.Failed)]
    [InlineData((int)DiscardOutcome.Refused)]
    public void A_report_whose_pages_cannot_be_dropped_is_answered_all_the_same(int outcome)
    {
        DeviceFixture f = Started();
        f.Reports.Outcome = (DiscardOutcome)outcome;
        Assert.True(f.Ask(Reporting, DeviceFixture.Free(1, 1), DeviceFixture.Free(3, 1)));
        BalloonDeviceCounters counters = f.Device.Counters;
        Assert.Equal(0, counters.DroppedPages);
        Assert.Equal(2, (DiscardOutcome)outcome == DiscardOutcome.Failed ? counters.FailedDiscards : counters.RefusedDiscards);
    }

    [Fact]
    public void Inflated_pages_are_dropped_joined()
    {
        DeviceFixture f = Started();
        uint[] pages = [9, 3, 4, 5, 200, DeviceFixture.Pages, uint.MaxValue, 10];
        pages.CopyTo(f.Numbers);
        Assert.True(f.Ask(Inflate, DeviceFixture.Read(pages.Length * sizeof(uint))));
        Assert.Equal([DeviceFixture.Range(3, 3), DeviceFixture.Range(9, 2), DeviceFixture.Range(200, 1)], f.Inflates.Dropped);
        Assert.Empty(f.Reports.Dropped);
        Assert.Equal((6L, 2L), (f.Device.Counters.InflatedPages, f.Device.Counters.BadRanges));
    }

    [Fact]
    public void Page_numbers_of_a_crooked_length_are_answered_and_not_followed()
    {
        DeviceFixture f = Started();
        Assert.True(f.Ask(Inflate, DeviceFixture.Read(6)));
        Assert.True(f.Ask(Inflate, DeviceFixture.Read((BalloonDevice.PageNumbersMax + 1) * sizeof(uint))));
        Assert.True(f.Ask(Inflate, DeviceFixture.Free(0, 1)));
        Assert.Empty(f.Inflates.Dropped);
        Assert.Equal(3, f.Device.Counters.BadRanges);
    }

    [Fact]
    public void Deflated_pages_are_counted_and_not_touched()
    {
        DeviceFixture f = Started();
        Assert.True(f.Ask(Deflate, DeviceFixture.Read(12)));
        Assert.Equal(3, f.Device.Counters.DeflatedPages);
        Assert.Empty(f.Inflates.Dropped);
    }

    [Fact]
    public void The_statistics_buffer_is_kept_until_news_are_wanted()
    {
        DeviceFixture f = Started();
        Span<BalloonStat> stats = MemoryMarshal.Cast<byte, BalloonStat>(f.Data[..30]);
        stats[0] = new BalloonStat { Tag = (ushort)BalloonStatTag.FreeMemory, Val = 1234 };
        stats[1] = new BalloonStat { Tag = 60000, Val = 1 };
        stats[2] = new BalloonStat { Tag = (ushort)BalloonStatTag.TotalMemory, Val = ulong.MaxValue };
        Assert.False(f.Ask(Stats, DeviceFixture.Read(30)));
        Assert.Equal(1234ul, f.Device.Statistics[BalloonStatTag.FreeMemory]);
        Assert.Equal(ulong.MaxValue, f.Device.Statistics[BalloonStatTag.TotalMemory]);
        Assert.Null(f.Device.Statistics[BalloonStatTag.SwapIn]);

        f.Device.WantStatistics();
        f.Device.Serve(Stats);
        Assert.True(f.Queues[Stats].TryReap(out _));
        Assert.Equal([Stats], f.Interrupts);
        stats[0].Val = 99;
        Assert.False(f.Ask(Stats, DeviceFixture.Read(30)));
        Assert.Equal((99ul, 2), (f.Device.Statistics[BalloonStatTag.FreeMemory]!.Value, f.Device.Statistics.Updates));
    }

    [Fact]
    public void A_wish_for_statistics_waits_until_the_driver_has_sent_a_buffer()
    {
        DeviceFixture f = Started();
        f.Device.WantStatistics();
        f.Device.Serve(Stats);
        Assert.Empty(f.Interrupts);
        Assert.False(f.Ask(Stats, DeviceFixture.Read(10)));
        f.Device.Serve(Stats);
        Assert.True(f.Queues[Stats].TryReap(out _));
    }

    [Fact]
    public void A_second_statistics_buffer_comes_back_at_once()
    {
        DeviceFixture f = Started();
        Assert.False(f.Ask(Stats, DeviceFixture.Read(10)));
        Assert.True(f.Ask(Stats, DeviceFixture.Read(10)));
        Assert.Equal(1, f.Queues[Stats].Outstanding);
    }

    [Fact]
    public void The_target_reaches_the_driver_by_an_interrupt_and_a_new_generation()
    {
        DeviceFixture f = Made(new BalloonDeviceOptions());
        f.Device.SetTarget(5);
        Assert.Equal(0, f.ConfigInterrupts);
        f.Negotiate().Start();
        uint generation = f.Device.ConfigGeneration;
        f.Device.SetTarget(77);
        Assert.Equal((1, 77u), (f.ConfigInterrupts, f.Device.ReadConfig(0)));
        Assert.NotEqual(generation, f.Device.ConfigGeneration);
    }

    [Fact]
    public void The_driver_writes_what_is_its_own_and_nothing_else()
    {
        DeviceFixture f = Started();
        f.Device.SetTarget(77);
        foreach (int offset in (int[])[0, 4, 8, 12, 16, 1, -4, int.MaxValue])
        {
            f.Device.WriteConfig(offset, 1000);
        }

        Assert.Equal((77u, 1000u, 0u, 0u), (f.Device.ReadConfig(0), f.Device.ReadConfig(4), f.Device.ReadConfig(8), f.Device.ReadConfig(12)));
        Assert.Equal(1000u, f.Device.ActualPages);
        Assert.Equal(0u, f.Device.ReadConfig(16));
    }

    [Fact]
    public void Queues_have_the_standards_numbers_whatever_is_offered()
    {
        DeviceFixture all = Made(new BalloonDeviceOptions());
        Assert.Equal([1024, 1024, 1024, 0, 1024, 0], Sizes(all));
        DeviceFixture bare = Made(new BalloonDeviceOptions { Offered = Feature.Version1 | Feature.PageReporting, QueueSizeMax = 64 });
        Assert.Equal([64, 64, 0, 0, 64, 0], Sizes(bare));

        static int[] Sizes(DeviceFixture f) => [.. System.Linq.Enumerable.Select(System.Linq.Enumerable.Range(0, 6), f.Device.QueueSizeMax)];
    }

    private DeviceFixture Made(BalloonDeviceOptions options)
    {
        DeviceFixture fixture = new(options);
        _made.Add(fixture);
        return fixture;
    }

    private DeviceFixture Started(ReportDialect dialect = ReportDialect.Standard, int reportCapacity = 1024) =>
        Made(new BalloonDeviceOptions { Dialect = dialect, ReportCapacity = reportCapacity }).Negotiate().Start();
}
