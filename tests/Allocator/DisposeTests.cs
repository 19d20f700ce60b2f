using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Threads;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>The end of an arena: new work is refused, blocks in use stay valid, the last one that comes back unmaps.</summary>
public sealed class DisposeTests
{
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public unsafe void Blocks_in_use_stay_valid_and_the_last_free_unmaps(bool threadPages, bool treatment)
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(16, o => (o.ThreadPages, o.Aeration.Enabled) = (threadPages, treatment), os);
        uint[] blocks = [probe.Take(0), probe.Take(5), probe.TakeRange(1300)];
        probe.Free(probe.Take(0), probe.Take(9)); // rests in the thread's pages or the zone
        int before = os.Count(SystemCall.Unmap);
        probe.Dispose();
        Assert.False(probe.Arena.IsUnmapped);
        foreach (uint block in blocks)
        {
            *(uint*)probe.AddressOf(block) = block;
            Assert.Equal(before, os.Count(SystemCall.Unmap));
            Assert.Equal(block, *(uint*)probe.AddressOf(block));
            probe.Free(block);
        }

        Assert.True(probe.Arena.IsUnmapped);
        Assert.Equal(before + 3, os.Count(SystemCall.Unmap)); // pages, struct pages, ring
        Assert.Equal(
            os.Calls.Where(c => c.Call == SystemCall.MapAnonymous).Sum(c => (long)c.Bytes),
            os.Calls.Where(c => c.Call == SystemCall.Unmap).Sum(c => (long)c.Bytes));
    }

    [Fact]
    public void An_empty_arena_is_unmapped_at_once_and_only_once()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(16, o => o.ThreadPages = true, os);
        using ThreadActor other = new();
        other.Do(() => probe.Free(probe.TakeMany(3, 4))); // another thread's pages are no live blocks
        probe.Free(probe.Take(0));
        int before = os.Count(SystemCall.Unmap);
        probe.Dispose();
        Assert.True(probe.Arena.IsUnmapped);
        probe.Dispose();
        other.Do(probe.Dispose);
        Assert.Equal(before + 3, os.Count(SystemCall.Unmap));
    }

    [Fact]
    public unsafe void Everything_but_freeing_throws_afterwards()
    {
        using ArenaProbe probe = new(16, o => (o.ThreadPages, o.Aeration.Enabled) = (true, true));
        uint live = probe.Take(0);
        Action[] uses =
        [
            () => probe.Take(0),
            () => probe.TryTake(0),
            () => probe.Take(4, MigrateType.Movable, AllocationFlags.Zeroed),
            () => probe.TakeRange(5),
            () => probe.TakeRange(2000),
            () => probe.Arena.GetStatistics(),
            probe.Arena.Verify,
            probe.Arena.Trim,
            probe.Arena.Aerator.Start,
        ];
        probe.Dispose();
        Assert.All(uses, use => Assert.Throws<ObjectDisposedException>(use));
        probe.Free(live);
        Assert.True(probe.Arena.IsUnmapped);
        Assert.All(uses, use => Assert.Throws<ObjectDisposedException>(use));
        probe.Arena.Aerator.Stop();
        probe.Arena.Aerator.Pass();
    }

    [Fact]
    public void A_free_after_the_end_throws_and_says_why()
    {
        using ArenaProbe probe = new(16, o => o.ThreadPages = true);
        uint live = probe.Take(0);
        probe.Dispose();
        Assert.Throws<ArgumentException>("block", () => probe.Free(live + 1));
        probe.Free(live);
        string message = Assert.Throws<ArgumentException>("block", () => probe.Free(live)).Message;
        Assert.Contains("the arena was disposed and its last block has come back", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Threads_that_free_the_last_blocks_at_once_unmap_once()
    {
        for (int round = 0; round < 30; round++)
        {
            FaultyOperatingSystem os = new();
            using ArenaProbe probe = new(16, o => (o.ThreadPages, o.Zones) = (round % 2 == 0, 2), os);
            List<uint[]> shares = [.. Enumerable.Range(0, 4).Select(t => probe.TakeMany(20, t))];
            System.Threading.Thread[] threads =
            [
                .. shares.Select(share => new System.Threading.Thread(() => probe.Free(share))),
                new System.Threading.Thread(probe.Dispose),
                new System.Threading.Thread(probe.Dispose),
            ];
            int before = os.Count(SystemCall.Unmap);
            Array.ForEach(threads, thread => thread.Start());
            Array.ForEach(threads, thread => thread.Join());
            Assert.True(probe.Arena.IsUnmapped);
            Assert.Equal(before + 3, os.Count(SystemCall.Unmap));
        }
    }

    [Fact]
    public void A_thread_that_used_a_disposed_arena_uses_the_next_one_as_any_other()
    {
        using ArenaProbe first = new(16, o => o.ThreadPages = true);
        first.Free(first.Take(0));
        first.Dispose();
        using ArenaProbe second = new(16, o => o.ThreadPages = true);
        second.Free(second.Take(0));
        Assert.Equal(64L << 12, second.Arena.GetStatistics().ThreadPagesBytes);
        Assert.Same(second.Arena, ThreadPages.Last!.Arena);
    }
}
