using System;
using System.Collections.Concurrent;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The loops of <c>perf peers</c> do what their rows say, with a contestant that keeps count.</summary>
public sealed class PeerLoadTests
{
    public static TheoryData<string, int, int, int, int> Runs => new()
    {
        // pattern, bytes, threads, pairs of each thread, allocations of all threads
        { "lifo", 4096, 1, 100, 100 },
        { "lifo", 2 << 20, 2, 100, 200 },
        { "bulk", 4 << 20, 1, 256, 128 + 256 },
        { "bulk", 4 << 20, 2, 128, 256 + 256 },
        { "rand", 2 << 20, 1, 50, 256 + 50 },
        { "rand", 4 << 20, 2, 1500, 256 + 3000 },
        { "prodcons", 4096, 2, 3000, 3000 },
        { "prodcons", 4 << 20, 2, 100, 100 },
    };

    [Theory]
    [MemberData(nameof(Runs))]
    public void Every_pair_is_an_allocation_and_a_free_of_the_same_block(string pattern, int bytes, int threads, int pairs, int allocations)
    {
        using var load = new CountingLoad();
        load.RunPairs(new PeerCell(pattern, bytes, threads, Touched: true), pairs);
        Assert.Equal(allocations, load.Counts.Allocated);
        Assert.Equal(allocations, load.Counts.Touched);
        Assert.Empty(load.Counts.Live);
        Assert.Equal(bytes, load.Counts.Bytes);
        int held = new PeerCell(pattern, bytes, threads, true).LiveBlocks * threads;
        Assert.InRange(load.Counts.MostLive, 1, pattern is "bulk" or "rand" ? held : pattern == "lifo" ? threads : pairs);
    }

    [Theory]
    [InlineData("lifo", 1)]
    [InlineData("rand", 2)]
    [InlineData("prodcons", 2)]
    public void Memory_that_is_not_to_be_touched_is_not(string pattern, int threads)
    {
        using var load = new CountingLoad();
        load.RunPairs(new PeerCell(pattern, 4 << 20, threads, Touched: false), 64);
        Assert.Equal(0, load.Counts.Touched);
    }

    [Fact]
    public void A_rehearsal_and_a_measurement_leave_nothing_allocated()
    {
        using var load = new CountingLoad();
        foreach (string pattern in PeerCell.Patterns)
        {
            load.Rehearse(new PeerCell(pattern, 4 << 20, 2, Touched: false));
            Assert.Empty(load.Counts.Live);
        }

        PeerTiming timing = load.Measure(new PeerCell("bulk", 4 << 20, 1, Touched: false));
        Assert.True(timing.NanosecondsPerPair > 0);
        Assert.Equal(0, timing.Pairs % 128);
        Assert.Empty(load.Counts.Live);
    }

    [Theory]
    [InlineData("lifo")]
    [InlineData("bulk")]
    [InlineData("rand")]
    [InlineData("prodcons")]
    public void The_arena_is_empty_and_whole_afterwards(string pattern)
    {
        using var load = new ArenaLoad();
        load.RunPairs(new PeerCell(pattern, 65536, 2, Touched: true), 2048);
        Assert.Equal(0, load.AllocatedBytes);
        load.Release();
    }

    [Theory]
    [InlineData("glibc")]
    [InlineData("aligned-alloc")]
    [InlineData("array-pool")]
    [InlineData("gc-pinned")]
    [InlineData("mmap")]
    public void Every_other_contestant_runs_every_pattern(string contestant)
    {
        using PeerLoad load = PeersContestants.Create(contestant);
        foreach (string pattern in PeerCell.Patterns)
        {
            load.RunPairs(new PeerCell(pattern, 65536, 2, Touched: true), 32);
        }

        load.Release();
    }

    [Fact]
    public void A_thread_that_fails_does_not_leave_the_other_waiting()
    {
        using var load = new CountingLoad { FailAt = 10 };
        MeasurementException said = Assert.Throws<MeasurementException>(() => load.RunPairs(new PeerCell("prodcons", 4096, 2, false), 100_000));
        Assert.Contains("load failed", said.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_ring_hands_everything_over_in_order_and_holds_no_more_than_its_slots()
    {
        var ring = new PeerRing<int>(16);
        var writer = Task.Run(
            () =>
            {
                for (int i = 1; i <= 10_000; i++)
                {
                    ring.Push(i);
                    Assert.InRange(ring.Count, 0, 16);
                }
            },
            TestContext.Current.CancellationToken);
        for (int i = 1; i <= 10_000; i++)
        {
            Assert.Equal(i, ring.Pop());
        }

        await writer;
        Assert.Equal(0, ring.Count);
    }

    [Theory]
    [InlineData("lifo\t4096\t1\tuntouched")]
    [InlineData("prodcons\t4194304\t2\ttouched")]
    public void A_request_reads_back_as_it_was_written(string line) => Assert.Equal(line, PeerCell.Parse(line).ToLine());

    [Theory]
    [InlineData("")]
    [InlineData("lifo 4096 1 untouched")]
    [InlineData("fifo\t4096\t1\tuntouched")]
    [InlineData("lifo\t4097\t1\tuntouched")]
    [InlineData("lifo\t4096\t3\tuntouched")]
    [InlineData("prodcons\t4096\t1\tuntouched")]
    [InlineData("lifo\t4096\t1\tdry")]
    public void What_is_no_request_is_refused(string line) => Assert.Throws<MeasurementException>(() => PeerCell.Parse(line));

    private sealed class Counts
    {
        private int _live;
        private int _mostLive;
        private int _allocated;
        private int _touched;

        public ConcurrentDictionary<int, bool> Live { get; } = [];

        public int Bytes { get; set; }

        public int FailAt { get; init; }

        public int Allocated => _allocated;

        public int Touched => _touched;

        public int MostLive => _mostLive;

        public int Allocate()
        {
            int name = Interlocked.Increment(ref _allocated);
            if (name == FailAt)
            {
                throw new InvalidOperationException("as asked");
            }

            Assert.True(Live.TryAdd(name, true));
            int live = Interlocked.Increment(ref _live);
            int most;
            while (live > (most = Volatile.Read(ref _mostLive)) && Interlocked.CompareExchange(ref _mostLive, live, most) != most)
            {
            }

            return name;
        }

        public void Free(int name)
        {
            Assert.True(Live.TryRemove(name, out _));
            Interlocked.Decrement(ref _live);
        }

        public void Touch(int name)
        {
            Assert.True(Live.ContainsKey(name));
            Interlocked.Increment(ref _touched);
        }
    }

    private readonly struct CountingPeer(Counts counts) : IPeer<int>
    {
        public int Allocate() => counts.Allocate();

        public void Free(int block) => counts.Free(block);

        public void Touch(int block) => counts.Touch(block);
    }

    private sealed class CountingLoad : PeerLoad<CountingPeer, int>
    {
        public int FailAt { init => Counts = new Counts { FailAt = value }; }

        public Counts Counts { get; private init; } = new();

        protected override CountingPeer Create(int bytes)
        {
            Counts.Bytes = bytes;
            return new CountingPeer(Counts);
        }
    }
}
