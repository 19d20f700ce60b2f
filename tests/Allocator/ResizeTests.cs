using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>TryResize: blocks and ranges that change their length where they lie.</summary>
public sealed class ResizeTests
{
    [Theory]
    [InlineData(10, 1024, 1ul, "U9:512 U8:256 U7:128 U6:64 U5:32 U4:16 U3:8 U2:4 U1:2 U0:1")]
    [InlineData(10, 1024, 513ul, "U8:768 U7:640 U6:576 U5:544 U4:528 U3:520 U2:516 U1:514 U0:513")]
    [InlineData(0, 3000, 2500ul, "U9:2560 U5:2528 U4:2512 U3:2504 U2:2500")]
    public void What_is_cut_off_is_free_at_once_and_the_rest_later(int order, ulong pages, ulong keep, string rest)
    {
        using ArenaProbe probe = new(16);
        uint block = order == 0 ? probe.TakeRange(pages) : probe.Take(order);
        Assert.True(Resize(probe, block, keep));
        Assert.Equal((long)keep << 12, probe.Arena.GetStatistics().AllocatedBytes);
        Assert.Equal(keep, probe.Arena.Budget.TakenPages);
        probe.Expect(rest);
        probe.Free(block);
        Assert.All(probe.Lists().Split(' '), list => Assert.StartsWith("U10:", list, StringComparison.Ordinal));
    }

    [Fact]
    public void It_grows_over_the_free_blocks_behind_it_and_into_what_was_never_used()
    {
        using ArenaProbe probe = new(16);
        uint block = probe.Take(3);
        Assert.True(Resize(probe, block, 700));
        probe.Expect("U8:768 U6:704 U2:700");
        Assert.True(Resize(probe, block, 1024));
        probe.Expect("");
        Assert.True(Resize(probe, block, 2500));
        Assert.Equal((2500L << 12, 2500ul), (probe.Arena.GetStatistics().AllocatedBytes, probe.Arena.Budget.TakenPages));
        Assert.True(Resize(probe, block, 4096));
        Assert.False(Resize(probe, block, 4097));
        Assert.Equal(4096L << 12, probe.Arena.GetStatistics().AllocatedBytes);
        probe.Free(block);
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
    }

    [Fact]
    public void What_lies_behind_and_is_in_use_isolated_or_another_zone_s_stops_it_and_nothing_has_changed()
    {
        using ArenaProbe probe = new(24, o => o.Zones = 3);
        uint first = probe.Take(9);
        uint second = probe.Take(9);
        Assert.Equal(first + 512, second);
        Refused(first, 513);
        probe.Free(second);
        Assert.True(probe.Arena.IsolatePageblock(second / 512));
        Refused(first, 513);
        Assert.True(probe.Arena.UnisolatePageblock(second / 512, MigrateType.Movable));
        uint[] behind = probe.TakeMany(1, 10);
        Refused(first, 1025); // in part: the pageblock behind is free, what follows is not
        probe.Free(behind);
        Refused(first, 2049);
        Assert.True(Resize(probe, first, 2048));

        void Refused(uint block, ulong pages)
        {
            string before = probe.Lists();
            (long, ulong) taken = (probe.Arena.GetStatistics().AllocatedBytes, probe.Arena.Budget.TakenPages);
            Assert.False(Resize(probe, block, pages));
            probe.Expect(before);
            Assert.Equal(taken, (probe.Arena.GetStatistics().AllocatedBytes, probe.Arena.Budget.TakenPages));
        }
    }

    [Fact]
    public void The_cap_and_the_reserve_bind_it_and_atomic_may_go_further()
    {
        using ArenaProbe probe = new(16, o => (o.CapBytes, o.MinFreeBytes) = (8 << 20, 1 << 20));
        uint block = probe.TakeRange(100);
        Assert.False(Resize(probe, block, 2049, AllocationFlags.Atomic));
        Assert.False(Resize(probe, block, 2048 - 255));
        Assert.True(Resize(probe, block, 2048 - 256));
        Assert.False(Resize(probe, block, 2048 - 255));
        Assert.True(Resize(probe, block, 2048 - 256 + 10, AllocationFlags.Atomic));
        probe.Arena.Verify();
    }

    [Fact]
    public void What_the_threads_keep_behind_it_is_given_up()
    {
        using ArenaProbe probe = new(8, o => o.ThreadPages = true);
        uint block = probe.Take(9);
        uint next = probe.Take(9);
        (block, next) = (Math.Min(block, next), Math.Max(block, next));
        probe.Free(next);
        Assert.NotEqual(0, probe.Arena.GetStatistics().ThreadPagesBytes);
        Assert.True(Resize(probe, block, 1024));
        Assert.Equal(1024L << 12, probe.Arena.GetStatistics().AllocatedBytes);
        probe.Free(block);
        probe.Arena.Verify();
    }

    [Fact]
    public unsafe void Its_contents_stay_and_what_is_added_reads_zero_where_that_is_asked_for()
    {
        using ArenaProbe probe = new(16);
        uint dirty = probe.TakeRange(2000);
        new Span<byte>(probe.AddressOf(dirty), 2000 << 12).Fill(0xee);
        probe.Free(dirty);
        uint block = probe.TakeRange(3);
        Assert.Equal(dirty, block);
        new Span<byte>(probe.AddressOf(block), 3 << 12).Fill(0x11);
        Assert.True(Resize(probe, block, 3000, AllocationFlags.Zeroed));
        Assert.Equal(-1, new Span<byte>(probe.AddressOf(block), 3 << 12).IndexOfAnyExcept((byte)0x11));
        Assert.Equal(-1, new Span<byte>(probe.AddressOf(block + 3), 2997 << 12).IndexOfAnyExcept((byte)0));
    }

    [Fact]
    public void Population_that_fails_takes_everything_back()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(16, os: os);
        uint block = probe.TakeRange(10);
        os.Fail(SystemCall.Advise, Errno.ENOMEM, advice: MemoryAdvice.PopulateWrite);
        Assert.False(Resize(probe, block, 2000, AllocationFlags.Populate));
        Assert.Equal((10L << 12, 10ul), (probe.Arena.GetStatistics().AllocatedBytes, probe.Arena.Budget.TakenPages));
        Assert.True(Resize(probe, block, 2000, AllocationFlags.Populate));
        Assert.Equal(2000L << 12, probe.Arena.GetStatistics().AllocatedBytes);
        probe.Arena.Verify();
    }

    [Fact]
    public unsafe void What_is_cut_off_is_poisoned_as_everything_freed()
    {
        using ArenaProbe probe = new(8, o => o.PoisonValue = 0xdeadbeef);
        uint block = probe.TakeRange(700);
        new Span<uint>(probe.AddressOf(block), 700 << 10).Fill(7);
        Assert.True(Resize(probe, block, 5));
        Assert.Equal(-1, new Span<uint>(probe.AddressOf(block), 5 << 10).IndexOfAnyExcept(7u));
        Assert.Equal(-1, new Span<uint>(probe.AddressOf(block + 5), 695 << 10).IndexOfAnyExcept(0xdeadbeef));
    }

    [Fact]
    public unsafe void What_is_no_head_of_a_live_block_is_refused()
    {
        using ArenaProbe probe = new(16);
        uint block = probe.TakeRange(10);
        probe.Free(block);
        Assert.Throws<ArgumentException>("block", () => Resize(probe, block, 20));
        Assert.Throws<ArgumentException>("block", () => probe.Arena.TryResize(null, 4096));
        block = probe.TakeRange(10);
        Assert.Throws<ArgumentException>("block", () => Resize(probe, block + 1, 2));
        Assert.Equal(10L << 12, probe.Arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void A_disposed_arena_shortens_and_does_not_lengthen()
    {
        ArenaProbe probe = new(16);
        uint block = probe.TakeRange(2000);
        probe.Dispose();
        Assert.Throws<ObjectDisposedException>(() => Resize(probe, block, 2001));
        Assert.True(Resize(probe, block, 2000));
        Assert.True(Resize(probe, block, 3));
        Assert.Equal(3ul, probe.Arena.Budget.TakenPages);
        probe.Free(block);
        Assert.True(probe.Arena.IsUnmapped);
    }

    private static unsafe bool Resize(ArenaProbe probe, uint block, ulong pages, AllocationFlags flags = AllocationFlags.None) =>
        probe.Arena.TryResize(probe.AddressOf(block), (nuint)pages << 12, flags);
}
