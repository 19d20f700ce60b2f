using System;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Threads;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>A free of anything that is not the head of a live block throws, says why, and changes nothing.</summary>
public sealed class FreeTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public unsafe void Whatever_is_no_head_of_a_live_block_is_refused_with_the_reason(bool threadPages)
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = threadPages);
        using ArenaProbe foreign = new(16, o => o.ThreadPages = threadPages);
        uint live = probe.Take(4);
        uint freed = probe.Take(4);
        uint range = probe.TakeRange(1300);
        byte* other = (byte*)foreign.AddressOf(foreign.Take(0));
        byte local = 0;
        probe.Free(freed);
        byte* start = (byte*)probe.AddressOf(live);
        Refused(probe, null, "null is no block");
        Refused(probe, start + 1, "not aligned to a page");
        Refused(probe, start + 4095, "not aligned to a page");
        Refused(probe, start + 4096, "inside a block");
        Refused(probe, (byte*)probe.AddressOf(live + 15), "inside a block");
        Refused(probe, (byte*)probe.AddressOf(range + 600), "inside a block");
        Refused(probe, (byte*)probe.AddressOf(freed), threadPages ? "free already (in a thread's pages)" : "free already");
        Refused(probe, (byte*)probe.AddressOf(4095), "never allocated");
        Refused(probe, probe.Arena.BaseAddress - 4096, "outside the arena");
        Refused(probe, probe.Arena.BaseAddress + probe.Arena.SizeBytes, "outside the arena");
        Refused(probe, other, "outside the arena");
        Refused(probe, &local, "outside the arena");
        Refused(probe, (byte*)nuint.MaxValue, "outside the arena");
        using ThreadActor elsewhere = new();
        elsewhere.Do(() => Refused(probe, (byte*)probe.AddressOf(freed), "free already"));
        probe.Free(live, range);
        Refused(probe, start, "free already");
        Assert.Equal(0, probe.Arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public unsafe void What_is_in_the_reactor_or_in_quarantine_is_refused_too()
    {
        using ArenaProbe probe = new(16, o => o.Aeration.Enabled = true);
        uint block = probe.Take(10);
        int seen = 0;
        probe.Balloon!.Inspect = _ =>
        {
            seen++;
            Assert.Throws<ArgumentException>("block", () => probe.Free(block));
        };
        probe.Free(block);
        probe.Balloon.Answer = Properties.DeviceAnswer.TimedOutStuck;
        probe.Arena.Trim();
        Assert.Equal((1, 4L << 20), (seen, probe.Arena.GetStatistics().QuarantinedBytes));
        Refused(probe, (byte*)probe.AddressOf(block), "quarantine");
        probe.Balloon.Answer = Properties.DeviceAnswer.TreatedZero;
        probe.Arena.Trim();
        probe.Expect("U10:0*");
    }

    [Fact]
    public void A_block_of_each_order_can_be_freed_from_any_thread()
    {
        using ArenaProbe probe = new(32, o => o.ThreadPages = true);
        using ThreadActor other = new();
        foreach (int order in Enumerable.Range(0, 11))
        {
            uint block = probe.Take(order);
            other.Do(() => probe.Free(block));
            Assert.Throws<ArgumentException>("block", () => probe.Free(block));
        }

        probe.Arena.Trim();
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        Assert.DoesNotContain(' ', probe.Lists());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Of_threads_that_free_one_range_at_once_exactly_one_gets_through(bool checks)
    {
        using ArenaProbe probe = new(64, o => o.DebugChecks = checks);
        const int Threads = 3;
        const int Rounds = 300;
        uint range = 0;
        using Barrier together = new(Threads);
        using Barrier renewed = new(Threads, _ => range = probe.TakeRange(9000));
        int freed = 0;
        Thread[] threads = [.. Enumerable.Range(0, Threads).Select(_ => new Thread(() =>
        {
            for (int round = 0; round < Rounds; round++)
            {
                renewed.SignalAndWait();
                if (Record.Exception(() => probe.Free(range)) is null)
                {
                    Interlocked.Increment(ref freed);
                }

                together.SignalAndWait();
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.Equal(Rounds, freed);
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        probe.Arena.Verify();
    }

    [Fact]
    public void A_freed_range_that_reaches_the_mark_with_its_last_piece_is_treated_at_once_by_the_freeing_thread()
    {
        using ArenaProbe probe = new(16, o =>
        {
            o.Aeration.Enabled = true;
            o.Aeration.Context = AerationContext.FreeingThread;
            o.Aeration.ReactorCapacity = 1; // the mark is at two blocks
        });
        uint range = probe.TakeRange(2048);
        probe.Free(range);
        Assert.NotEqual(0, probe.Arena.Aerator.Cycles);
        Assert.NotEqual(0, probe.Arena.GetStatistics().TreatedBytes);
    }

    private static unsafe void Refused(ArenaProbe probe, byte* block, string reason)
    {
        ArenaStatistics before = probe.Arena.GetStatistics();
        var error = Assert.Throws<ArgumentException>(nameof(block), () => probe.Arena.FreePages(block));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.Contains("Nothing was freed.", error.Message, StringComparison.Ordinal);
        ArenaStatistics after = probe.Arena.GetStatistics();
        Assert.Equal(before with { Free = [] }, after with { Free = [] });
        Assert.Equal(before.Free, after.Free);
        probe.Arena.Verify();
    }
}
