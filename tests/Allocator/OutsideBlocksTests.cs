using System;
using System.Buffers;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>CapPolicy.FallBack: blocks that are not in the arena, and are blocks all the same.</summary>
public sealed class OutsideBlocksTests
{
    [Fact]
    public unsafe void A_block_from_outside_is_resized_by_moving_it_and_stays_whole_when_it_shrinks()
    {
        using ArenaProbe probe = FallingBack(8);
        probe.TakeMany(2, 10);
        void* block = probe.Arena.AllocatePages(2);
        Assert.False(probe.Arena.Contains(block));
        Assert.True(probe.Arena.TryResize(block, 100));
        Assert.True(probe.Arena.TryResize(block, 4 * 4096));
        Assert.False(probe.Arena.TryResize(block, (4 * 4096) + 1));
        Assert.Equal((4L * 4096, 1L), probe.Arena.Outside.Count());
        nint gone = (nint)block;
        probe.Arena.FreePages(block);
        Assert.Throws<ArgumentException>(() => probe.Arena.TryResize((void*)gone, 1));
        probe.Arena.Verify();
    }

    [Fact]
    public unsafe void At_the_cap_blocks_of_every_order_come_from_outside_aligned_zero_and_writable()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = FallingBack(8, os: os);
        uint[] inside = probe.TakeMany(2, 10);
        long mapped = Mapped(os);
        List<nint> outside = [];
        for (int order = 0; order <= 10; order++)
        {
            nint block = (nint)probe.Arena.AllocatePages(order, MigrateType.Movable, AllocationFlags.Zeroed);
            Span<byte> bytes = new((void*)block, 4096 << order);
            Assert.Equal(0, block & (bytes.Length - 1));
            Assert.False(probe.Arena.Contains((void*)block));
            Assert.False(bytes.ContainsAnyExcept((byte)0));
            bytes.Fill((byte)(order + 1));
            outside.Add(block);
        }

        for (int order = 0; order <= 10; order++)
        {
            Assert.False(new Span<byte>((void*)outside[order], 4096 << order).ContainsAnyExcept((byte)(order + 1)));
        }

        Expect(probe, 2047L << 12, 11);
        Assert.Equal((8L << 20, 2048ul), (probe.Arena.GetStatistics().AllocatedBytes, probe.Arena.Budget.TakenPages));
        outside.ForEach(block => probe.Arena.FreePages((void*)block));
        Expect(probe, 0, 0);
        Assert.Equal(mapped, Mapped(os));
        probe.Free(inside);
    }

    [Theory]
    [InlineData(3ul, 16384ul)]
    [InlineData(1024ul, 4ul << 20)]
    [InlineData(1025ul, 2ul << 20)]
    [InlineData(10_000ul, 2ul << 20)] // more than the arena has
    public unsafe void Ranges_come_from_outside_with_their_size_and_alignment(ulong pages, ulong alignment)
    {
        using ArenaProbe probe = FallingBack(8);
        probe.TakeMany(2, 10);
        byte* range = (byte*)probe.Arena.AllocateRange((nuint)pages << 12);
        Assert.Equal(0ul, (ulong)range % alignment);
        range[(pages << 12) - 1] = 1;
        Expect(probe, (long)pages << 12, 1);
        probe.Arena.FreePages(range);
        Expect(probe, 0, 0);
    }

    [Fact]
    public unsafe void Memory_under_the_cap_is_taken_first()
    {
        using ArenaProbe probe = FallingBack(8);
        uint[] blocks = probe.TakeMany(2, 10);
        nint outside = (nint)probe.Arena.AllocatePages(10);
        probe.Free(blocks[1]);
        Assert.Equal(blocks[1], probe.Take(10));
        Expect(probe, 4 << 20, 1);
        probe.Arena.FreePages((void*)outside);
    }

    [Fact]
    public unsafe void What_is_freed_twice_or_not_a_head_throws_and_changes_nothing()
    {
        using ArenaProbe probe = FallingBack(8);
        probe.TakeMany(2, 10);
        nint kept = (nint)probe.Arena.AllocatePages(0);
        nint freed = (nint)probe.Arena.AllocatePages(3);
        probe.Arena.FreePages((void*)freed);
        Assert.Throws<ArgumentException>("block", () => probe.Arena.FreePages((void*)freed));
        Assert.Throws<ArgumentException>("block", () => probe.Arena.FreePages((void*)(kept + 1)));
        Assert.Throws<ArgumentException>("block", () => probe.Arena.FreePages((void*)(kept + 4096)));
        using ArenaProbe other = FallingBack(8);
        Assert.Throws<ArgumentException>("block", () => other.Arena.FreePages((void*)kept));
        Expect(probe, 4096, 1);
    }

    [Fact]
    public unsafe void They_outlive_the_arena_which_does_not_wait_for_them()
    {
        FaultyOperatingSystem os = new();
        ArenaProbe probe = FallingBack(8, os: os);
        uint[] inside = probe.TakeMany(2, 10);
        int* outside = (int*)probe.Arena.AllocatePages(2);
        *outside = 77;
        probe.Free(inside);
        probe.Dispose();
        Assert.True(probe.Arena.IsUnmapped);
        Assert.Equal(77, *outside);
        probe.Arena.FreePages(outside);
        Assert.Equal(0, Mapped(os));
        Assert.Throws<ArgumentException>("block", () => probe.Arena.FreePages(outside));
    }

    [Fact]
    public unsafe void When_the_OS_refuses_too_the_errno_is_named_and_nothing_is_lost()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = FallingBack(8, os: os);
        uint[] inside = probe.TakeMany(2, 10);
        os.Fail(SystemCall.MapAnonymous, Errno.ENOMEM, times: 3);
        Assert.Null(probe.TryTake(0));
        string message = Assert.Throws<OutOfMemoryException>(() => probe.Take(4)).Message;
        Assert.Contains("mmap outside of the arena failed: ENOMEM; cap 8388608", message, StringComparison.Ordinal);
        Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(5000));
        Assert.Throws<OutOfMemoryException>(() => { probe.Arena.AllocateRange(nuint.MaxValue - 4096); });
        Assert.Throws<OutOfMemoryException>(() => { probe.Arena.AllocateRange(nuint.MaxValue); });
        os.Fail(SystemCall.Advise, Errno.EFAULT, advice: MemoryAdvice.PopulateWrite);
        message = Assert.Throws<OutOfMemoryException>(() => probe.Take(4, MigrateType.Unmovable, AllocationFlags.Populate)).Message;
        Assert.Contains("MADV_POPULATE_WRITE failed: EFAULT", message, StringComparison.Ordinal);
        Expect(probe, 0, 0);
        probe.Free(inside);
    }

    [Fact]
    public unsafe void Where_the_kernel_will_not_unmap_the_memory_goes_all_the_same()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = FallingBack(8, os: os);
        probe.TakeMany(2, 10);
        byte* block = (byte*)probe.Arena.AllocatePages(0);
        *block = 1;
        os.Fail(SystemCall.Unmap, Errno.ENOMEM);
        probe.Arena.FreePages(block);
        Assert.False(KernelView.IsResident((nint)block));
        Expect(probe, 0, 0);
    }

    [Fact]
    public unsafe void Options_for_dumps_and_huge_pages_hold_outside_too()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = FallingBack(8, o => (o.ExcludeFromDumps, o.HugePages) = (true, HugePages.Advise), os);
        probe.TakeMany(2, 10);
        nint block = (nint)probe.Arena.AllocatePages(9);
        MemoryAdvice[] advice = [.. os.Calls.Where(c => c.Call == SystemCall.Advise && c.Address == block).Select(c => c.Advice)];
        Assert.Equal([MemoryAdvice.HugePage, MemoryAdvice.DontDump], advice);
        Assert.All(Smaps.Overlapping((nuint)block, 2 << 20), mapping => Assert.Contains("dd", mapping.VmFlags));
        probe.Arena.FreePages((void*)block);
    }

    [Fact]
    public void A_pool_rents_beyond_the_cap()
    {
        using ArenaProbe probe = FallingBack(8);
        using ArenaMemoryPool pool = new(probe.Arena);
        List<IMemoryOwner<byte>> owners = [.. Enumerable.Range(0, 20).Select(_ => pool.Rent(1 << 20))];
        owners.ForEach(owner => owner.Memory.Span[^1] = 1);
        Assert.InRange(probe.Arena.GetStatistics().FallBackBytes, 12 << 20, 20 << 20);
        owners.ForEach(owner => owner.Dispose());
        Expect(probe, 0, 0);
    }

    [Fact]
    public void Many_threads_take_and_free_each_other_s_blocks_inside_and_outside()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = FallingBack(8, o => o.ThreadPages = true, os);
        long mapped = Mapped(os);
        ConcurrentQueue<nint> shared = new();
        Exception? failure = null;
        Thread[] threads =
        [
            .. Enumerable.Range(1, 5).Select(seed => new Thread(() => failure ??= Record.Exception(() => Work(probe.Arena, shared, seed)))),
        ];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.Null(failure);
        Assert.True(os.Count(SystemCall.MapAnonymous) > 10, "nothing came from outside, although 20 MiB were taken at first");
        unsafe
        {
            foreach (nint block in shared)
            {
                probe.Arena.FreePages((void*)block);
            }
        }

        probe.Arena.Trim();
        Expect(probe, 0, 0);
        Assert.Equal((0ul, mapped), (probe.Arena.Budget.TakenPages, Mapped(os)));
    }

    private static unsafe void Work(PageArena arena, ConcurrentQueue<nint> shared, int seed)
    {
        Random random = new(seed);
        for (int i = 0; i < 500; i++)
        {
            nint block = (nint)arena.AllocatePages(i < 4 ? 8 : random.Next(9));
            *(nint*)block = block;
            shared.Enqueue(block);
            if (i >= 4 && shared.TryDequeue(out nint other))
            {
                Assert.Equal(other, *(nint*)other);
                arena.FreePages((void*)other);
            }

            if (i % 100 == 0)
            {
                arena.Verify();
            }
        }
    }

    private static ArenaProbe FallingBack(int mebibytes, Action<PageArenaOptions>? change = null, FaultyOperatingSystem? os = null) => new(
        mebibytes,
        o =>
        {
            o.CapPolicy = CapPolicy.FallBack;
            change?.Invoke(o);
        },
        os);

    private static void Expect(ArenaProbe probe, long bytes, long blocks)
    {
        ArenaStatistics now = probe.Arena.GetStatistics();
        Assert.Equal((bytes, blocks), (now.FallBackBytes, now.FallBackBlocks));
        probe.Arena.Verify();
    }

    private static long Mapped(FaultyOperatingSystem os) => os.Calls.Where(c => c.Result == Errno.None).Sum(c =>
        c.Call == SystemCall.MapAnonymous ? (long)c.Bytes : c.Call == SystemCall.Unmap ? -(long)c.Bytes : 0);
}
