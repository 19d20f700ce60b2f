using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Threads;

/// <summary>The blocks that a thread keeps: batches, bounds, other threads, freezing and the end of a thread.</summary>
public sealed class ThreadPagesTests
{
    public static TheoryData<int> Orders => new(Enumerable.Range(0, PageblockLimits.Orders));

    [Theory]
    [MemberData(nameof(Orders))]
    public void An_empty_stack_is_filled_by_one_batch_in_ascending_order(int order)
    {
        using ArenaProbe probe = new(256, o => o.ThreadPages = true);
        int batch = ThreadPagesLimits.Batch(order);
        Assert.Equal(0u, probe.Take(order, MigrateType.Movable));
        Assert.Equal((batch - 1, 0), (Count(order, MigrateType.Movable), Count(order, MigrateType.Unmovable)));
        Assert.Equal((long)(batch - 1) << (order + 12), probe.Arena.GetStatistics().ThreadPagesBytes);
        for (uint i = 1; i < batch; i++)
        {
            Assert.Equal(i << order, probe.Take(order, MigrateType.Movable));
        }

        Assert.Equal(0, Count(order, MigrateType.Movable));
        probe.Arena.Verify();
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void A_full_stack_gives_its_oldest_batch_back(int order)
    {
        using ArenaProbe probe = new(256, o => o.ThreadPages = true);
        int high = ThreadPagesLimits.High(order);
        int batch = ThreadPagesLimits.Batch(order);
        using ThreadActor other = new();
        uint[] blocks = other.Get(() => probe.TakeMany(high + 1, order));
        probe.Free(probe.Take(order)); // this thread's pages exist, and hold one small batch
        probe.Arena.Threads.DrainAll();
        for (int i = 0; i < high; i++)
        {
            probe.Free(blocks[i]);
            Assert.Equal(i + 1, Count(order, MigrateType.Unmovable));
        }

        probe.Free(blocks[high]);
        Assert.Equal(high - batch + 1, Count(order, MigrateType.Unmovable));
        Assert.Equal(blocks[high], probe.Take(order)); // the youngest is still there, and comes first
        unsafe
        {
            Assert.True(probe.Arena.Map[new Pfn(blocks[0])]->PageType.IsBuddy || probe.Arena.Map[new Pfn(blocks[0])]->State == 0, "the oldest is in the zone");
            Assert.True(probe.Arena.Map[new Pfn(blocks[batch])]->PageType.IsCached, "the next is not");
        }

        probe.Arena.Verify();
    }

    [Fact]
    public void The_last_block_freed_is_the_next_one_given()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        uint[] pages = probe.TakeMany(10, 0);
        probe.Free(pages[3], pages[7], pages[1]);
        Assert.Equal([pages[1], pages[7], pages[3]], probe.TakeMany(3, 0));
    }

    [Fact]
    public void A_block_that_another_thread_frees_goes_to_that_thread()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        using ThreadActor other = new();
        uint[] pages = probe.TakeMany(64, 0);
        other.Do(() => probe.Free(pages));
        Assert.Equal((0, 64), (Count(0, MigrateType.Unmovable), other.Get(() => Count(0, MigrateType.Unmovable))));
        Assert.Equal(pages.Reverse(), other.Get(() => probe.TakeMany(64, 0)));
        Assert.Equal(64L << 12, probe.Arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void Close_to_the_cap_a_thread_takes_less_than_a_batch_and_what_others_keep_is_taken_from_them()
    {
        using ArenaProbe probe = new(4, o => o.ThreadPages = true);
        using ThreadActor other = new();
        other.Do(() => probe.Free(probe.TakeMany(128, 0)));
        Assert.Equal((64L + 128) << 12, probe.Arena.GetStatistics().ThreadPagesBytes); // two refills, the second of twice the blocks
        uint[] all = probe.TakeMany(1024, 0);
        Assert.Equal(1024, all.Distinct().Count());
        Assert.Null(probe.TryTake(0));
        Assert.Equal(0, other.Get(() => Count(0, MigrateType.Unmovable)));
        probe.Free(all[5]);
        Assert.Equal(all[5], other.Get(() => probe.Take(0)));
        probe.Arena.Verify();
    }

    [Fact]
    public void Types_follow_the_pageblock_when_a_block_is_freed()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        uint page = probe.Take(0, MigrateType.Reclaimable);
        probe.Free(page);
        Assert.Equal(64, Count(0, MigrateType.Reclaimable));
        uint atomic = probe.Take(3);
        probe.Arena.Map.Pageblocks.Set(new Pfn(atomic).Pageblock, MigrateType.Movable);
        probe.Free(atomic);
        Assert.Equal(1, Count(3, MigrateType.Movable));
    }

    [Fact]
    public void Blocks_of_isolated_pageblocks_are_not_kept()
    {
        using ArenaProbe probe = new(8, o => o.ThreadPages = true);
        uint[] pages = probe.TakeMany(64, 0);
        probe.Free(pages[..32]);
        Assert.True(probe.Arena.IsolatePageblock(0));
        Assert.Equal(0, probe.Arena.GetStatistics().ThreadPagesBytes);
        probe.Free(pages[32..]);
        Assert.Equal((0L, 512L << 12), (probe.Arena.GetStatistics().ThreadPagesBytes, probe.Arena.GetStatistics().IsolatedBytes));
    }

    [Fact]
    public void A_dead_thread_s_blocks_come_back_at_the_next_pass_however_young()
    {
        using ArenaProbe probe = new(16, o => (o.ThreadPages, o.Aeration.Enabled) = (true, true));
        uint page;
        using (ThreadActor other = new())
        {
            page = other.Get(() => probe.Take(0));
            probe.Arena.Aerator.Pass();
            Assert.Equal((63L << 12, 1), (probe.Arena.GetStatistics().ThreadPagesBytes, probe.Arena.Threads.Count));
        }

        probe.Arena.Aerator.Pass();
        Assert.Equal((0L, 0), (probe.Arena.GetStatistics().ThreadPagesBytes, probe.Arena.Threads.Count));
        probe.Free(page); // its block outlives it
        probe.Arena.Trim();
        probe.Expect("U10:0*");
    }

    [Fact]
    public void A_dead_thread_s_blocks_come_back_before_a_request_fails()
    {
        using ArenaProbe probe = new(4, o => o.ThreadPages = true);
        using (ThreadActor other = new())
        {
            other.Do(() => probe.Free(probe.TakeMany(300, 0)));
        }

        Assert.Equal(0u, probe.Take(10));
    }

    [Fact]
    public void Hundreds_of_short_threads_leave_nothing_behind()
    {
        using ArenaProbe probe = new(64, o => (o.ThreadPages, o.Aeration.Enabled) = (true, true));
        for (int i = 0; i < 300; i++)
        {
            Thread thread = new(() => probe.Free(probe.TakeMany(5, i % 7)));
            thread.Start();
            thread.Join();
            if (i % 20 == 19)
            {
                probe.Arena.Aerator.Pass();
                Assert.Equal((0L, 0), (probe.Arena.GetStatistics().ThreadPagesBytes, probe.Arena.Threads.Count));
            }
        }

        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        Assert.DoesNotContain(' ', probe.Lists());
    }

    [Fact]
    public void While_frozen_the_owner_goes_to_the_zone()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        using ThreadActor other = new();
        uint[] pages = other.Get(() => probe.TakeMany(70, 0));
        Assert.Equal(122L << 12, probe.Arena.GetStatistics().ThreadPagesBytes);
        probe.Arena.Threads.WhileFrozen(threads =>
        {
            Assert.Single(threads);
            other.Do(() => probe.Free(pages[0]));
            Assert.Equal(122, threads[0].Pages);
            uint taken = other.Get(() => probe.Take(0));
            Assert.Equal((0u, 122L), (taken, threads[0].Pages)); // from the zone's list of order 0
        });
        other.Do(() => probe.Free(pages[1]));
        Assert.Equal(123L << 12, probe.Arena.GetStatistics().ThreadPagesBytes);
        probe.Arena.Verify();
    }

    [Fact]
    public void A_pass_takes_back_what_has_rested_and_leaves_the_rest()
    {
        using ArenaProbe probe = new(16, o => (o.ThreadPages, o.Aeration.Enabled) = (true, true));
        uint[] pages = probe.TakeMany(64, 0);
        probe.Free(pages[..10]);
        for (int quarter = 1; quarter <= 5; quarter++)
        {
            Assert.Equal(quarter < 4 ? 10 : 20, Count(0, MigrateType.Unmovable));
            if (quarter == 3)
            {
                probe.Free(pages[10..20]);
            }

            probe.Clock.Advance(TimeSpan.FromMilliseconds(250));
            probe.Arena.Aerator.Pass();
        }

        Assert.Equal(10, Count(0, MigrateType.Unmovable));
        Assert.Equal(pages[19], probe.Take(0)); // and again kept from the top
        probe.Free(pages[19]);
        probe.Clock.Advance(TimeSpan.FromMilliseconds(500)); // late, and still one epoch only
        probe.Arena.Aerator.Pass();
        Assert.Equal(10, Count(0, MigrateType.Unmovable));
        probe.Clock.Advance(TimeSpan.FromMilliseconds(250));
        probe.Arena.Aerator.Pass();
        Assert.Equal(1, Count(0, MigrateType.Unmovable));
        probe.Arena.Verify();
    }

    [Fact]
    public void Threads_of_several_arenas_keep_them_apart()
    {
        using ArenaProbe first = new(16, o => o.ThreadPages = true);
        using ArenaProbe second = new(16, o => o.ThreadPages = true);
        uint a = first.Take(0);
        uint b = second.Take(0);
        first.Free(a);
        second.Free(b);
        Assert.Equal((64L << 12, 64L << 12), (first.Arena.GetStatistics().ThreadPagesBytes, second.Arena.GetStatistics().ThreadPagesBytes));
        unsafe
        {
            void* foreign = first.AddressOf(first.Take(0));
            Assert.Throws<ArgumentException>("block", () => second.Arena.FreePages(foreign));
        }

        first.Arena.Verify();
        second.Arena.Verify();
    }

    [Fact]
    public void Of_two_threads_that_free_one_block_at_once_exactly_one_gets_through_with_checks_on()
    {
        using ArenaProbe probe = new(16, o => (o.ThreadPages, o.DebugChecks) = (true, true));
        using Barrier together = new(2);
        uint[] blocks = probe.TakeMany(2000, 0);
        int[] freed = new int[blocks.Length];
        Thread[] threads = [.. Enumerable.Range(0, 2).Select(_ => new Thread(() =>
        {
            for (int i = 0; i < blocks.Length; i++)
            {
                together.SignalAndWait();
                try
                {
                    probe.Free(blocks[i]);
                    Interlocked.Increment(ref freed[i]);
                }
                catch (ArgumentException)
                {
                    // The other one was first.
                }
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.All(freed, count => Assert.Equal(1, count));
        Assert.Equal(0, probe.Arena.GetStatistics().AllocatedBytes);
        probe.Arena.Verify();
    }

    private static unsafe int Count(int order, MigrateType type) => ThreadPages.Last!.Bin(new Order(order), type)->Count;
}
