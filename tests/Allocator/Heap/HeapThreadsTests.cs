using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Threads;
using Xunit;

namespace LowLevel.Tests.Allocator.Heap;

/// <summary>Several threads: what one frees that another has allocated, what an ended or idle one leaves, and everything at once.</summary>
public sealed class HeapThreadsTests
{
    [Fact]
    public void What_another_thread_frees_is_found_again()
    {
        using HeapProbe probe = new();
        using ThreadActor other = new();
        for (int i = 0; i < 20; i++)
        {
            nint[] blocks = probe.TakeMany(5000, 100);
            other.Do(() => probe.Free(blocks));
        }

        HeapStatistics now = probe.Heap.GetStatistics();
        Assert.Equal(0, now.AllocatedBytes);
        Assert.InRange(now.SlabsBytes, 0, 1 << 20); // 20 rounds of 500 KB: not one of them was stranded
        probe.Verify();
        probe.Heap.Trim();
        Assert.Equal(0, probe.ArenaAllocated);
    }

    [Fact]
    public void An_ended_thread_leaves_nothing_once_another_comes()
    {
        using HeapProbe probe = new();
        nint kept = 0;
        using (ThreadActor first = new())
        {
            first.Do(() =>
            {
                nint[] blocks = probe.TakeMany(300, 40);
                kept = blocks[7];
                probe.Free(blocks.Where(b => b != kept));
            });
        }

        Assert.True(probe.Heap.GetStatistics().SheavesBytes > 0, "the ended thread has left something");
        using ThreadActor second = new();
        second.Do(() => probe.Free(probe.Take(2000)));
        Assert.Equal(1, probe.Heap.Sheaves.Count);
        probe.Free(kept); // this thread: a third
        probe.Heap.Trim();
        Assert.Equal((0, 0), (probe.Heap.GetStatistics().SheavesBytes, probe.ArenaAllocated));
        probe.Verify();
    }

    [Fact]
    public void A_pass_gives_back_what_an_ended_thread_has_left()
    {
        using HeapProbe probe = new();
        using (ThreadActor first = new())
        {
            first.Do(() => probe.Free(probe.TakeMany(300, 40)));
        }

        probe.Arena.OnPass();
        Assert.Equal((0, 0), (probe.Heap.Sheaves.Count, probe.ArenaAllocated));
    }

    [Fact]
    public void Passes_give_back_what_a_thread_has_not_touched_for_a_delay_and_leave_the_rest()
    {
        using HeapProbe probe = new();
        probe.Free(probe.Take(40));
        long idle = probe.Heap.GetStatistics().SheavesBytes;
        Assert.True(idle > 0);
        List<nint> busy = [];
        for (int pass = 0; pass < 5; pass++)
        {
            Assert.Equal(idle, Kept(40));
            busy.Add(probe.Take(1000));
            probe.Arena.OnPass();
        }

        Assert.Equal(0, Kept(40));
        Assert.NotEqual(0, Kept(1000));
        probe.Verify();
        probe.Free(busy);

        unsafe long Kept(int bytes)
        {
            int sizeClass = SizeClasses.For(bytes, 16);
            return (long)probe.Mine().Of(sizeClass)->Count * SizeClasses.Bytes(sizeClass);
        }
    }

    [Fact]
    public void A_heap_in_use_goes_back_to_the_system_by_the_arenas_own_passes()
    {
        using HeapProbe probe = new(64, o => o.Aeration = new AerationOptions { Delay = TimeSpan.FromSeconds(1), Clock = o.Aeration.Clock });
        probe.Free(probe.TakeMany(300, 40));
        for (int pass = 0; pass < 6; pass++)
        {
            probe.Pages.Clock.Advance(TimeSpan.FromSeconds(0.25));
            probe.Arena.Aerator.Pass();
        }

        Assert.Equal((0, 0), (probe.Heap.GetStatistics().SlabsBytes, probe.ArenaAllocated));
    }

    /// <summary>Treatment reads the age of what is in use beside a hole: a slab's bits must not stand there.</summary>
    [Theory]
    [InlineData(HugePages.Advise)]
    [InlineData(HugePages.Never)]
    public void The_holes_beside_a_slab_are_treated(HugePages huge)
    {
        using HeapProbe probe = new(64, o =>
        {
            o.HugePages = huge;
            o.Aeration = new AerationOptions { Delay = TimeSpan.FromSeconds(1), Clock = o.Aeration.Clock };
        });
        nint[] blocks = probe.TakeMany(4000, 16);
        nint[] others = probe.TakeMany(40, 65_536);
        Array.ForEach(others, block => System.Runtime.InteropServices.Marshal.WriteByte(block, 1));
        probe.Free(blocks[1..]);
        probe.Free(others);
        for (int pass = 0; pass < 24; pass++)
        {
            probe.Pages.Clock.Advance(TimeSpan.FromSeconds(0.25));
            probe.Arena.Aerator.Pass();
        }

        ArenaStatistics now = probe.Arena.GetStatistics();
        Assert.Equal((0, 65_536), (now.RawBytes, now.AllocatedBytes));
        probe.Verify();
        probe.Free(blocks[0]);
    }

    [Fact]
    public void A_thread_may_use_several_heaps_in_turn()
    {
        using HeapProbe one = new();
        using HeapProbe two = new();
        List<(HeapProbe Heap, nint Block)> blocks = [];
        for (int i = 0; i < 2000; i++)
        {
            HeapProbe heap = i % 3 == 0 ? one : two;
            blocks.Add((heap, heap.Take(i % 500)));
        }

        blocks.Reverse();
        blocks.ForEach(b => b.Heap.Free(b.Block));
        foreach (HeapProbe heap in new[] { one, two })
        {
            heap.Heap.Trim();
            Assert.Equal(0, heap.ArenaAllocated);
            heap.Verify();
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Many_threads_that_hand_over_end_trim_and_verify_lose_nothing(int seed)
    {
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, new PageArenaOptions
        {
            SizeBytes = 256 << 20,
            HugePages = HugePages.Never,
            Aeration = new AerationOptions { Delay = TimeSpan.FromMilliseconds(4), MinimumOrder = 0 },
        });
        using NativeHeap heap = new(arena);
        Run run = new(arena, heap, seed);
        run.ToTheEnd();
        Assert.Null(run.Failure);
        heap.Verify();
        run.FreeWhatIsLeft();
        heap.Trim();
        arena.Trim();
        heap.Verify();
        arena.Verify();
        Assert.Equal((0, 0), (heap.GetStatistics().SlabsBytes, arena.GetStatistics().AllocatedBytes));
    }

    /// <summary>Blocks carry their size and a mark at both ends; whoever takes one from the mail looks at both.</summary>
    private sealed class Run(PageArena arena, NativeHeap heap, int seed)
    {
        private const int Mutators = 4;
        private const int Steps = 20_000;

        private readonly ConcurrentQueue<(nint Block, int Bytes)> _mail = new();
        private int _working = Mutators;

        public Exception? Failure { get; private set; }

        public void ToTheEnd()
        {
            List<Thread> threads = [.. Enumerable.Range(0, Mutators).Select(i => Guarded(() => Mutate(seed * 10 + i)))];
            threads.Add(Guarded(Disturb));
            threads.ForEach(thread => thread.Start());
            threads.ForEach(thread => thread.Join());
        }

        public void FreeWhatIsLeft()
        {
            while (_mail.TryDequeue(out (nint Block, int Bytes) block))
            {
                Free(block);
            }
        }

        private void Mutate(int own)
        {
            try
            {
                Random random = new(own);
                for (int step = 0; step < Steps && Failure is null; step++)
                {
                    if (step % 4000 == 3999)
                    {
                        Thread shortLived = Guarded(() => Burst(new Random(own + step)));
                        shortLived.Start();
                        shortLived.Join();
                    }

                    if (random.Next(2) == 0 || !_mail.TryDequeue(out (nint Block, int Bytes) block))
                    {
                        _mail.Enqueue(Take(random));
                    }
                    else
                    {
                        Free(block);
                    }
                }
            }
            finally
            {
                Interlocked.Decrement(ref _working);
            }
        }

        private void Burst(Random random)
        {
            List<(nint Block, int Bytes)> mine = [.. Enumerable.Range(0, 200).Select(_ => Take(random))];
            mine.ForEach(Free);
        }

        private void Disturb()
        {
            while (Volatile.Read(ref _working) != 0 && Failure is null)
            {
                heap.Trim();
                heap.Verify();
                arena.Verify();
                _ = heap.GetStatistics();
                Thread.Yield();
            }
        }

        private unsafe (nint Block, int Bytes) Take(Random random)
        {
            int bytes = random.Next(50) == 0 ? random.Next(8, 100_000) : random.Next(8, 1 << random.Next(4, 14));
            byte* block = (byte*)heap.Allocate((nuint)bytes);
            *(int*)block = bytes;
            block[bytes - 1] = unchecked((byte)bytes);
            return ((nint)block, bytes);
        }

        private unsafe void Free((nint Block, int Bytes) block)
        {
            byte* bytes = (byte*)block.Block;
            if (*(int*)bytes != block.Bytes || bytes[block.Bytes - 1] != unchecked((byte)block.Bytes))
            {
                throw new InvalidOperationException($"block of {block.Bytes} bytes was overwritten");
            }

            heap.Free(bytes);
        }

        private Thread Guarded(Action action) => new(() =>
        {
            try
            {
                action();
            }
            catch (Exception e)
            {
                Failure ??= e;
            }
        });
    }
}
