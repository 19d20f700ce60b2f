using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>AllocateRange: any number of pages in a row.</summary>
public sealed class RangeTests
{
    [Theory]
    [InlineData(1ul, "U9:512 U8:256 U7:128 U6:64 U5:32 U4:16 U3:8 U2:4 U1:2 U0:1")]
    [InlineData(3ul, "U9:512 U8:256 U7:128 U6:64 U5:32 U4:16 U3:8 U2:4 U0:3")]
    [InlineData(5ul, "U9:512 U8:256 U7:128 U6:64 U5:32 U4:16 U3:8 U1:6 U0:5")]
    [InlineData(513ul, "U8:768 U7:640 U6:576 U5:544 U4:528 U3:520 U2:516 U1:514 U0:513")]
    [InlineData(1023ul, "U0:1023")]
    [InlineData(1024ul, "")]
    [InlineData(1025ul, "U9:1536 U8:1280 U7:1152 U6:1088 U5:1056 U4:1040 U3:1032 U2:1028 U1:1026 U0:1025")]
    [InlineData(2048ul, "")]
    [InlineData(2049ul, "U9:2560 U8:2304 U7:2176 U6:2112 U5:2080 U4:2064 U3:2056 U2:2052 U1:2050 U0:2049")]
    public void What_the_last_block_has_too_much_is_free_at_once_and_all_of_it_later(ulong pages, string rest)
    {
        using ArenaProbe probe = new(16);
        Assert.Equal(0u, probe.TakeRange(pages));
        probe.Expect(rest);
        Assert.Equal((long)pages << 12, probe.Arena.GetStatistics().AllocatedBytes);
        probe.Free(0);
        Assert.All(probe.Lists().Split(' '), list => Assert.StartsWith("U10:", list, StringComparison.Ordinal));
        Assert.Equal((0L, 0ul), (probe.Arena.GetStatistics().AllocatedBytes, probe.Arena.Budget.TakenPages));
    }

    [Fact]
    public unsafe void A_byte_more_than_a_page_takes_two()
    {
        using ArenaProbe probe = new(4);
        probe.Arena.AllocateRange(4097);
        Assert.Equal(8192, probe.Arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void It_is_put_together_from_free_pageblocks_of_any_type_and_order()
    {
        using ArenaProbe probe = new(16);
        uint[] nines = [probe.Take(9, MigrateType.Movable), probe.Take(9, MigrateType.Movable), probe.Take(9, MigrateType.Reclaimable)];
        uint held = probe.Take(9, MigrateType.Reclaimable);
        uint[] tens = probe.TakeMany(2, 10);
        Assert.Equal([0u, 512u, 1024u, 1536u, 2048u, 3072u], [.. nines, held, .. tens]);
        probe.Free(nines);
        probe.Expect("M10:0 R9:1024");
        Assert.Equal(0u, probe.TakeRange(1200));
        Assert.Equal(1200, probe.Arena.GetStatistics().AllocatedBytes / 4096 - 2560);
        Assert.All(new[] { 0u, 512u, 1024u }, page => Assert.Equal(MigrateType.Unmovable, probe.TypeOf(page)));
        probe.Expect("U8:1280 U6:1216 U4:1200");
        probe.Free(0);
        probe.Expect("U10:0 U9:1024");
    }

    [Fact]
    public void Where_every_pageblock_holds_a_page_it_fails_and_nothing_is_lost()
    {
        using ArenaProbe probe = new(16);
        uint[] pages = probe.TakeMany(4096, 0);
        probe.Free(pages.Where(p => p % 512 != 77));
        string before = probe.Lists();
        ArenaStatistics was = probe.Arena.GetStatistics();
        string message = Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(1025)).Message;
        Assert.Contains("no range of 4198400 bytes", message, StringComparison.Ordinal);
        Assert.Contains("Unmovable order 8 x 8;", message, StringComparison.Ordinal);
        probe.Expect(before);
        Assert.Equal(was with { Free = [] }, probe.Arena.GetStatistics() with { Free = [] });
        Assert.Equal(8ul, probe.Arena.Budget.TakenPages);
        probe.Free(77, 589, 1101); // three in a row
        Assert.Equal(0u, probe.TakeRange(1536));
    }

    [Fact]
    public void An_isolated_pageblock_interrupts_a_run()
    {
        using ArenaProbe probe = new(16);
        probe.Free(probe.TakeMany(4, 10));
        Assert.True(probe.Arena.IsolatePageblock(3));
        Assert.Equal(2048u, probe.TakeRange(2000));
        Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(1600));
        Assert.Equal(0u, probe.TakeRange(1500));
        probe.Arena.Verify();
    }

    [Fact]
    public void A_run_does_not_cross_zones()
    {
        using ArenaProbe probe = new(16, o => o.Zones = 2);
        probe.Free(probe.TakeMany(4, 10));
        Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(2049));
        Assert.NotEqual(probe.TakeRange(2048), probe.TakeRange(2048));
        Assert.Equal(16L << 20, probe.Arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void What_the_threads_keep_is_given_up_before_it_fails()
    {
        using ArenaProbe probe = new(8, o => o.ThreadPages = true);
        probe.Free(probe.Take(0), probe.Take(9));
        Assert.NotEqual(0, probe.Arena.GetStatistics().ThreadPagesBytes);
        Assert.Equal(0u, probe.TakeRange(2048));
        Assert.Equal(0, probe.Arena.GetStatistics().ThreadPagesBytes);
    }

    [Fact]
    public void Neither_head_nor_tail_nor_inside_can_be_freed_twice()
    {
        using ArenaProbe probe = new(16);
        uint range = probe.TakeRange(1300);
        foreach (uint wrong in new[] { range + 1, range + 512, range + 1024, range + 1299, range + 1300, range + 1536 })
        {
            Assert.Throws<ArgumentException>("block", () => probe.Free(wrong));
        }

        probe.Free(range);
        Assert.Throws<ArgumentException>("block", () => probe.Free(range));
        Assert.Equal(2, probe.Lists().Split(',').Length);
    }

    [Theory]
    [InlineData(0ul, typeof(ArgumentOutOfRangeException))]
    [InlineData((16ul << 20) + 1, typeof(OutOfMemoryException))]
    [InlineData(ulong.MaxValue, typeof(OutOfMemoryException))]
    public unsafe void Sizes_that_cannot_be(ulong bytes, Type error)
    {
        using ArenaProbe probe = new(16);
        Assert.IsType(error, Record.Exception(() => { probe.Arena.AllocateRange((nuint)bytes); }));
        Assert.Equal(16L << 20, probe.Arena.GetStatistics().UnreachedBytes);
    }

    [Theory]
    [InlineData(3ul)]
    [InlineData(1024ul)]
    [InlineData(1025ul)]
    public void A_range_that_cannot_be_made_resident_is_given_back_and_the_errno_is_named(ulong pages)
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(16, null, os);
        os.Fail(SystemCall.Advise, Errno.EFAULT, advice: MemoryAdvice.PopulateWrite);
        string message = Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(pages, AllocationFlags.Populate)).Message;
        Assert.Contains("MADV_POPULATE_WRITE failed: EFAULT", message, StringComparison.Ordinal);
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        Assert.StartsWith("U10:", probe.Lists(), StringComparison.Ordinal);
        Assert.DoesNotContain(' ', probe.Lists());
    }

    [Fact]
    public void Threads_that_compete_for_runs_get_disjoint_ones_and_return_all()
    {
        using ArenaProbe probe = new(64, o => (o.Zones, o.DebugChecks) = (2, true));
        const int Threads = 4;
        int[] owners = new int[(64 << 20) / 4096];
        int met = 0;
        Exception? failure = null;
        Thread[] running = [.. Enumerable.Range(1, Threads).Select(me => new Thread(() =>
        {
            try
            {
                met = Interlocked.Add(ref met, Compete(probe, owners, me));
            }
            catch (Exception e)
            {
                Volatile.Write(ref failure, e);
            }
        }))];
        Array.ForEach(running, thread => thread.Start());
        Array.ForEach(running, thread => thread.Join());
        Assert.Null(failure);
        Assert.True(met > 200, $"{met} ranges in all: too few to compete");
        probe.Arena.Trim(); // what debug mode holds back
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        Assert.All(new[] { probe.Lists(0), probe.Lists(1) }, lists => Assert.DoesNotContain(' ', lists));
    }

    private static int Compete(ArenaProbe probe, int[] owners, int me)
    {
        Random random = new(me);
        Queue<(uint Start, uint Pages)> mine = [];
        int met = 0;
        for (int i = 0; i < 300; i++)
        {
            uint pages = (uint)random.Next(700, 4000);
            try
            {
                uint start = probe.TakeRange(pages);
                met++;
                for (uint page = start; page < start + pages; page++)
                {
                    Assert.Equal(0, Interlocked.Exchange(ref owners[page], me));
                }

                mine.Enqueue((start, pages));
            }
            catch (OutOfMemoryException)
            {
                // The others have it all just now.
            }

            while (mine.Count > (i == 299 ? 0 : random.Next(0, 3)))
            {
                (uint start, uint count) = mine.Dequeue();
                for (uint page = start; page < start + count; page++)
                {
                    Assert.Equal(me, Interlocked.Exchange(ref owners[page], 0));
                }

                probe.Free(start);
            }
        }

        return met;
    }
}
