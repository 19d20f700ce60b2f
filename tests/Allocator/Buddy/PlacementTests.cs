using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Buddy;

/// <summary>Head or tail: the one decision of the free path.</summary>
public sealed class PlacementTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(7)]
    [InlineData(8)]
    public void Up_to_order_8_a_block_that_will_probably_merge_goes_to_the_tail(int order)
    {
        using ArenaProbe probe = new(16);
        uint[] blocks = probe.TakeMany(8, order);
        probe.Free(blocks[2], blocks[3]); // they merge: the buddy of the pair (0, 1) is free at the next order
        probe.Free(blocks[4]); // its pair's buddy is in use: head
        Assert.Equal([4], Only(probe, order));
        probe.Free(blocks[0]); // two merges will follow when 1 comes back: tail
        Assert.Equal([4, 0], Only(probe, order));
        probe.Free(blocks[6]); // its pair's buddy is free in part only: head
        Assert.Equal([6, 4, 0], Only(probe, order));
    }

    [Fact]
    public void At_order_9_it_goes_to_the_head_all_the_same()
    {
        using ArenaProbe probe = new(16);
        uint[] blocks = probe.TakeMany(8, 9);
        probe.Free(blocks[2], blocks[3], blocks[4], blocks[0], blocks[6]);
        probe.Expect("U10:1024 U9:3072,0,2048");
    }

    [Fact]
    public void At_order_10_every_block_goes_to_the_head_where_nothing_is_shuffled()
    {
        using ArenaProbe probe = new(16);
        uint[] blocks = probe.TakeMany(4, 10);
        probe.Free(blocks[1], blocks[0], blocks[3], blocks[2]);
        probe.Expect("U10:2048,3072,0,1024");
    }

    [Fact]
    public void With_a_seed_order_10_follows_its_random_bits_also_beyond_the_64th()
    {
        using ArenaProbe probe = new(48, o => o.ShuffleSeed = 42);
        Queue<bool> bits = new(Bits(42, 130));
        LinkedList<uint> expected = [];
        uint[] blocks = probe.TakeMany(12, 10);
        while (bits.Count >= blocks.Length)
        {
            foreach (uint block in blocks)
            {
                _ = bits.Dequeue() ? expected.AddLast(block) : expected.AddFirst(block);
                probe.Free(block);
            }

            probe.Expect("U10:" + string.Join(',', expected));
            blocks = probe.TakeMany(12, 10);
            Assert.Equal(expected, blocks); // from the head
            expected.Clear();
        }
    }

    [Fact]
    public void Smaller_orders_draw_no_bit()
    {
        using ArenaProbe probe = new(16, o => o.ShuffleSeed = 42);
        uint[] nines = probe.TakeMany(4, 9);
        uint ten = probe.Take(10);
        probe.Free(nines[0], nines[2]);
        probe.Expect("U9:1024,0");
        probe.Free(ten);
        bool[] bits = [.. Bits(42, 3)];
        probe.Free(nines[1]);
        probe.Expect(bits[1] ? "U10:2048,0 U9:1024" : "U10:0,2048 U9:1024");
    }

    [Fact]
    public void The_shuffle_takes_each_bit_of_each_word_once()
    {
        Shuffle shuffle = new(7);
        Assert.Equal(Bits(7, 1000), Enumerable.Range(0, 1000).Select(_ => shuffle.NextBit()));
    }

    [Fact]
    public void The_65th_draw_is_as_random_as_the_others()
    {
        // The series drew it from an empty word: always head.
        Shuffle shuffle = new(1);
        int tails = Enumerable.Range(1, 65 * 400).Count(draw => shuffle.NextBit() && draw % 65 == 0);
        Assert.InRange(tails, 130, 270);
    }

    [Fact]
    public void What_has_rested_goes_to_the_tail()
    {
        using ArenaProbe probe = new(16, o => o.Aeration.Delay = TimeSpan.Zero);
        uint[] blocks = probe.TakeMany(4, 10);
        probe.Free(blocks);
        probe.Expect("U10:0,1024,2048,3072");
    }

    [Fact]
    public void Raw_is_taken_before_treated_and_a_treated_block_lies_below_all_raw_ones()
    {
        using ArenaProbe probe = new(16, o => o.Aeration.Enabled = true);
        uint[] blocks = probe.TakeMany(4, 10);
        probe.Free(blocks[0], blocks[1]);
        probe.Arena.Trim();
        string treated = Treated(probe);
        probe.Free(blocks[2], blocks[3]);
        string[] list = probe.Lists()["U10:".Length..].Split(',');
        Assert.Equal(["3072", "2048"], list[..2]);
        Assert.All(list[2..], entry => Assert.EndsWith("*", entry, StringComparison.Ordinal));
        Assert.Equal([3072u, 2048u], probe.TakeMany(2, 10));
        Assert.Equal(treated, Treated(probe));
    }

    private static string Treated(ArenaProbe probe)
    {
        string list = probe.Lists()["U10:".Length..];
        Assert.All(list.Split(','), entry => Assert.EndsWith("*", entry, StringComparison.Ordinal));
        return list;
    }

    /// <summary>The first of an order's blocks in units of that order, of those that the test freed.</summary>
    private static int[] Only(ArenaProbe probe, int order)
    {
        string list = probe.Lists().Split(' ').Single(l => l.StartsWith($"U{order}:", StringComparison.Ordinal));
        return [.. list[(list.IndexOf(':', StringComparison.Ordinal) + 1)..].Split(',').Select(p => int.Parse(p, null) >> order).Where(b => b < 8)];
    }

    /// <summary>SplitMix64, each word from its lowest bit.</summary>
    private static IEnumerable<bool> Bits(ulong seed, int count)
    {
        for (int i = 0; i < count; i++)
        {
            ulong z = unchecked(seed + (((ulong)(i / 64) + 1) * 0x9E3779B97F4A7C15));
            z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9);
            z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EB);
            z ^= z >> 31;
            yield return ((z >> (i % 64)) & 1) != 0;
        }
    }
}
