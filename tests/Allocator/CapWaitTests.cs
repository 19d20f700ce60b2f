using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Aeration;
using LowLevel.Tests.Allocator.Threads;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>CapPolicy.Wait: who waits, for how long, in which order, and what ends it.</summary>
public sealed class CapWaitTests
{
    private static readonly TimeSpan s_timeout = TimeSpan.FromSeconds(7);

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_waiting_thread_gets_what_another_thread_frees(bool threadPages)
    {
        using ArenaProbe probe = Waiting(8, o => o.ThreadPages = threadPages);
        uint[] all = probe.TakeMany(2, 10);
        Waiter waiter = new(probe, () => probe.Take(10));
        waiter.UntilItSleeps(1);
        probe.Free(all[1]); // would stay in this thread's pages, did nobody wait
        Assert.Equal(all[1], waiter.Result());
        Assert.False(probe.Arena.Budget.HasWaiters);
        probe.Free(all[0], all[1]);
        probe.Arena.Verify();
    }

    [Fact]
    public void Time_is_up_at_the_timeout_and_not_a_tick_earlier_and_the_message_names_cap_taken_and_waited()
    {
        using ArenaProbe probe = Waiting(8);
        probe.TakeMany(2, 10);
        Waiter waiter = new(probe, () => probe.Take(0));
        waiter.UntilItSleeps(1);
        probe.Clock.Advance(s_timeout - TimeSpan.FromTicks(1));
        Assert.True(probe.Arena.Budget.HasWaiters);
        probe.Clock.Advance(TimeSpan.FromTicks(1));
        string message = Assert.IsType<OutOfMemoryException>(waiter.Failure()).Message;
        Assert.Contains("waited 7000 ms at the cap; cap 8388608, allocated 8388608, taken 8388608, ", message, StringComparison.Ordinal);
        Assert.False(probe.Arena.Budget.HasWaiters);
    }

    [Fact]
    public void First_come_is_first_served_although_the_second_wants_less()
    {
        using ArenaProbe probe = Waiting(8);
        uint[] all = probe.TakeMany(2048, 0);
        Waiter first = new(probe, () => probe.Take(10));
        first.UntilItSleeps(1);
        Waiter second = new(probe, () => probe.Take(0));
        second.UntilItSleeps(2);
        probe.Free(all[1500]);
        Assert.Equal(2, probe.Clock.Armings); // nobody was woken: there is not enough for the first
        probe.Free(all.Where(page => page < 1024));
        Assert.Equal(0u, first.Result());
        Assert.Equal(all[1500], second.Result());
        probe.Arena.Verify();
    }

    [Fact]
    public void When_the_first_gives_up_the_second_has_its_turn()
    {
        using ArenaProbe probe = Waiting(8);
        uint[] all = probe.TakeMany(2048, 0);
        Waiter first = new(probe, () => probe.Take(10));
        first.UntilItSleeps(1);
        probe.Clock.Advance(s_timeout / 2);
        Waiter second = new(probe, () => probe.Take(1));
        second.UntilItSleeps(2);
        probe.Free(all[6], all[7]);
        probe.Clock.Advance(s_timeout / 2);
        Assert.IsType<OutOfMemoryException>(first.Failure());
        Assert.Equal(all[6], second.Result());
    }

    [Fact]
    public void A_range_waits_too_and_a_try_ends_in_false()
    {
        using ArenaProbe probe = Waiting(16);
        uint[] all = probe.TakeMany(4, 10);
        Waiter waiter = new(probe, () => probe.TakeRange(1500));
        waiter.UntilItSleeps(1);
        probe.Free(all);
        Assert.Equal(0u, waiter.Result() % 512);
        probe.TakeMany(2, 10);
        Waiter trying = new(probe, () => probe.TryTake(10) ?? uint.MaxValue);
        trying.UntilItSleeps(2);
        probe.Clock.Advance(s_timeout);
        Assert.Equal(uint.MaxValue, trying.Result());
    }

    [Fact]
    public void Atomic_requests_and_what_the_cap_never_allows_of_fail_at_once()
    {
        using ArenaProbe probe = Waiting(8, o => o.CapBytes = 5 << 20);
        uint block = probe.Take(10);
        Assert.Null(probe.TryTake(9, MigrateType.Unmovable, AllocationFlags.Atomic));
        Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(1281)); // 5 MiB + 4 KiB
        Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(1ul << 40));
        Assert.Equal(0, probe.Clock.Armings);
        probe.Free(block);
    }

    [Fact]
    public void Whoever_works_the_reactor_fails_at_once_because_others_may_wait_for_it()
    {
        using TestPlant plant = new(o => (o.CapPolicy, o.CapTimeout) = (CapPolicy.Wait, s_timeout));
        List<nint> all = [.. plant.Allocate(10, 32)];
        plant.Free(all[0]);
        nint last = plant.Allocate(9);
        int armings = plant.Clock.Armings;
        Exception? inside = null;
        plant.Balloon.OnReact = () => inside ??= Record.Exception(() => { plant.Allocate(10); });
        plant.PassUntilRested();
        Assert.IsType<OutOfMemoryException>(inside);
        Assert.Equal(armings, plant.Clock.Armings);
        plant.Free(last);
    }

    [Fact]
    public void Dispose_wakes_who_waits_and_the_last_free_still_unmaps()
    {
        using ArenaProbe probe = Waiting(8);
        uint[] all = probe.TakeMany(2, 10);
        Waiter first = new(probe, () => probe.Take(10));
        first.UntilItSleeps(1);
        Waiter second = new(probe, () => probe.TakeRange(1200));
        second.UntilItSleeps(2);
        probe.Dispose();
        Assert.IsType<ObjectDisposedException>(first.Failure());
        Assert.IsType<ObjectDisposedException>(second.Failure());
        Assert.False(probe.Arena.IsUnmapped);
        probe.Free(all);
        Assert.True(probe.Arena.IsUnmapped);
    }

    [Fact]
    public void Threads_keep_nothing_while_somebody_waits_and_keep_it_again_afterwards()
    {
        using ArenaProbe probe = Waiting(8, o => o.ThreadPages = true);
        using ThreadActor old = new();
        uint[] all = old.Get(() => probe.TakeMany(2, 10));
        uint[] blocks = old.Get(() => { probe.Free(all[0]); return probe.TakeMany(1024, 0); });
        Waiter waiter = new(probe, () => probe.Take(10));
        waiter.UntilItSleeps(1);
        using ThreadActor young = new(); // comes while others wait
        old.Do(() => probe.Free(blocks[..600]));
        young.Do(() => probe.Free(blocks[600..1000]));
        Assert.Equal(0, probe.Arena.GetStatistics().ThreadPagesBytes);
        probe.Arena.Verify(); // freezes and thaws: not while somebody waits
        young.Do(() => probe.Free(blocks[1000..1023]));
        Assert.Equal(0, probe.Arena.GetStatistics().ThreadPagesBytes);
        young.Do(() => probe.Free(blocks[1023]));
        uint got = waiter.Result();
        young.Do(() => probe.Free(got));
        Assert.Equal(4L << 20, probe.Arena.GetStatistics().ThreadPagesBytes);
    }

    [Fact]
    public void A_limit_that_rises_lets_the_first_in()
    {
        using ArenaProbe probe = Waiting(16);
        probe.Arena.Budget.SetLimit(1024);
        probe.TakeMany(1, 10);
        Waiter waiter = new(probe, () => probe.Take(10));
        waiter.UntilItSleeps(1);
        probe.Arena.Budget.SetLimit(2047);
        Assert.Equal(1, probe.Clock.Armings);
        probe.Arena.Budget.SetLimit(2048);
        Assert.Equal(1024u, waiter.Result());
    }

    [Fact]
    public void Many_threads_that_want_more_than_the_cap_together_all_get_through()
    {
        PageArenaOptions options = new()
        {
            SizeBytes = 32 << 20,
            CapBytes = 8 << 20,
            MinFreeBytes = 0,
            Zones = 2,
            DebugChecks = true,
            CapPolicy = CapPolicy.Wait,
            CapTimeout = s_patience,
            Aeration = new AerationOptions { Delay = TimeSpan.FromMilliseconds(4) },
        };
        using PageArena arena = PageArena.Create(options);
        Exception? failure = null;
        Thread[] threads =
        [
            .. Enumerable.Range(1, 6).Select(seed => new Thread(() => failure ??= Record.Exception(() => Work(arena, seed)))),
        ];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => Assert.True(thread.Join(s_patience), "a thread waits for ever"));
        Assert.Null(failure);
        arena.Verify();
        arena.Trim();
        Assert.Equal((0ul, false), (arena.Budget.TakenPages, arena.Budget.HasWaiters));
    }

    private static unsafe void Work(PageArena arena, int seed)
    {
        Random random = new(seed);
        for (int i = 0; i < 200; i++)
        {
            // One block at a time each, so that there is always somebody who does not wait: they cannot wait for each other.
            int order = random.Next(4) == 0 ? 10 : random.Next(10);
            byte* block = (byte*)(random.Next(8) == 0 ? arena.AllocateRange((nuint)random.Next(1, 5 << 20)) : arena.AllocatePages(order));
            *block = (byte)seed;
            Thread.Yield();
            Assert.Equal(seed, *block);
            arena.FreePages(block);
        }
    }

    private static ArenaProbe Waiting(int mebibytes, Action<PageArenaOptions>? change = null) => new(mebibytes, o =>
    {
        (o.CapPolicy, o.CapTimeout) = (CapPolicy.Wait, s_timeout);
        change?.Invoke(o);
    });

    /// <summary>A thread that allocates and will have to wait.</summary>
    private sealed class Waiter
    {
        private readonly ArenaProbe _probe;
        private readonly Thread _thread;
        private Exception? _failure;
        private uint _result;

        public Waiter(ArenaProbe probe, Func<uint> allocate)
        {
            _probe = probe;
            _thread = new Thread(() => _failure = Record.Exception(() => { _result = allocate(); })) { IsBackground = true };
            _thread.Start();
        }

        /// <summary>Its timer is the nth that was set: it is inside the monitor, or about to be.</summary>
        public void UntilItSleeps(int armings) => Assert.True(SpinWait.SpinUntil(() => _probe.Clock.Armings >= armings, s_patience));

        public uint Result()
        {
            Assert.True(_thread.Join(s_patience), "it waits for ever");
            Assert.Null(_failure);
            return _result;
        }

        public Exception? Failure()
        {
            Assert.True(_thread.Join(s_patience), "it waits for ever");
            return _failure;
        }
    }
}
