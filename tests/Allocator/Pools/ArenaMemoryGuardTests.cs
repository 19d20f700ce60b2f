using System;
using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics.Tracing;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Pools;

/// <summary>Pools that look out for leaks and double returns. What leaks, leaks in a method of its own, so that no local keeps it.</summary>
public sealed class ArenaMemoryGuardTests : IDisposable
{
    private readonly PageArena arena = PageArena.Create(new PageArenaOptions
    {
        SizeBytes = 64 << 20,
        Zones = 1,
        Aeration = new AerationOptions { Enabled = false },
    });

    private readonly ConcurrentQueue<ArenaMemoryLeak> leaks = new();
    private readonly ConcurrentQueue<ArenaMemoryDoubleReturn> doubles = new();

    public void Dispose()
    {
        arena.Verify();
        arena.Dispose();
    }

    [Fact]
    public void A_buffer_that_nobody_can_return_is_told_with_the_method_that_rented_it_and_stays_allocated()
    {
        using ArenaMemoryPool pool = Leaky();
        RentAndForget(pool, 5000);
        Collect();
        ArenaMemoryLeak leak = Assert.Single(leaks);
        Assert.Equal((8192, false), (leak.Bytes, leak.Freed));
        Assert.Contains(nameof(RentAndForget), leak.RentedAt.Split('\n')[0], StringComparison.Ordinal);
        Assert.Equal(8192, arena.GetStatistics().AllocatedBytes);
        Collect();
        Assert.Single(leaks);
    }

    [Fact]
    public void It_is_freed_where_that_was_asked_for()
    {
        using ArenaMemoryPool pool = new(arena, new ArenaMemoryPoolOptions { DetectLeaks = true, FreeLeaks = true, OnLeak = leaks.Enqueue });
        for (int i = 0; i < 8; i++)
        {
            RentAndForget(pool, 5 << 20);
            RentAndForget(pool, 1);
        }

        Collect();
        Assert.Equal(16, leaks.Count);
        Assert.All(leaks, leak => Assert.True(leak.Freed));
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void Without_a_callback_it_is_an_event_at_level_warning_of_keyword_allocation()
    {
        using var listener = new Listener();
        using ArenaMemoryPool pool = new(arena, new ArenaMemoryPoolOptions { DetectLeaks = true, DetectDoubleReturns = true });
        RentAndForget(pool, 123_000);
        Collect();
        ReturnFirst(pool.Rent(250_000)).Dispose();
        Assert.Contains(listener.Heard, e => e.Name == "MemoryLeaked" && e.Bytes == 131_072 && e.Text.Contains(nameof(RentAndForget), StringComparison.Ordinal));
        Assert.Contains(listener.Heard, e => e.Name == "ReturnedTwice" && e.Bytes == 262_144 && e.Text.Contains(nameof(ReturnFirst), StringComparison.Ordinal));
    }

    [Fact]
    public void What_is_returned_or_still_held_is_no_leak()
    {
        using ArenaMemoryPool pool = Leaky();
        IMemoryOwner<byte> held = pool.Rent();
        Memory<byte> memory = MemoryOf(pool);
        RentAndReturn(pool);
        MemoryHandle handle = RentPinAndReturn(pool);
        Collect();
        Assert.Empty(leaks);
        held.Memory.Span.Fill(1);
        memory.Span.Fill(2);
        handle.Dispose();
        held.Dispose();
        Collect();
        Assert.Equal(4096, arena.GetStatistics().AllocatedBytes); // the memory whose owner nobody has is still in use
        Assert.Equal(2, memory.Span[4095]);
    }

    [Fact]
    public void A_pin_that_is_forgotten_is_a_leak_although_the_buffer_was_returned()
    {
        using ArenaMemoryPool pool = Leaky();
        ForgetPin(pool);
        Collect();
        Assert.Contains(nameof(RentPinAndReturn), Assert.Single(leaks).RentedAt, StringComparison.Ordinal);
    }

    [Fact]
    public void A_leak_is_told_after_the_pool_and_the_arena_were_disposed_and_its_block_ends_the_arena()
    {
        PageArena own = PageArena.Create(new PageArenaOptions { SizeBytes = 8 << 20, Zones = 1, Aeration = new AerationOptions { Enabled = false } });
        RentAndForget(own);
        own.Dispose();
        Assert.False(own.IsUnmapped);
        Collect();
        Assert.Single(leaks);
        Assert.True(own.IsUnmapped);

        [MethodImpl(MethodImplOptions.NoInlining)]
        void RentAndForget(PageArena from)
        {
            using ArenaMemoryPool pool = new(from, new ArenaMemoryPoolOptions { DetectLeaks = true, FreeLeaks = true, OnLeak = leaks.Enqueue });
            pool.Rent().Memory.Span[0] = 1;
        }
    }

    [Fact]
    public void A_second_return_is_told_with_both_stacks_and_changes_nothing()
    {
        using ArenaMemoryPool pool = Doubling(doubles.Enqueue);
        IMemoryOwner<byte> owner = RentHere(pool);
        ReturnFirst(owner);
        IMemoryOwner<byte> next = pool.Rent();
        ReturnSecond(owner);
        ReturnSecond(owner);
        Assert.Equal(2, doubles.Count);
        Assert.All(doubles, twice =>
        {
            Assert.Equal(4096, twice.Bytes);
            Assert.Contains(nameof(RentHere), twice.RentedAt.Split('\n')[0], StringComparison.Ordinal);
            Assert.Contains(nameof(ReturnFirst), twice.FirstReturnAt, StringComparison.Ordinal);
            Assert.DoesNotContain(nameof(ReturnSecond), twice.FirstReturnAt, StringComparison.Ordinal);
            Assert.Contains(nameof(ReturnSecond), twice.SecondReturnAt, StringComparison.Ordinal);
        });
        next.Memory.Span.Fill(1);
        next.Dispose();
        Assert.Equal((0, 2), (arena.GetStatistics().AllocatedBytes, doubles.Count));
    }

    [Fact]
    public void A_callback_that_throws_makes_the_second_return_throw()
    {
        using ArenaMemoryPool pool = Doubling(twice => throw new InvalidOperationException(twice.FirstReturnAt));
        IMemoryOwner<byte> owner = pool.Rent();
        ReturnFirst(owner);
        Assert.Contains(nameof(ReturnFirst), Assert.Throws<InvalidOperationException>(owner.Dispose).Message, StringComparison.Ordinal);
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void Of_many_threads_that_return_at_once_all_but_one_are_told()
    {
        using ArenaMemoryPool pool = Doubling(doubles.Enqueue);
        for (int round = 1; round <= 50; round++)
        {
            IMemoryOwner<byte> owner = pool.Rent(70_000);
            Together.Run(3, _ => owner.Dispose());
            Assert.Equal(2 * round, doubles.Count);
            Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        }
    }

    [Fact]
    public void An_owner_never_serves_again_so_that_use_after_return_is_told_for_ever()
    {
        using ArenaMemoryPool pool = Leaky();
        IMemoryOwner<byte> owner = pool.Rent();
        Memory<byte> memory = owner.Memory;
        owner.Dispose();
        for (int i = 0; i < 4 * ArenaMemoryPool.RestingMin; i++)
        {
            IMemoryOwner<byte> other = pool.Rent();
            Assert.NotSame(owner, other);
            other.Dispose();
        }

        Assert.Throws<ObjectDisposedException>(() => memory.Span.Length);
        owner.Dispose(); // told only where double returns are looked for
        Assert.Empty(doubles);
    }

    [Fact]
    public void Where_only_double_returns_are_looked_for_no_leak_is_told()
    {
        using ArenaMemoryPool pool = Doubling(doubles.Enqueue);
        RentAndForget(pool, 1);
        Collect();
        Assert.Equal(4096, arena.GetStatistics().AllocatedBytes);
        Assert.Empty(leaks);
    }

    [Fact]
    public void Options_that_can_have_no_effect_are_refused_by_name()
    {
        (ArenaMemoryPoolOptions Options, string Name)[] cases =
        [
            (new() { OnLeak = leaks.Enqueue }, nameof(ArenaMemoryPoolOptions.OnLeak)),
            (new() { FreeLeaks = true, DetectDoubleReturns = true }, nameof(ArenaMemoryPoolOptions.FreeLeaks)),
            (new() { DetectLeaks = true, OnDoubleReturn = doubles.Enqueue }, nameof(ArenaMemoryPoolOptions.OnDoubleReturn)),
        ];
        Assert.All(cases, c =>
        {
            var error = Assert.Throws<ArgumentException>(c.Name, () => new ArenaMemoryPool(arena, c.Options));
            Assert.Contains(c.Name == "OnDoubleReturn" ? "Set DetectDoubleReturns" : "Set DetectLeaks", error.Message, StringComparison.Ordinal);
        });
    }

    [Fact]
    public void Options_that_ask_for_nothing_cost_nothing_and_are_read_once()
    {
        var options = new ArenaMemoryPoolOptions();
        using ArenaMemoryPool pool = new(arena, options);
        options.DetectDoubleReturns = true;
        options.OnDoubleReturn = doubles.Enqueue;
        var seen = new HashSet<IMemoryOwner<byte>>(ReferenceEqualityComparer.Instance);
        for (int i = 0; i < 3 * ArenaMemoryPool.RestingMin; i++)
        {
            IMemoryOwner<byte> owner = pool.Rent();
            owner.Dispose();
            owner.Dispose();
            seen.Add(owner);
        }

        Assert.Equal(ArenaMemoryPool.RestingMin + 1, seen.Count);
        Assert.Empty(doubles);
    }

    /// <summary>CA2015, on what was built.</summary>
    [Fact]
    public void No_memory_manager_has_a_finalizer()
    {
        Type[] managers = [.. typeof(PageArena).Assembly.GetTypes().Where(t => IsManager(t.BaseType))];
        Assert.Contains(typeof(ArenaMemoryOwner), managers);
        Assert.All(managers, t => Assert.Null(t.GetMethod("Finalize", BindingFlags.Instance | BindingFlags.NonPublic | BindingFlags.DeclaredOnly)));

        static bool IsManager(Type? type) =>
            type is not null && ((type.IsGenericType && type.GetGenericTypeDefinition() == typeof(MemoryManager<>)) || IsManager(type.BaseType));
    }

    private static void Collect()
    {
        for (int i = 0; i < 2; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void RentAndForget(ArenaMemoryPool pool, int bytes) => pool.Rent(bytes).Memory.Span[0] = 1;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void RentAndReturn(ArenaMemoryPool pool) => pool.Rent().Dispose();

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Memory<byte> MemoryOf(ArenaMemoryPool pool) => pool.Rent().Memory;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static MemoryHandle RentPinAndReturn(ArenaMemoryPool pool)
    {
        IMemoryOwner<byte> owner = pool.Rent();
        MemoryHandle handle = owner.Memory.Pin();
        owner.Dispose();
        return handle;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe void ForgetPin(ArenaMemoryPool pool) => Assert.True(RentPinAndReturn(pool).Pointer != null);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static IMemoryOwner<byte> RentHere(ArenaMemoryPool pool)
    {
        IMemoryOwner<byte> owner = pool.Rent();
        owner.Memory.Span[0] = 1;
        return owner;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static IMemoryOwner<byte> ReturnFirst(IMemoryOwner<byte> owner)
    {
        owner.Dispose();
        return owner;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void ReturnSecond(IMemoryOwner<byte> owner)
    {
        owner.Dispose();
        GC.KeepAlive(owner);
    }

    private ArenaMemoryPool Leaky() => new(arena, new ArenaMemoryPoolOptions { DetectLeaks = true, OnLeak = leaks.Enqueue });

    private ArenaMemoryPool Doubling(Action<ArenaMemoryDoubleReturn> told) =>
        new(arena, new ArenaMemoryPoolOptions { DetectDoubleReturns = true, OnDoubleReturn = told });

    private sealed class Listener : EventListener
    {
        private readonly ConcurrentQueue<(string Name, long Bytes, string Text)> heard = new();

        public Listener() => EnableEvents(ArenaEvents.Log, EventLevel.Warning, ArenaEvents.Keywords.Allocation);

        public IEnumerable<(string Name, long Bytes, string Text)> Heard => heard;

        protected override void OnEventWritten(EventWrittenEventArgs eventData)
        {
            if (eventData.EventSource.Name == ArenaEvents.SourceName && eventData.Payload is [long bytes, string text])
            {
                heard.Enqueue((eventData.EventName!, bytes, text));
            }
        }
    }
}
