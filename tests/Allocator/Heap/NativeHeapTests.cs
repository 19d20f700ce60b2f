using System;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.InteropServices;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Heap;

/// <summary>What one thread sees: sizes, alignments, zeros, contents, the way back to the arena.</summary>
public sealed class NativeHeapTests
{
    public static TheoryData<long> Alignments => new(Enumerable.Range(0, 22).Select(i => 1L << i));

    [Theory]
    [InlineData(0, 16)]
    [InlineData(1, 16)]
    [InlineData(16, 16)]
    [InlineData(17, 32)]
    [InlineData(128, 128)]
    [InlineData(129, 144)]
    [InlineData(1000, 1024)]
    [InlineData(8192, 8192)]
    [InlineData(8193, 9216)]
    [InlineData(32768, 32768)]
    [InlineData(32769, 36864)]
    [InlineData(65536, 65536)]
    [InlineData(100_000, 102_400)]
    [InlineData((4 << 20) + 1, (4 << 20) + 4096)]
    public void A_block_has_the_next_size_of_its_class_or_whole_pages(long bytes, long usable)
    {
        using HeapProbe probe = new();
        nint block = probe.Take(bytes);
        Assert.Equal(usable, probe.Usable(block));
        probe.Verify();
        Assert.Equal(usable, probe.Heap.GetStatistics().AllocatedBytes);
        probe.Free(block);
        Assert.Equal(0, probe.Heap.GetStatistics().AllocatedBytes);
        probe.Heap.Trim();
        Assert.Equal(0, probe.ArenaAllocated);
        probe.Verify();
    }

    [Theory]
    [MemberData(nameof(Alignments))]
    public void Every_power_of_two_up_to_2_MiB_is_an_alignment(long alignment)
    {
        using HeapProbe probe = new();
        long[] sizes = [1, 100, 4000, 33_000, 70_000, (4 << 20) + 5];
        nint[] blocks = [.. sizes.Select(size => probe.Take(size, alignment)), .. sizes.Select(size => probe.TakeZeroed(size, alignment))];
        Assert.All(blocks, block => Assert.Equal(0, block % alignment));
        Assert.All(blocks.Zip([.. sizes, .. sizes]), pair => Assert.True(probe.Usable(pair.First) >= pair.Second));
        probe.Verify();
        probe.Free(blocks);
        probe.Heap.Trim();
        Assert.Equal(0, probe.ArenaAllocated);
    }

    [Fact]
    public void A_small_block_with_a_large_alignment_keeps_only_its_own_pages()
    {
        using HeapProbe probe = new();
        nint block = probe.Take(5000, 2 << 20);
        Assert.Equal((8192, 8192), (probe.Usable(block), probe.ArenaAllocated));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(24)]
    [InlineData(4 << 20)]
    public void Another_alignment_is_refused_and_named(long alignment)
    {
        using HeapProbe probe = new();
        foreach (long bytes in new[] { 1L, 100_000 })
        {
            string said = Assert.Throws<ArgumentOutOfRangeException>(nameof(alignment), () => probe.Take(bytes, alignment)).Message;
            Assert.Contains("2097152", said, StringComparison.Ordinal);
            Assert.Throws<ArgumentOutOfRangeException>(nameof(alignment), () => probe.TakeZeroed(bytes, alignment));
        }

        Assert.Equal(0, probe.ArenaAllocated);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(24)]
    [InlineData(700)]
    [InlineData(20_000)]
    [InlineData(50_000)]
    [InlineData(5_000_000)]
    public unsafe void Zeroed_memory_reads_zero_where_garbage_lay(int bytes)
    {
        using HeapProbe probe = new();
        nint[] dirty = probe.TakeMany(20, Math.Min(bytes, 1 << 20));
        Array.ForEach(dirty, block => new Span<byte>((void*)block, (int)probe.Usable(block)).Fill(0xa5));
        probe.Free(dirty);
        for (int i = 0; i < 5; i++)
        {
            nint block = probe.TakeZeroed(bytes);
            Assert.Equal(-1, new ReadOnlySpan<byte>((void*)block, bytes).IndexOfAnyExcept((byte)0));
            new Span<byte>((void*)block, bytes).Fill(0xa5);
        }
    }

    [Fact]
    public unsafe void Reallocation_keeps_what_was_there_and_stays_in_place_where_there_is_room()
    {
        using HeapProbe probe = new();
        nint block = probe.Resize(0, 100);
        new Span<byte>((void*)block, 100).Fill(7);
        Assert.Equal(block, probe.Resize(block, 112)); // the class has 112
        Assert.Equal(block, probe.Resize(block, 56)); // half of it
        nint larger = probe.Resize(block, 113);
        Assert.NotEqual(block, larger);
        Assert.Equal(100, new ReadOnlySpan<byte>((void*)larger, 100).Count((byte)7));
        nint whole = probe.Resize(larger, 70_000);
        Assert.Equal(whole, probe.Resize(whole, 73_728)); // the last page's rest
        Assert.Equal(100, new ReadOnlySpan<byte>((void*)whole, 100).Count((byte)7));
        nint small = probe.Resize(whole, 50);
        Assert.Equal((64, 50), (probe.Usable(small), new ReadOnlySpan<byte>((void*)small, 50).Count((byte)7)));
        Assert.Equal(64, probe.Heap.GetStatistics().AllocatedBytes);
        probe.Verify();
    }

    [Fact]
    public unsafe void A_large_block_grows_and_shrinks_where_it_lies_while_the_pages_behind_it_are_free()
    {
        using HeapProbe probe = new(16);
        nint block = probe.Take(100_000);
        new Span<byte>((void*)block, 100_000).Fill(9);
        Assert.Equal(block, probe.Resize(block, 1_000_000));
        Assert.Equal((1_003_520, 1_003_520), (probe.Usable(block), probe.ArenaAllocated));
        Assert.Equal(100_000, new ReadOnlySpan<byte>((void*)block, 100_000).Count((byte)9));
        probe.Verify();
        Assert.Equal(block, probe.Resize(block, 40_000)); // less than half: the tail goes back
        Assert.Equal((40_960, 40_960), (probe.Usable(block), probe.ArenaAllocated));
        Assert.Equal(40_960, probe.Heap.GetStatistics().AllocatedBytes);
        probe.Verify();
        probe.Free(block);
        Assert.Equal(0, probe.ArenaAllocated);
        Assert.Throws<ArgumentException>(() => probe.Resize(block, 1_000_000));
        probe.Verify();
    }

    [Fact]
    public unsafe void A_large_block_that_cannot_grow_where_it_lies_moves_and_one_that_cannot_grow_at_all_is_as_it_was()
    {
        using HeapProbe probe = new(16);
        nint block = probe.Take(64 << 10);
        nint behind = probe.Take(64 << 10);
        Assert.Equal(block + (64 << 10), behind);
        new Span<byte>((void*)block, 64 << 10).Fill(3);
        nint moved = probe.Resize(block, 200_000);
        Assert.NotEqual(block, moved);
        Assert.Equal(64 << 10, new ReadOnlySpan<byte>((void*)moved, 64 << 10).Count((byte)3));
        long before = probe.ArenaAllocated;
        Assert.Throws<OutOfMemoryException>(() => probe.Resize(moved, (16 << 20) - 4096));
        Assert.Throws<OutOfMemoryException>(() => probe.Resize(moved, long.MaxValue));
        Assert.Equal((before, 200_704), (probe.ArenaAllocated, probe.Usable(moved)));
        Assert.Equal(64 << 10, new ReadOnlySpan<byte>((void*)moved, 64 << 10).Count((byte)3));
        probe.Verify();
    }

    [Fact]
    public void Slabs_that_are_empty_go_back_by_themselves_but_for_what_the_thread_keeps()
    {
        using HeapProbe probe = new();
        nint[] blocks = probe.TakeMany(100_000, 64);
        Assert.Equal(100_000, blocks.Distinct().Count());
        Assert.InRange(probe.ArenaAllocated, 6_400_000, 6_400_000 + (2 << 16));
        probe.Free(blocks);
        HeapStatistics kept = probe.Heap.GetStatistics();
        Assert.InRange(kept.SheavesBytes, 64, 64 << 10);
        Assert.InRange(kept.Slabs, 1, 2);
        Assert.Equal(kept.SlabsBytes, probe.ArenaAllocated);
        Assert.Equal(kept.SlabsBytes, kept.SheavesBytes + kept.FreeBytes + kept.AllocatedBytes);
        probe.Verify();
        probe.Heap.Trim();
        Assert.Equal((0, 0), (probe.Heap.GetStatistics().SlabsBytes, probe.ArenaAllocated));
        probe.Verify();
    }

    [Fact]
    public void The_fullest_slabs_are_filled_first()
    {
        using HeapProbe probe = new(64, o => o.ZeroOnFree = true); // no sheaves in between
        nint[] blocks = probe.TakeMany(64 * 4, 1024);
        probe.Free(blocks[..60]); // the first slab has four left
        probe.Free(blocks[70]); // the second lacks one
        Assert.Equal(blocks[70], probe.Take(1024));
        Assert.Equal(2, probe.Heap.GetStatistics().PartialSlabs + 1);
    }

    [Fact]
    public void Nothing_is_written_into_memory_that_is_free()
    {
        using HeapProbe probe = new();
        nint[] blocks = probe.TakeMany(1000, 48);
        foreach (nint block in blocks)
        {
            Marshal.WriteInt64(block, 0x1122334455667788);
        }

        probe.Free(blocks.Where((_, i) => i % 2 == 0));
        probe.Heap.Trim();
        Assert.All(blocks, block => Assert.Equal(0x1122334455667788, Marshal.ReadInt64(block)));
    }

    /// <summary>The arena is a sixteenth of what is asked for in all: at its end everything that was given out is as it was.</summary>
    [Theory]
    [InlineData(40)]
    [InlineData(3000)]
    [InlineData(20_000)]
    [InlineData(100_000)]
    public unsafe void Out_of_memory_leaves_everything_as_it_was_and_ends_with_the_first_free(int bytes)
    {
        using HeapProbe probe = new(4, o => o.ThreadPages = true);
        List<nint> blocks = [];
        Action takeOne = () =>
        {
            nint block = probe.Take(bytes);
            new Span<byte>((void*)block, bytes).Fill(unchecked((byte)blocks.Count));
            blocks.Add(block);
        };
        Assert.Throws<OutOfMemoryException>(() => Enumerable.Range(0, 1 << 20).ToList().ForEach(_ => takeOne()));
        Assert.InRange((long)blocks.Count * bytes, 3 << 20, 4 << 20);
        Assert.Throws<OutOfMemoryException>(() => probe.Resize(blocks[5], bytes * 3L));
        Assert.Throws<OutOfMemoryException>(() => probe.Take(long.MaxValue));
        probe.Verify();
        for (int i = 0; i < blocks.Count; i++)
        {
            Assert.Equal(bytes, new ReadOnlySpan<byte>((void*)blocks[i], bytes).Count(unchecked((byte)i)));
        }

        probe.Free(blocks[3]);
        Assert.Equal(blocks[3], probe.Take(bytes));
        probe.Free(blocks);
        probe.Heap.Trim();
        probe.Arena.Trim();
        Assert.Equal((0, 0), (probe.ArenaAllocated, probe.Arena.GetStatistics().ThreadPagesBytes));
    }

    [Fact]
    public void What_threads_keep_of_other_sizes_is_taken_back_before_an_allocation_fails()
    {
        using HeapProbe probe = new(4);
        nint[] small = probe.TakeMany(60, 65_536);
        nint[] few = [.. Enumerable.Range(1, 4).Select(i => probe.Take(i * 100))]; // four slabs: full
        probe.Free(few);
        Assert.Equal(4, probe.Heap.GetStatistics().Slabs);
        nint[] rest = probe.TakeMany(4, 65_536);
        Assert.Equal(0, probe.Heap.GetStatistics().Slabs);
        Assert.Throws<OutOfMemoryException>(() => probe.Take(16));
        probe.Free(small.Concat(rest));
    }

    [Fact]
    public void A_disposed_heap_gives_everything_back_and_refuses_all_else()
    {
        using ArenaProbe arena = new(64);
        NativeHeap heap = new(arena.Arena);
        using NativeHeap other = new(arena.Arena);
        nint block;
        unsafe
        {
            block = (nint)heap.Allocate(100);
            heap.Allocate(100_000);
            heap.Allocate(20_000);
            other.Allocate(100);
            heap.Dispose();
            heap.Dispose();
            Assert.Throws<ObjectDisposedException>(() => (nint)heap.Allocate(100));
            Assert.Throws<ObjectDisposedException>(() => (nint)heap.Allocate(100_000));
            Assert.Throws<ObjectDisposedException>(() => (nint)heap.AllocateZeroed(10));
            Assert.Throws<ObjectDisposedException>(() => (nint)heap.Reallocate(null, 10));
            Assert.Throws<ObjectDisposedException>(() => heap.Free((void*)block));
            Assert.Throws<ObjectDisposedException>(() => heap.UsableSize((void*)block));
        }

        Assert.Throws<ObjectDisposedException>(heap.Trim);
        Assert.Throws<ObjectDisposedException>(heap.Verify);
        Assert.Throws<ObjectDisposedException>(heap.GetStatistics);
        other.Verify();
        arena.Arena.Verify();
        Assert.Equal(65_536, arena.Arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void An_arena_that_is_disposed_first_lives_until_its_heap_is()
    {
        ArenaProbe arena = new(64);
        NativeHeap heap = new(arena.Arena);
        unsafe
        {
            void* block = heap.Allocate(5000);
            arena.Dispose();
            heap.Free(block);
            heap.Trim();
            Assert.Throws<ArgumentException>(() => heap.Free((byte*)block + (1 << 20)));
            Assert.Throws<ObjectDisposedException>(() => (nint)heap.Allocate(5000));
        }

        Assert.False(arena.Arena.IsUnmapped);
        heap.Dispose();
        Assert.True(arena.Arena.IsUnmapped);
        Assert.Throws<ObjectDisposedException>(() => new NativeHeap(arena.Arena));
        Assert.Throws<ArgumentNullException>("arena", () => new NativeHeap(null!));
    }
}
