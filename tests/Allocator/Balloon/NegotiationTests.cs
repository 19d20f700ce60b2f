using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>How the driver brings a device up, what it agrees to, and what it does when the device is not to be had.</summary>
public sealed class NegotiationTests
{
    private static readonly PageRange Block = new(new Pfn(16), 16);

    [Fact]
    public void The_device_is_brought_up_in_the_standards_order()
    {
        using ScriptedTransport t = new(new BalloonDriverOptions { PoisonValue = 7 });
        Assert.True(t.Driver.TryRestart());
        Assert.Equal(
            [
                "reset", "status Acknowledge", "status Driver", "features", "status FeaturesOk", "config 12 = 7",
                "queue 0 of 16", "queue 1 of 16", "queue 4 of 32", "queue 2 of 16", "status DriverOk", "config 4 = 0", "notify 2",
            ],
            t.Log);
        Assert.Equal(1, t.Driver.Sessions);
    }

    /// <summary>B23: nothing is notified before DRIVER_OK, whoever calls.</summary>
    [Fact]
    public void A_report_before_the_device_is_up_is_refused()
    {
        using ScriptedTransport t = new();
        Assert.Equal((0, true), (t.Driver.Capacity, t.Driver.IsOutOfService));
        Assert.False(t.Driver.React([Block]));
        Assert.False(t.Driver.Service());
        Assert.Empty(t.Log);
        Assert.True(t.Driver.TryRestart());
        Assert.DoesNotContain(t.Log.TakeWhile(l => l != "status DriverOk"), l => l.StartsWith("notify", StringComparison.Ordinal));
    }

    /// <summary>B22: a start that fails leaves nothing behind that the next start trips over.</summary>
    [Fact]
    public void A_device_without_version_1_is_refused_politely_and_may_be_tried_again()
    {
        using ScriptedTransport t = new() { OfferedFeatures = Feature.PageReporting };
        for (int i = 0; i < 3; i++)
        {
            t.Log.Clear();
            Assert.False(t.Driver.TryRestart());
            Assert.Equal(["reset", "status Acknowledge", "status Driver", "status Failed"], t.Log);
            Assert.Equal((0, true), (t.Driver.Capacity, t.Driver.IsOutOfService));
            Assert.False(t.Driver.React([Block]));
        }

        t.OfferedFeatures |= Feature.Version1;
        Assert.True(t.Driver.TryRestart());
        Assert.Equal((32, 1), (t.Driver.Capacity, t.Driver.Sessions));
    }

    [Fact]
    public void A_device_that_takes_features_ok_back_is_given_up()
    {
        using ScriptedTransport t = new() { RefusesFeatures = true };
        Assert.False(t.Driver.TryRestart());
        Assert.Equal("status Failed", t.Log[^1]);
        Assert.DoesNotContain(t.Log, l => l.StartsWith("queue", StringComparison.Ordinal));
    }

    [Fact]
    public void A_device_that_does_not_acknowledge_a_reset_is_left_alone()
    {
        using ScriptedTransport t = new() { AcknowledgesReset = false };
        Assert.False(t.Driver.TryRestart());
        Assert.Equal(["reset"], t.Log);
    }

    [Fact]
    public void A_device_in_service_is_not_started_again()
    {
        using ScriptedTransport t = new();
        Assert.True(t.Driver.TryRestart());
        t.Log.Clear();
        Assert.True(t.Driver.TryRestart());
        Assert.Empty(t.Log);
    }

    [Fact]
    public void Only_what_is_understood_is_accepted()
    {
        using ScriptedTransport t = new() { OfferedFeatures = (Feature)ulong.MaxValue };
        Assert.True(t.Driver.TryRestart());
        Assert.Equal(
            Feature.Version1 | Feature.PageReporting | Feature.StatsQueue | Feature.DeflateOnOom | Feature.MustTellHost
            | Feature.EventIndex | Feature.IndirectDescriptors,
            t.Accepted);
        Assert.Equal(t.Accepted, t.Driver.Features);
    }

    [Theory]
    [InlineData(32, 1024, 1024, false, null, 32)]
    [InlineData(32, 16, 1024, false, null, 16)]
    [InlineData(32, 16, 1024, true, null, 32)]
    [InlineData(32, 1024, 5, false, null, 5)]
    [InlineData(32, 1024, 5, true, null, 5)]
    [InlineData(1, 1024, 1024, false, null, 1)]
    [InlineData(1000, 1024, 1024, false, null, 1000)]
    [InlineData(100, 1024, 1024, false, 64, 64)]
    [InlineData(32, 0, 1024, false, null, 0)]
    [InlineData(32, 3, 1024, false, null, 0)]
    public void A_batch_is_the_least_of_what_is_wanted_held_and_allowed(
        int wanted, int queue, int host, bool hints, int? queueSize, int capacity)
    {
        foreach (bool indirect in (bool[])[false, true])
        {
            BalloonDriverOptions options = new()
            {
                WantedCapacity = wanted,
                HostCapacity = host,
                Dialect = hints ? ReportDialect.Hints : ReportDialect.Standard,
                QueueSize = queueSize,
                UseIndirect = indirect,
            };
            using ScriptedTransport t = new(options);
            t.QueueSizes[BalloonLimits.ReportingQueue] = queue;
            t.Driver.TryRestart();
            Assert.Equal(capacity, t.Driver.Capacity);
        }
    }

    /// <summary>B33: reports go to queue 4, not to the fourth queue that there is.</summary>
    [Fact]
    public void Reports_go_to_queue_4_whatever_else_is_there()
    {
        using ScriptedTransport none = new() { OfferedFeatures = Feature.Version1 | Feature.PageReporting };
        Assert.True(none.Driver.TryRestart());
        Assert.Equal(["queue 0 of 16", "queue 1 of 16", "queue 4 of 32"], none.Log.Where(l => l.StartsWith("queue", StringComparison.Ordinal)));

        // A host that put reporting third has no queue 4: then there are no reports.
        using ScriptedTransport third = new() { OfferedFeatures = Feature.Version1 | Feature.PageReporting | Feature.FreePageHint };
        third.QueueSizes[BalloonLimits.ReportingQueue] = 0;
        Assert.True(third.Driver.TryRestart());
        Assert.Equal((Feature.Version1, 0, false), (third.Accepted, third.Driver.Capacity, third.Driver.IsOutOfService));
        Assert.False(third.Driver.React([Block]));
    }

    /// <summary>B25: contents that must not change are never reported to a host that does not know them.</summary>
    [Theory]
    [InlineData(null, true, true, false)]
    [InlineData(null, false, true, false)]
    [InlineData(0u, true, true, true)]
    [InlineData(0u, false, false, false)]
    [InlineData(0xaau, true, true, true)]
    [InlineData(0xaau, false, false, false)]
    public void Reports_and_poison_go_together(uint? poison, bool offered, bool reports, bool poisons)
    {
        using ScriptedTransport t = new(new BalloonDriverOptions { PoisonValue = poison });
        t.OfferedFeatures &= offered ? (Feature)ulong.MaxValue : ~Feature.PagePoison;
        Assert.True(t.Driver.TryRestart());
        Assert.Equal(reports, (t.Accepted & Feature.PageReporting) != 0);
        Assert.Equal(poisons, (t.Accepted & Feature.PagePoison) != 0);
        Assert.Equal(reports ? 32 : 0, t.Driver.Capacity);
        int written = t.Log.FindIndex(l => l.StartsWith("config 12", StringComparison.Ordinal));
        Assert.Equal(poisons, written >= 0);
        Assert.True(written < t.Log.IndexOf("status DriverOk"));
    }

    [Fact]
    public void A_device_that_breaks_down_takes_no_reports_until_it_was_started_again()
    {
        using ScriptedTransport t = new();
        Assert.True(t.Driver.TryRestart());
        t.BreakDown();
        Assert.Equal((0, true), (t.Driver.Capacity, t.Driver.IsOutOfService));
        Assert.False(t.Driver.React([Block]));
        Assert.True(t.Driver.TryRestart());
        Assert.Equal((32, 2), (t.Driver.Capacity, t.Driver.Sessions));
    }

    [Fact]
    public void Control_memory_that_is_too_small_or_crooked_is_refused()
    {
        using ScriptedTransport t = new();
        BalloonDriverOptions large = new() { WantedCapacity = 1024 };
        Assert.Contains("page-aligned", Assert.Throws<ArgumentException>(() => new BalloonControl(t.Memory, 1 << 22, large)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new BalloonControl(t.Memory, (1 << 22) + 16, new BalloonDriverOptions()));
    }
}
