using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>Eight threads at once: five that allocate, write, hand over and free; one that isolates; one that trims and asks for
/// statistics; one that verifies while all this goes on. Bounded by operations, not by time.</summary>
public sealed class ArenaThreadsTests
{
    private const int Mutators = 5;
    private const int Steps = 1000;

    public static TheoryData<AerationContext, bool, bool, int> Runs => new()
    {
        { AerationContext.Worker, true, false, 9 },
        { AerationContext.Worker, false, true, 2 },
        { AerationContext.FreeingThread, true, true, 4 },
        { AerationContext.FreeingThread, false, false, 0 },
    };

    [Theory]
    [MemberData(nameof(Runs))]
    public void Eight_threads_with_treatment_isolation_shuffle_and_zones_lose_nothing(AerationContext context, bool threadPages, bool checks, int least)
    {
        DroppingBalloon? balloon = null;
        using PageArena arena = PageArena.CreateOn(
            LinuxSystem.Instance,
            Options(context, threadPages, checks, least),
            new TreatmentSeams((a, o) => balloon = new DroppingBalloon(a, o.Aeration.ReactorCapacity) { IsFaulty = true, InFlightMax = 3 }, HasWorker: true));
        Run run = new(arena);
        run.ToTheEnd();
        Assert.Null(run.Failure);
        Assert.Null(balloon!.Violation);

        arena.Verify();
        Assert.Equal(run.HeldPages << 12, arena.GetStatistics().AllocatedBytes);
        run.FreeWhatIsLeft();
        balloon.IsFaulty = false;
        arena.Trim();
        arena.Trim(); // the first may have had to wait for the quarantine
        arena.Verify();
        ArenaStatistics end = arena.GetStatistics();
        Assert.Equal((0, 0, 0, 0, 0), (end.AllocatedBytes, end.ThreadPagesBytes, end.InReactorBytes, end.QuarantinedBytes, end.IsolatedBytes));
        Assert.Equal(end.ReservedBytes, end.UnreachedBytes + end.RawBytes + end.TreatedBytes);
        Assert.Equal(0ul, arena.Budget.TakenPages);
        Assert.All(end.Free, free => Assert.Equal(PageblockLimits.MaxOrder, free.Order));
        Assert.True(end.Cycles > 10 && end.LostBatches > 0, $"{end.Cycles} cycles, {end.LostBatches} lost: treatment was not in play");
        Assert.True(run.Met > Mutators * Steps / 4, $"{run.Met} allocations: too few");
    }

    [Theory]
    [InlineData(AerationContext.Worker, true, false, 9)]
    [InlineData(AerationContext.FreeingThread, true, true, 3)]
    public void The_same_with_the_balloon_and_the_host_of_this_process(AerationContext context, bool threadPages, bool checks, int least)
    {
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, Options(context, threadPages, checks, least));
        Run run = new(arena);
        run.ToTheEnd();
        Assert.Null(run.Failure);
        arena.Verify();
        Assert.Equal(run.HeldPages << 12, arena.GetStatistics().AllocatedBytes);
        run.FreeWhatIsLeft();
        arena.Trim();
        arena.Verify();
        ArenaStatistics end = arena.GetStatistics();
        Assert.Equal((0, 0, 0, 0), (end.AllocatedBytes, end.ThreadPagesBytes, end.InReactorBytes, end.IsolatedBytes));
        Assert.Equal(end.ReservedBytes, end.UnreachedBytes + end.RawBytes + end.TreatedBytes + end.QuarantinedBytes);
        Assert.Equal(0ul, arena.Budget.TakenPages);
        Assert.True(end.Cycles > 10, $"{end.Cycles} cycles: treatment was not in play");
    }

    private static PageArenaOptions Options(AerationContext context, bool threadPages, bool checks, int least) => new()
    {
        SizeBytes = 64 << 20,
        CapBytes = 64 << 20,
        Zones = 3,
        ShuffleSeed = 5,
        ThreadPages = threadPages,
        DebugChecks = checks,
        HugePages = HugePages.Never,
        Aeration = new AerationOptions { Context = context, MinimumOrder = least, ReactorCapacity = 2, Delay = TimeSpan.Zero },
    };

    /// <summary>One run: what is live in the threads' hands lies in mailboxes from which any of them frees.</summary>
    private sealed class Run(PageArena arena)
    {
        private readonly ConcurrentQueue<Block> _mail = new();
        private readonly Block?[] _owner = new Block?[(int)(arena.SizeBytes >> PageblockLimits.PageShift)];
        private readonly List<uint> _isolated = [];
        private long _met;
        private long _held;
        private long _marks;
        private int _working = Mutators;

        public Exception? Failure { get; private set; }

        public long Met => Volatile.Read(ref _met);

        public long HeldPages => Volatile.Read(ref _held);

        public void ToTheEnd()
        {
            List<Thread> threads = [.. Enumerable.Range(0, Mutators).Select(seed => Guarded(() => Mutate(seed)))];
            threads.Add(Guarded(Isolate));
            threads.Add(Guarded(TrimAndLook));
            threads.Add(Guarded(VerifyMeanwhile));
            threads.ForEach(thread => thread.Start());
            threads.ForEach(thread => thread.Join());
        }

        public void FreeWhatIsLeft()
        {
            while (_mail.TryDequeue(out Block? block))
            {
                Free(block);
            }

            Assert.All(_isolated, block => Assert.True(arena.UnisolatePageblock(block, MigrateType.Movable)));
        }

        private void Mutate(int seed)
        {
            try
            {
                Random random = new(seed);
                for (int step = 0; step < Steps && Failure is null; step++)
                {
                    if (step % 500 == 499)
                    {
                        // A thread that fills its pages and ends.
                        Thread shortLived = Guarded(() => Burst(new Random(seed + step)));
                        shortLived.Start();
                        shortLived.Join();
                    }

                    One(random);
                }
            }
            finally
            {
                Interlocked.Decrement(ref _working);
            }
        }

        private void Burst(Random random)
        {
            for (int i = 0; i < 200; i++)
            {
                One(random);
            }
        }

        private unsafe void One(Random random)
        {
            // Few when much is held, so that the arena is full at times and never for ever.
            if (random.Next(100) < 55 && Volatile.Read(ref _held) < 12_000)
            {
                int order = ArenaSetup.OrderOf(random.Next(64));
                AllocationFlags flags = ArenaSetup.FlagsOf(random.Next(64)) & ~AllocationFlags.Populate;
                if (random.Next(60) == 0)
                {
                    Range((uint)random.Next(1, 2500), flags);
                }
                else if (arena.TryAllocatePages(order, out void* block, (MigrateType)random.Next(3), flags))
                {
                    Admit(block, 1u << order, flags);
                }
            }
            else if (_mail.TryDequeue(out Block? block))
            {
                Free(block);
            }
        }

        private unsafe void Range(uint pages, AllocationFlags flags)
        {
            try
            {
                Admit(arena.AllocateRange((nuint)pages << PageblockLimits.PageShift, flags), pages, flags);
            }
            catch (OutOfMemoryException)
            {
                // The others have it just now.
            }
        }

        private unsafe void Admit(void* address, uint pages, AllocationFlags flags)
        {
            Pfn start = Pfn.FromByteOffset((nuint)((byte*)address - arena.BaseAddress));
            Block block = new(start, pages, (ulong)Interlocked.Increment(ref _marks));
            for (uint page = start.Value; page < start.Value + pages; page++)
            {
                Block? before = Interlocked.Exchange(ref _owner[page], block);
                Assert.True(before is null, $"page {page} was given out twice: {before} and {block}");
            }

            if ((flags & AllocationFlags.Zeroed) != 0)
            {
                Assert.True(new ReadOnlySpan<byte>(address, (int)pages << PageblockLimits.PageShift).IndexOfAnyExcept((byte)0) < 0, $"{block} does not read zero");
            }

            block.Write(arena);
            Interlocked.Add(ref _held, pages);
            Interlocked.Increment(ref _met);
            _mail.Enqueue(block);
        }

        private unsafe void Free(Block block)
        {
            block.Check(arena);
            for (uint page = block.Start.Value; page < block.Start.Value + block.Pages; page++)
            {
                Assert.Same(block, Interlocked.Exchange(ref _owner[page], null));
            }

            Interlocked.Add(ref _held, -block.Pages);
            arena.FreePages(block.Address(arena));
        }

        private void Isolate()
        {
            Random random = new(77);
            while (IsGoingOn)
            {
                uint block = (uint)random.Next(32);
                if (_isolated.Count < 3 && !_isolated.Contains(block))
                {
                    if (arena.IsolatePageblock(block))
                    {
                        _isolated.Add(block);
                    }
                }
                else
                {
                    Assert.True(arena.UnisolatePageblock(_isolated[0], (MigrateType)random.Next(3)));
                    _isolated.RemoveAt(0);
                }
            }
        }

        private void TrimAndLook()
        {
            while (IsGoingOn)
            {
                arena.Trim();
                ArenaStatistics now = arena.GetStatistics();
                Assert.InRange(now.AllocatedBytes, 0, now.CapBytes);
                Assert.InRange(now.RawBytes + now.TreatedBytes + now.InReactorBytes, 0, now.ReservedBytes);
            }
        }

        private void VerifyMeanwhile()
        {
            while (IsGoingOn)
            {
                arena.Verify();
            }
        }

        private bool IsGoingOn => Volatile.Read(ref _working) != 0 && Failure is null;

        private Thread Guarded(Action work) => new(() =>
        {
            try
            {
                work();
            }
            catch (Exception e)
            {
                Failure ??= e;
            }
        });
    }
}
