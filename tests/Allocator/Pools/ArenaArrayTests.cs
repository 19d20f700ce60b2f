using System;
using System.Linq;
using System.Runtime.CompilerServices;
using CsCheck;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Pools;

public sealed class ArenaArrayTests : IDisposable
{
    private readonly PageArena arena = PageArena.Create(new PageArenaOptions
    {
        SizeBytes = (nuint)16 << 30,
        CapBytes = (nuint)16 << 30,
        MinFreeBytes = 0,
        Zones = 1,
        HugePages = HugePages.Never,
        Aeration = new AerationOptions { Enabled = false },
    });

    public void Dispose()
    {
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        arena.Verify();
        arena.Dispose();
    }

    /// <summary>Several arrays of one small arena, so that what one gives up another grows into; Array.Resize is the model.</summary>
    [Fact]
    public void Whatever_is_resized_in_whatever_order_the_elements_are_those_of_a_plain_array() =>
        Gen.Select(Gen.Int[0, 2], Gen.Int[0, 2], Gen.Int[0, 400_000], Gen.Int[0, 1 << 30]).Array[1, 40].Sample(
            steps =>
            {
                using PageArena small = Small();
                ArenaArray<int>[] arrays = [.. Enumerable.Range(0, 3).Select(_ => new ArenaArray<int>(small, 0, AllocationFlags.Zeroed))];
                int[][] models = [[], [], []];
                foreach ((int which, int shift, int drawn, int fill) in steps)
                {
                    int length = drawn >> (shift * 8);
                    arrays[which].Resize(length);
                    Array.Resize(ref models[which], length);
                    Assert.Equal(length, arrays[which].Length);
                    Assert.True(arrays[which].AsSpan().SequenceEqual(models[which]), $"array {which} of {length}");
                    arrays[which].AsSpan().Slice(length / 3, length / 2).Fill(fill);
                    models[which].AsSpan().Slice(length / 3, length / 2).Fill(fill);
                    Assert.Equal(models.Sum(m => (m.Length * 4L + 4095) / 4096 * 4096), small.GetStatistics().AllocatedBytes);
                }

                Assert.All(Enumerable.Range(0, 3), i => Assert.True(arrays[i].AsSpan().SequenceEqual(models[i])));
                Array.ForEach(arrays, a => a.Dispose());
                Assert.Equal(0, small.GetStatistics().AllocatedBytes);
                small.Verify();
            },
            iter: 60,
            threads: 1);

    [Fact]
    public void It_holds_more_than_2_gibibytes_and_more_elements_than_an_int_counts()
    {
        using var array = new ArenaArray<byte>(arena, 5_000_000_000, AllocationFlags.Zeroed);
        long[] places = [0, int.MaxValue, int.MaxValue + 1L, uint.MaxValue, uint.MaxValue + 1L, 4_999_999_999];
        foreach (long place in places)
        {
            Assert.Equal(0, array[place]);
            array[place] = (byte)(1 + (place % 251));
        }

        Assert.All(places, place => Assert.Equal((byte)(1 + (place % 251)), array[place]));
        Assert.Equal(array[4_999_999_999], array.AsSpan(4_999_999_990, 10)[9]);
        Assert.Equal(int.MaxValue, array.AsSpan(1_000_000_000, int.MaxValue).Length);
        Assert.Contains("5000000000", Assert.Throws<InvalidOperationException>(() => array.AsSpan().Length).Message, StringComparison.Ordinal);
        Assert.Throws<IndexOutOfRangeException>(() => array[5_000_000_000]);
    }

    [Fact]
    public void It_grows_past_2_gibibytes_where_it_is_without_a_copy_and_gives_back_what_it_is_shortened_by()
    {
        using var array = new ArenaArray<long>(arena, 1000);
        ref long first = ref array[0];
        array[999] = 42;
        array.Resize(400_000_000); // 3.2 GB
        Assert.True(Unsafe.AreSame(ref first, ref array[0]));
        array[399_999_999] = 43;
        Assert.Equal((42, 43), (array[999], array[399_999_999]));
        array.Resize(1000);
        Assert.Equal(8192, arena.GetStatistics().AllocatedBytes);
        Assert.Equal(42, array[999]);
    }

    [Fact]
    public void Where_something_lies_behind_it_it_moves_and_frees_what_it_was()
    {
        using var array = new ArenaArray<int>(arena, 1024);
        using var wall = new ArenaArray<int>(arena, 1024);
        array.AsSpan().Fill(5);
        wall.AsSpan().Fill(6);
        array.Resize(3000);
        array.Resize(3_000_000);
        Assert.Equal(-1, array.AsSpan(0, 1024).IndexOfAnyExcept(5));
        Assert.Equal(-1, wall.AsSpan().IndexOfAnyExcept(6));
        Assert.Equal(4096 + 12_001_280, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void A_resize_that_finds_no_memory_leaves_the_array_as_it_was()
    {
        using PageArena small = Small();
        using var array = new ArenaArray<Odd>(small, 1000);
        using var wall = new ArenaArray<byte>(small, 20 << 20);
        array[999] = new Odd(1, 2, 3);
        Assert.Throws<OutOfMemoryException>(() => array.Resize(2_000_000));
        Assert.Equal((1000L, new Odd(1, 2, 3)), (array.Length, array[999]));
        array.Resize(1001);
    }

    [Fact]
    public void Elements_of_any_size_are_told_apart()
    {
        using var array = new ArenaArray<Odd>(arena, 5000);
        for (int i = 0; i < 5000; i++)
        {
            array[i] = Number(i);
        }

        int next = 0;
        foreach (ref Odd element in array)
        {
            Assert.Equal(Number(next), element);
            element = element with { A = -1 };
            next++;
        }

        Assert.Equal(5000, next);
        Assert.All(array.AsSpan().ToArray(), e => Assert.Equal(-1, e.A));
        unsafe
        {
            fixed (Odd* pointer = array)
            {
                Assert.True(pointer + 1 == Unsafe.AsPointer(ref array[1]));
            }
        }
    }

    [Theory]
    [InlineData(-1L)]
    [InlineData(10L)]
    [InlineData(long.MaxValue)]
    [InlineData(long.MinValue)]
    public void An_index_outside_throws_and_says_what_there_is(long index)
    {
        using var array = new ArenaArray<long>(arena, 10);
        string message = Assert.Throws<IndexOutOfRangeException>(() => array[index] = 1).Message;
        Assert.Contains($"{index} is not one of the array's 10", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(-1L, 0, "start")]
    [InlineData(11L, 0, "start")]
    [InlineData(0L, -1, "count")]
    [InlineData(0L, 11, "count")]
    [InlineData(10L, 1, "count")]
    [InlineData(5L, int.MaxValue, "count")]
    [InlineData(long.MaxValue, int.MaxValue, "start")]
    public void A_span_that_is_not_inside_is_refused(long start, int count, string name)
    {
        using var array = new ArenaArray<long>(arena, 10);
        Assert.Throws<ArgumentOutOfRangeException>(name, () => array.AsSpan(start, count).Length);
        Assert.Equal(0, array.AsSpan(10, 0).Length);
    }

    [Fact]
    public void A_length_that_cannot_be_is_refused_with_what_can()
    {
        foreach (long length in new[] { -1, (16L << 27) + 1, long.MaxValue, long.MinValue, 1L << 61 })
        {
            var refused = Assert.Throws<ArgumentOutOfRangeException>("length", () => new ArenaArray<long>(arena, length));
            Assert.Equal(length, refused.ActualValue);
            Assert.Contains("0 to 2147483648", refused.Message, StringComparison.Ordinal);
        }

        using var array = new ArenaArray<long>(arena, 3);
        array[2] = 9;
        Assert.Throws<ArgumentOutOfRangeException>("newLength", () => array.Resize(-1));
        Assert.Throws<ArgumentOutOfRangeException>("newLength", () => array.Resize(long.MaxValue));
        Assert.Equal((3L, 9L), (array.Length, array[2]));
        Assert.Throws<ArgumentOutOfRangeException>("flags", () => new ArenaArray<long>(arena, 0, (AllocationFlags)8));
        Assert.Throws<ArgumentNullException>("arena", () => new ArenaArray<long>(null!, 0));
    }

    [Fact]
    public unsafe void An_empty_one_holds_no_memory()
    {
        using var array = new ArenaArray<int>(arena, 0);
        Assert.True(array.AsSpan().IsEmpty);
        foreach (ref int element in array)
        {
            Assert.Fail($"{element}");
        }

        fixed (int* nothing = array)
        {
            Assert.True(nothing == null);
        }

        Assert.Throws<IndexOutOfRangeException>(() => array[0]);
        array.Resize(5);
        array.Resize(0);
        array.Resize(0);
        Assert.Equal((0, 0), (array.Length, arena.GetStatistics().AllocatedBytes));
    }

    [Fact]
    public void After_dispose_every_use_throws_and_a_second_dispose_does_nothing()
    {
        var array = new ArenaArray<int>(arena, 10);
        array.Dispose();
        array.Dispose();
        Assert.Throws<ObjectDisposedException>(() => array[0]);
        Assert.Throws<ObjectDisposedException>(() => array.AsSpan().Length);
        Assert.Throws<ObjectDisposedException>(() => array.AsSpan(0, 0).Length);
        Assert.Throws<ObjectDisposedException>(() => array.Resize(1));
        Assert.Equal(0, array.Length);
    }

    private static PageArena Small() => PageArena.Create(new PageArenaOptions
    {
        SizeBytes = 32 << 20,
        CapBytes = 32 << 20,
        MinFreeBytes = 0,
        Zones = 1,
        Aeration = new AerationOptions { Enabled = false },
    });

    private static Odd Number(int i) => new(i, (byte)(i % 251), (short)-i);

    private readonly record struct Odd(int A, byte B, short C);
}
