using System;
using System.IO;
using LowLevel.Allocator;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The curves last microseconds: nothing waits.</summary>
public sealed class DemandLoadTests
{
    private const int PageSize = 4096;

    private static PageArenaOptions Untreated => new() { SizeBytes = 1 << 30, Aeration = new AerationOptions { Enabled = false } };

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void After_the_last_step_exactly_its_demand_is_held_and_all_of_it_comes_back(int threads)
    {
        using PageArena arena = PageArena.Create(Untreated);
        DemandCurve curve = Curve((0, 300, 20), (1, 60_000, 5_000), (2, 9_000, 100), (3, 40_001, 7_000), (4, 12_345, 2_345));
        var load = new DemandLoad(arena, curve, 0.25, threads, seed: 5);
        DemandOutcome outcome = load.Run(() => { });

        long expected = 0;
        DemandStep last = curve.Steps[^1];
        for (int i = 0; i < threads; i++)
        {
            expected += (last.CacheBytes / threads / PageSize) + (last.JobBytes / threads / PageSize);
        }

        Assert.Equal(expected * PageSize, load.LiveBytes);
        Assert.Equal(load.LiveBytes, arena.GetStatistics().AllocatedBytes);
        arena.Verify();
        Assert.True(outcome.BusySeconds > 0);
        Assert.True(outcome.MostLate >= outcome.MeanLate);
        load.GiveBackAll();
        Assert.Equal(0, load.LiveBytes);
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        arena.Verify();
    }

    [Fact]
    public void An_arena_that_is_too_small_ends_the_load_with_the_reason_and_does_not_hang()
    {
        using PageArena arena = PageArena.Create(new PageArenaOptions
        {
            SizeBytes = 64 << 20,
            Aeration = new AerationOptions { Enabled = false },
        });
        var load = new DemandLoad(arena, Curve((0, 10, 0), (1, 60_000, 0)), 1, threads: 2, seed: 5);
        Assert.Throws<MeasurementException>(() => load.Run(() => { }));
        load.GiveBackAll();
        arena.Verify();
    }

    [Theory]
    [InlineData(10)]
    [InlineData(0)]
    public void The_fault_loop_leaves_nothing_behind(int order)
    {
        using PageArena arena = PageArena.Create(Untreated);
        double rate = new FaultLoop(order).Measure(arena, threads: 2, TimeSpan.FromTicks(1));
        Assert.True(rate > 0);
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        arena.Verify();
    }

    [Fact]
    public void A_fault_loop_without_room_fails_on_every_thread_and_ends()
    {
        using PageArena arena = PageArena.Create(new PageArenaOptions
        {
            SizeBytes = 64 << 20,
            Aeration = new AerationOptions { Enabled = false },
        });
        Assert.Throws<MeasurementException>(() => new FaultLoop(10).Measure(arena, threads: 3, TimeSpan.FromTicks(1)));
    }

    private static DemandCurve Curve(params (int Microseconds, long Pages, long CachePages)[] steps)
    {
        using var text = new StringWriter();
        text.Write("seconds,used_bytes,page_cache_bytes\n");
        foreach ((int microseconds, long pages, long cache) in steps)
        {
            text.Write(FormattableString.Invariant($"{microseconds / 1e6:0.000000},{pages * PageSize},{cache * PageSize}\n"));
        }

        return DemandCurve.Parse(new StringReader(text.ToString()));
    }
}
