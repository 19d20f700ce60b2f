using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class ServiceLoadTests
{
    private static readonly LoadShape Small = LoadShape.Mixed(1.0 / 16, 4, 7);

    [Fact]
    public void The_same_seed_takes_the_same_sizes_in_the_same_order_on_each_thread()
    {
        Dictionary<string, List<int>> first = TakenByThread(Small);
        Dictionary<string, List<int>> second = TakenByThread(Small);
        Dictionary<string, List<int>> other = TakenByThread(Small with { Seed = 8 });
        Assert.Equal(4, first.Count);
        foreach ((string thread, List<int> sizes) in first)
        {
            Assert.Equal(sizes, second[thread]);
            Assert.NotEqual(sizes, other[thread]);
        }
    }

    [Fact]
    public void Every_size_has_similar_bytes()
    {
        int[] sizes = [.. TakenByThread(LoadShape.Mixed(0.25, 4, 1)).Values.SelectMany(s => s)];
        double share = sizes.Sum(s => (double)s) / 10;
        for (int bytes = 4 << 10; bytes <= 2 << 20; bytes *= 2)
        {
            double have = sizes.Where(s => s == bytes).Sum(s => (double)s);
            Assert.InRange(have / share, 0.6, 1.4);
        }
    }

    [Fact]
    public void One_byte_in_ten_survives_and_the_rest_comes_back_once_from_another_thread()
    {
        using var source = new CountingSource();
        using var load = new ServiceLoad(LoadShape.Mixed(0.25, 4, 3));
        for (int burst = 0; burst < 3; burst++)
        {
            load.RunBurst(source, () => { });
        }

        Assert.Equal(source.HeldBytes, load.LiveBytes);
        Assert.InRange((double)load.LiveBytes / (512 << 20), 0.08, 0.12);
        Assert.True(source.GivenByAnother > source.Given / 2);
        load.GiveBackAll();
        Assert.Equal(0, load.LiveBytes);
        Assert.Equal(0, source.HeldBytes);
    }

    [Fact]
    public void The_load_takes_no_more_room_for_its_lists_than_it_made_before()
    {
        int most = TakenByThread(Small).Values.Max(s => s.Count);
        Assert.InRange(Small.MostHeldByThread, most / 3, most * 2);
    }

    [Fact]
    public void A_source_that_hands_out_one_buffer_twice_is_found_out()
    {
        using var source = new CountingSource { Twice = true };
        using var load = new ServiceLoad(Small);
        MeasurementException found = Assert.Throws<MeasurementException>(() => load.RunBurst(source, () => { }));
        Assert.Contains("lost its contents", found.Message, StringComparison.Ordinal);
    }

    private static Dictionary<string, List<int>> TakenByThread(LoadShape shape)
    {
        using var source = new CountingSource();
        using var load = new ServiceLoad(shape);
        load.RunBurst(source, () => { });
        load.GiveBackAll();
        return source.Taken.ToDictionary(p => p.Key, p => p.Value);
    }

    /// <summary>Arrays, and who took and gave what.</summary>
    private sealed class CountingSource : BufferSource
    {
        private readonly ConcurrentDictionary<byte[], string> _takers = new(ReferenceEqualityComparer.Instance as IEqualityComparer<byte[]>);
        private readonly ThreadLocal<byte[]> _large = new(() => new byte[2 << 20]);
        private long _heldBytes;
        private int _given;
        private int _givenByAnother;

        public ConcurrentDictionary<string, List<int>> Taken { get; } = new();

        public bool Twice { get; init; }

        public long HeldBytes => Interlocked.Read(ref _heldBytes);

        public int Given => _given;

        public int GivenByAnother => _givenByAnother;

        public override HeldBuffer Take(int bytes)
        {
            string thread = Thread.CurrentThread.Name!;
            Taken.GetOrAdd(thread, _ => []).Add(bytes);
            Interlocked.Add(ref _heldBytes, bytes);
            byte[] array = Twice ? _large.Value! : new byte[bytes];
            _takers[array] = thread;
            return new HeldBuffer(0, array, bytes);
        }

        public override void Give(HeldBuffer buffer)
        {
            Interlocked.Add(ref _heldBytes, -buffer.Bytes);
            Interlocked.Increment(ref _given);
            if (!Twice)
            {
                Assert.True(_takers.TryRemove(buffer.Array!, out string? taker));
                Interlocked.Add(ref _givenByAnother, taker == Thread.CurrentThread.Name ? 0 : 1);
            }
        }

        protected override void Dispose(bool disposing)
        {
            _large.Dispose();
            base.Dispose(disposing);
        }
    }
}
