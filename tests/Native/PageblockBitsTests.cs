using System;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading;
using CsCheck;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Native;

public sealed class PageblockBitsTests
{
    [Theory]
    [InlineData(0u, MigrateType.Movable, 0x2000_0000_0000_0000ul)]
    [InlineData(0u, MigrateType.Isolate, 0xa000_0000_0000_0000ul)]
    [InlineData(1u, MigrateType.Reclaimable, 0x0400_0000_0000_0000ul)]
    [InlineData(14u, MigrateType.HighAtomic, 0x0000_0000_0000_0060ul)]
    [InlineData(15u, MigrateType.Cma, 0x0000_0000_0000_0008ul)]
    public unsafe void The_first_block_lies_in_the_highest_nibble_its_type_above_its_skip_bit(uint block, MigrateType type, ulong word)
    {
        ulong* words = stackalloc ulong[2] { 0, 0x1234_5678_9abc_def0 };
        PageblockBits bits = new(words);
        bits.Set(block, type);
        Assert.Equal(word, words[0]);
        Assert.Equal(0x1234_5678_9abc_def0ul, words[1]);
        Assert.Equal(type, bits.Get(block));
    }

    [Fact]
    public unsafe void Block_16_is_the_first_of_the_second_word()
    {
        ulong* words = stackalloc ulong[2] { 0, 0 };
        new PageblockBits(words).Set(16, MigrateType.Movable);
        Assert.Equal(0ul, words[0]);
        Assert.Equal(0x2000_0000_0000_0000ul, words[1]);
    }

    [Fact]
    public unsafe void A_set_leaves_the_skip_bits_and_the_neighbours_as_they_are()
    {
        ulong* words = stackalloc ulong[1] { 0x3535_3535_3535_3535 };
        PageblockBits bits = new(words);
        bits.Set(3, MigrateType.Unmovable);
        Assert.Equal(0x3531_3535_3535_3535ul, words[0]);
        bits.Set(3, MigrateType.Isolate);
        Assert.Equal(0x353b_3535_3535_3535ul, words[0]);
        Assert.Equal(MigrateType.Movable, bits.Get(2));
        Assert.Equal(MigrateType.Movable, bits.Get(4));
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public unsafe void What_is_no_migratetype_is_refused_and_changes_nothing(int type)
    {
        ulong* words = stackalloc ulong[1] { 0x2222_2222_2222_2222 };
        PageblockBits bits = new(words);
        ArgumentOutOfRangeException problem = Assert.Throws<ArgumentOutOfRangeException>(() => bits.Set(5, (MigrateType)type));
        Assert.Equal("type", problem.ParamName);
        Assert.Contains("allowed: 0 (Unmovable) to 5 (Isolate)", problem.Message, StringComparison.Ordinal);
        Assert.Equal(0x2222_2222_2222_2222ul, words[0]);
    }

    [Fact]
    public void Any_sequence_of_sets_reads_back_as_an_array_does() =>
        Gen.Select(Gen.UInt[0, 40], Gen.Int[0, 5]).Array[0, 200].Sample(Replay, iter: 500);

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(1u, 8)]
    [InlineData(16u, 8)]
    [InlineData(17u, 16)]
    [InlineData(8_388_608u, 4_194_304)]
    [InlineData(uint.MaxValue, 2_147_483_648)]
    public void Bytes_are_counted_in_whole_words(uint blocks, long bytes) => Assert.Equal((nuint)bytes, PageblockBits.BytesFor(blocks));

    [Fact]
    public unsafe void Threads_that_set_neighbours_in_one_word_lose_nothing()
    {
        const int threads = 4;
        const int rounds = 300_000;
        ulong* word = (ulong*)NativeMemory.AlignedAlloc(8, 8);
        try
        {
            *word = 0x1111_1111_1111_1111;
            PageblockBits bits = new(word);
            using Barrier start = new(threads);
            int lost = 0;
            Thread[] setters = [.. Enumerable.Range(0, threads).Select(first => new Thread(() =>
            {
                start.SignalAndWait();
                for (int round = 0; round < rounds; round++)
                {
                    // Each thread is the only one that writes its blocks: what it reads is what it wrote, or a write was lost.
                    uint block = (uint)(first + (threads * (round % 4)));
                    MigrateType type = (MigrateType)((round + first) % MigrateTypes.Count);
                    bits.Set(block, type);
                    if (bits.Get(block) != type)
                    {
                        Interlocked.Increment(ref lost);
                    }
                }
            }))];
            Array.ForEach(setters, setter => setter.Start());
            Array.ForEach(setters, setter => setter.Join());
            Assert.Equal(0, lost);
            for (uint block = 0; block < 16; block++)
            {
                int lastRound = rounds - 4 + (int)(block / threads);
                Assert.Equal((MigrateType)((lastRound + (int)(block % threads)) % MigrateTypes.Count), bits.Get(block));
            }
            Assert.Equal(0x1111_1111_1111_1111ul, *word & 0x1111_1111_1111_1111ul);
        }
        finally
        {
            NativeMemory.AlignedFree(word);
        }
    }

    private static unsafe void Replay((uint Block, int Type)[] steps)
    {
        ulong* words = stackalloc ulong[3] { 0, 0, 0 };
        PageblockBits bits = new(words);
        MigrateType[] model = new MigrateType[41];
        foreach ((uint block, int type) in steps)
        {
            bits.Set(block, (MigrateType)type);
            model[block] = (MigrateType)type;
        }
        for (uint block = 0; block < model.Length; block++)
        {
            Assert.Equal(model[block], bits.Get(block));
        }
    }
}
