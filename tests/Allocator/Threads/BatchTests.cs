using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Threads;

/// <summary>How much moves between a thread's pages and the zones at once, and that it is the same blocks as one by one.</summary>
public sealed class BatchTests
{
    public static TheoryData<int> Orders => new(Enumerable.Range(0, PageblockLimits.Orders));

    public static TheoryData<int> Seeds => new(Enumerable.Range(1, 24));

    [Theory]
    [MemberData(nameof(Orders))]
    public void Refills_that_follow_each_other_double_up_to_their_bound(int order)
    {
        using ArenaProbe probe = new(256, o => o.ThreadPages = true);
        int batch = ThreadPagesLimits.Batch(order);
        long left = (200L << 20) >> (order + PageblockLimits.PageShift);
        for (int refills = 0; refills < 8 && left > 2 * batch; refills++)
        {
            probe.Take(order);
            Assert.Equal(batch - 1, Count(order));
            probe.TakeMany(batch - 1, order);
            left -= batch;
            batch = Math.Min(2 * batch, ThreadPagesLimits.MaxBatch(order));
        }

        probe.Arena.Verify();
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void Drains_that_follow_each_other_double_and_a_stack_never_has_more_than_its_bound(int order)
    {
        using ArenaProbe probe = new(256, o => o.ThreadPages = true);
        using ThreadActor other = new();
        uint[] blocks = other.Get(() => probe.TakeMany(Math.Min(12000, (160 << 20) >> (order + PageblockLimits.PageShift)), order));
        int batch = ThreadPagesLimits.Batch(order);
        int before = 0;
        foreach (uint block in blocks)
        {
            probe.Free(block);
            if (Count(order) <= before)
            {
                Assert.Equal(before + 1 - batch, Count(order));
                batch = Math.Min(2 * batch, ThreadPagesLimits.MaxBatch(order));
            }

            before = Count(order);
            Assert.InRange(before, 1, Math.Max(ThreadPagesLimits.High(order), 4 * ThreadPagesLimits.MaxBatch(order)));
        }

        Assert.Equal(ThreadPagesLimits.MaxBatch(order), batch);
        probe.Arena.Verify();
    }

    [Theory]
    [MemberData(nameof(Orders))]
    public void A_thread_that_takes_and_gives_in_waves_keeps_the_whole_wave_up_to_its_share_of_the_cap(int order)
    {
        using ArenaProbe probe = new(1 << (order > 8 ? 14 : 11), o => o.ThreadPages = true);
        int share = (int)(ThreadPagesLimits.SharePages(probe.Arena.Budget.CapPages) >> order);
        int bound = ThreadPagesLimits.MaxHigh(order, ThreadPagesLimits.SharePages(probe.Arena.Budget.CapPages));
        Assert.InRange(bound, Math.Min(share, ThreadPagesLimits.MaxHigh(order)), ThreadPagesLimits.MaxHigh(order));
        int wave = bound - ThreadPagesLimits.MaxBatch(order); // the last refill may leave some over
        for (int round = 0; round < 12; round++)
        {
            probe.Free(probe.TakeMany(wave, order));
            Assert.InRange(Count(order), 1, bound);
        }

        Assert.InRange(Count(order), wave, bound);
        probe.Zone.Enter(); // the next wave asks nobody: whoever waited for the lock now would wait for ever
        probe.Free(probe.TakeMany(wave, order));
        probe.Zone.ExitQuietly();
        probe.Free(probe.TakeMany(2 * wave, order));
        probe.Free(probe.TakeMany(2 * wave, order));
        Assert.InRange(Count(order), 1, bound);
        probe.Arena.Verify();
        Assert.True(probe.Arena.Threads.DrainAll());
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
    }

    [Fact]
    public void A_small_cap_bounds_what_a_wave_may_keep()
    {
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            int least = ThreadPagesLimits.MaxHigh(order, 0);
            Assert.InRange(least, Math.Max(ThreadPagesLimits.High(order), 2 * ThreadPagesLimits.MaxBatch(order)), ThreadPagesLimits.MaxHigh(order));
            Assert.InRange((long)least << order, 1, order < 9 ? 8192 : 16384);
            Assert.Equal(ThreadPagesLimits.MaxHigh(order), ThreadPagesLimits.MaxHigh(order, ulong.MaxValue));
        }
    }

    [Fact]
    public void What_comes_two_epochs_late_starts_small_again()
    {
        using ArenaProbe probe = new(64, o => o.ThreadPages = true);
        probe.TakeMany(64 + 128 + 256, 0);
        probe.Arena.Epoch++;
        probe.Take(0);
        Assert.Equal(511, Count(0)); // one epoch is not late
        probe.TakeMany(511, 0);
        probe.Arena.Epoch += ThreadPagesLimits.ForgetEpochs;
        probe.Take(0);
        Assert.Equal(63, Count(0));
        probe.Arena.Verify();
    }

    [Fact]
    public unsafe void A_stack_that_a_pass_has_drained_starts_small_again()
    {
        using ArenaProbe probe = new(64, o => o.ThreadPages = true);
        probe.Free(probe.TakeMany(6000, 0));
        ThreadBin* bin = ThreadPages.Last!.Bin(new Order(0), MigrateType.Unmovable);
        Assert.Equal((2048, 512), (bin->High, bin->Batch));
        probe.Arena.Epoch += 5;
        Assert.True(probe.Arena.Threads.DrainRested());
        Assert.Equal((0, 384, 64), (bin->Count, bin->High, bin->Batch));
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        probe.Arena.Verify();
    }

    [Fact]
    public void Who_only_frees_does_not_wait_for_the_holder_of_the_zone_lock_while_there_is_room()
    {
        using ArenaProbe probe = new(64, o => o.ThreadPages = true);
        using ThreadActor other = new();
        uint[] blocks = other.Get(() => probe.TakeMany(2049, 0));
        probe.Free(blocks[..384]);
        probe.Zone.Enter(); // whoever waits for it now waits for ever
        probe.Free(blocks[384..2048]);
        Assert.Equal(2048, Count(0));
        probe.Zone.ExitQuietly();
        probe.Free(blocks[2048]);
        Assert.Equal(2048 - 64 + 1, Count(0));
        probe.Arena.Verify();
    }

    [Fact]
    public void A_thread_that_only_frees_strands_nothing_and_neither_does_its_end()
    {
        using ArenaProbe probe = new(64, o => (o.ThreadPages, o.Aeration.Enabled) = (true, true));
        using (ThreadActor consumer = new())
        {
            for (int round = 0; round < 20; round++)
            {
                uint[] blocks = probe.TakeMany(4000, 0); // more than what both may keep, five times the arena in all
                consumer.Do(() => probe.Free(blocks));
            }

            Assert.InRange(consumer.Get(() => Count(0)), 384, 2048);
        }

        probe.Arena.Aerator.Pass();
        Assert.Equal((long)Count(0) << PageblockLimits.PageShift, probe.Arena.GetStatistics().ThreadPagesBytes);
        probe.Arena.Trim();
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        probe.Arena.Verify();
    }

    [Fact]
    public unsafe void A_zeroed_block_comes_from_the_thread_s_pages_and_is_written_only_where_it_is_not_marked()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        uint fresh = probe.Take(0, flags: AllocationFlags.Zeroed);
        Assert.Equal(63, Count(0));
        *(byte*)probe.AddressOf(fresh) = 1;
        *(byte*)probe.AddressOf(fresh + 1) = 2; // not ours: shows that a marked block is taken at its word
        probe.Free(fresh);
        Assert.Equal((fresh, 63), (probe.Take(0, flags: AllocationFlags.Zeroed), Count(0)));
        Assert.Equal(0, *(byte*)probe.AddressOf(fresh));
        Assert.Equal((fresh + 1, 62), (probe.Take(0, flags: AllocationFlags.Zeroed), Count(0)));
        Assert.Equal(2, *(byte*)probe.AddressOf(fresh + 1));
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public unsafe void Many_blocks_taken_at_once_are_those_that_would_come_one_by_one(int seed)
    {
        using ArenaProbe single = new(64);
        using ArenaProbe batch = new(64);
        Random random = new(seed);
        Assert.Equal(Stir(single, new Random(seed)), Stir(batch, new Random(seed)));
        for (int round = 0; round < 12; round++)
        {
            Order order = new(random.Next(PageblockLimits.Orders));
            MigrateType type = (MigrateType)random.Next(MigrateTypes.PcpTypes);
            uint[] into = new uint[random.Next(1, 1 + Math.Min(700, 2048 >> order.Value))];
            int taken;
            fixed (uint* at = into)
            {
                batch.Zone.Enter();
                taken = batch.Zone.TakeManyLocked(at, into.Length, order, type, AllocFlags.NoFragment, epoch: 7);
                batch.Zone.ExitQuietly();
            }

            Assert.True(batch.Arena.Budget.TryTake((ulong)taken << order.Value, AllocFlags.NoWatermarks));
            foreach (uint block in into[..taken])
            {
                Page* head = batch.Arena.Map[new Pfn(block)];
                Assert.True(head->PageType.IsCached && head->FreedAt == 7 && head->Private == (ulong)order.Value && head->Index == (ulong)type);
                head->State = PageState.User;
            }

            Assert.Equal(single.TakeMany(taken, order.Value, type), into[..taken]);
            Assert.Equal(single.Lists(), batch.Lists());
        }
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public unsafe void Many_blocks_given_back_at_once_leave_the_lists_that_one_by_one_leaves(int seed)
    {
        using ArenaProbe single = new(32);
        using ArenaProbe batch = new(32);
        Random random = new(seed);
        Order order = new(seed % PageblockLimits.Orders);
        uint[] blocks = single.TakeMany(8192 >> order.Value, order.Value);
        Assert.Equal(blocks, batch.TakeMany(8192 >> order.Value, order.Value));
        switch (seed % 4)
        {
            case 0: random.Shuffle(blocks); break;
            case 1: Array.Reverse(blocks); break;
            case 2: blocks = [.. blocks.Chunk(13).SelectMany(c => random.Next(2) == 0 ? c : c.Reverse())]; break;
        }

        for (int done = 0; done < blocks.Length;)
        {
            uint[] some = blocks[done..Math.Min(blocks.Length, done + random.Next(1, 600))];
            single.Free(some);
            fixed (uint* at = some)
            {
                foreach (uint block in some)
                {
                    batch.Arena.Map[new Pfn(block)]->State = ThreadPages.CachedState;
                }

                batch.Zone.Enter();
                batch.Zone.FreeManyLocked(at, some.Length, order, MigrateType.Unmovable);
                batch.Zone.ExitQuietly();
                batch.Arena.Budget.Release((ulong)some.Length << order.Value);
            }

            Assert.Equal(Sorted(single.Lists()), Sorted(batch.Lists()));
            done += some.Length;
        }
    }

    /// <summary>Leaves free blocks of many orders and types; what is still taken.</summary>
    private static uint[] Stir(ArenaProbe probe, Random random)
    {
        List<uint> live = [];
        for (int i = 0; i < 300; i++)
        {
            uint? block = probe.TryTake(random.Next(7), (MigrateType)random.Next(MigrateTypes.PcpTypes));
            if (block is uint taken)
            {
                live.Add(taken);
            }
        }

        uint[] all = [.. live];
        random.Shuffle(all);
        probe.Free(all[..(all.Length / 2)]);
        return all[(all.Length / 2)..];
    }

    /// <summary>The lists with their blocks in the order of their addresses.</summary>
    private static string Sorted(string lists) => string.Join(' ', lists.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(list =>
    {
        string[] parts = list.Split(':');
        return $"{parts[0]}:{string.Join(',', parts[1].Split(',').Order())}";
    }));

    private static unsafe int Count(int order) => ThreadPages.Last!.Bin(new Order(order), MigrateType.Unmovable)->Count;
}
