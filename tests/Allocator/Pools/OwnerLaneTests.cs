using System;
using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Pools;

/// <summary>Threads that rent and return for each other: against a model, a word for each page that says who has it.</summary>
public sealed class OwnerLaneTests : IDisposable
{
    private const int Mebibytes = 128;

    private readonly PageArena arena = PageArena.Create(new PageArenaOptions
    {
        SizeBytes = Mebibytes << 20,
        Zones = 1,
        Aeration = new AerationOptions { Delay = TimeSpan.Zero },
    });

    private readonly ArenaMemoryPool pool;
    private readonly int[] holders = new int[Mebibytes << 8];

    public OwnerLaneTests() => pool = new ArenaMemoryPool(arena);

    public void Dispose()
    {
        pool.Dispose();
        arena.Verify();
        arena.Dispose();
    }

    [Fact]
    public void Of_a_lane_comes_what_was_laid_there_first_and_only_after_it_has_rested()
    {
        var lane = new OwnerLane(restingMin: 3);
        ArenaMemoryOwner[] owners = [.. Enumerable.Range(0, 5).Select(_ => new ArenaMemoryOwner(arena, lane))];
        Assert.Null(lane.TakeRested());
        for (int i = 0; i < 4; i++)
        {
            Assert.Null(lane.TakeRested());
            lane.Rest(owners[i]);
        }

        Assert.Same(owners[0], lane.TakeRested());
        Assert.Null(lane.TakeRested());
        lane.Rest(owners[4]);
        Assert.Same(owners[1], lane.TakeRested());
        lane.Rest(owners[0]);
        lane.Rest(owners[1]);
        Assert.Equal([owners[2], owners[3]], new[] { lane.TakeRested(), lane.TakeRested() });
        Assert.Null(lane.TakeRested());
    }

    /// <summary>Returned by another thread, an owner goes back to the lane that it came from, not to the one of who returns it.</summary>
    [Fact]
    public void A_thread_whose_buffers_others_return_needs_no_more_owners_than_it_has_out()
    {
        const int Out = 16;
        var seen = new HashSet<IMemoryOwner<byte>>(ReferenceEqualityComparer.Instance);
        using var handed = new BlockingCollection<IMemoryOwner<byte>>(Out - 2);
        Together.Run(2, thread =>
        {
            if (thread == 1)
            {
                foreach (IMemoryOwner<byte> owner in handed.GetConsumingEnumerable())
                {
                    owner.Dispose();
                }

                return;
            }

            for (int i = 0; i < 20_000; i++)
            {
                IMemoryOwner<byte> owner = pool.Rent();
                seen.Add(owner);
                handed.Add(owner);
            }

            handed.CompleteAdding();
        });
        Assert.InRange(seen.Count, ArenaMemoryPool.RestingMin + 1, ArenaMemoryPool.RestingMin + Out);
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void Whatever_threads_do_for_each_other_no_page_has_two_holders_and_all_come_back()
    {
        var shared = new ConcurrentQueue<(IMemoryOwner<byte> Owner, int Id)>();
        Together.Run(4, thread =>
        {
            var random = new Random(thread);
            for (int i = 1; i <= 8000; i++)
            {
                int id = (thread * 100_000) + i;
                IMemoryOwner<byte> owner = pool.Rent(Size(random));
                Mark(owner, 0, id);
                shared.Enqueue((owner, id));
                if ((shared.Count > 64 || random.Next(3) != 0) && shared.TryDequeue(out (IMemoryOwner<byte> Owner, int Id) other))
                {
                    Return(random, other.Owner, other.Id);
                }
            }
        });
        var rest = new Random(99);
        while (shared.TryDequeue(out (IMemoryOwner<byte> Owner, int Id) other))
        {
            Return(rest, other.Owner, other.Id);
        }

        Assert.All(holders, holder => Assert.Equal(0, holder));
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        arena.Trim();
        Assert.Equal(0, arena.GetStatistics().ThreadPagesBytes);
    }

    /// <summary>Mostly small, now and then above the largest block.</summary>
    private static int Size(Random random) => random.Next(200) == 0 ? (4 << 20) + random.Next(100_000) : 1 << random.Next(17);

    private void Return(Random random, IMemoryOwner<byte> owner, int id)
    {
        MemoryHandle? pin = random.Next(4) == 0 ? owner.Memory.Pin() : null;
        if (pin is null)
        {
            Mark(owner, id, 0);
        }
        else
        {
            // Returned while pinned: the pages stay its holder's until the pin ends.
            int length = owner.Memory.Length;
            owner.Dispose();
            unsafe
            {
                Mark((nint)pin.Value.Pointer, length, id, 0);
            }

            pin.Value.Dispose();
            return;
        }

        // Once: a thread that is held up here for long enough would find its owner in other hands, 64 others having come back meanwhile.
        owner.Dispose();
    }

    private unsafe void Mark(IMemoryOwner<byte> owner, int from, int to)
    {
        fixed (byte* first = owner.Memory.Span)
        {
            Mark((nint)first, owner.Memory.Length, from, to);
        }
    }

    private unsafe void Mark(nint first, int length, int from, int to)
    {
        int page = (int)((first - (nint)arena.BaseAddress) >> 12);
        for (int i = 0; i < length >> 12; i++)
        {
            Assert.Equal(from, Interlocked.CompareExchange(ref holders[page + i], to, from));
        }
    }
}
