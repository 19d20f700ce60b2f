using System;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Allocator.Debugging;

/// <summary>Freed blocks in debug mode: closed while they are held back, looked at when they leave, told with both stacks.</summary>
public sealed class QuarantineTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData(ArenaBacking.Anonymous, HugePages.Never)]
    [InlineData(ArenaBacking.Anonymous, HugePages.Advise)]
    [InlineData(ArenaBacking.Memfd, HugePages.Never)]
    public unsafe void A_use_after_free_faults_at_once(ArenaBacking backing, HugePages huge)
    {
        using ArenaProbe probe = Checked(64, o => (o.Backing, o.HugePages) = (backing, huge));
        uint[] blocks = [probe.Take(0), probe.Take(3), probe.TakeRange(300), probe.Take(9)];
        uint live = probe.Take(0);
        foreach (uint block in blocks)
        {
            nint address = Use(probe, block);
            probe.Free(block);
            Assert.False(UserMemory.CanRead(address));
            Assert.False(UserMemory.TryWrite(address + 17, 1));
            Assert.StartsWith("---", UserMemory.Permissions(address), StringComparison.Ordinal);
        }

        Assert.True(UserMemory.TryWrite((nint)probe.AddressOf(live), 1));
        probe.Arena.Trim();
        Assert.All(blocks, block => Assert.True(UserMemory.TryWrite((nint)probe.AddressOf(block), 1))); // open again
        Assert.Equal(0, probe.Arena.GetStatistics().HeldBackBytes);
    }

    [Fact]
    public unsafe void Freed_memory_carries_the_pattern_or_the_poison_value()
    {
        foreach (uint? poison in new uint?[] { null, 0x1234_5678 })
        {
            using ArenaProbe probe = Checked(16, o => o.PoisonValue = poison);
            uint block = probe.Take(2);
            nint address = Use(probe, block);
            probe.Free(block);
            byte[] expected = BitConverter.GetBytes(poison ?? 0xdbdb_dbdb);
            Assert.All(UserMemory.Peek(address, 4 << 12).Chunk(4), word => Assert.Equal(expected, word));
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public unsafe void What_is_written_all_the_same_is_told_once_with_both_stacks_when_the_block_leaves(bool guarded)
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Checked(16, null, os);
        uint block = AllocateHere(probe, 1);
        if (!guarded)
        {
            os.FailAlways(SystemCall.Protect, Errno.ENOMEM);
        }

        FreeHere(probe, block);
        Assert.Equal(!guarded, UserMemory.CanRead((nint)probe.AddressOf(block)));
        UserMemory.Poke((nint)probe.AddressOf(block) + 5001, 7); // the kernel's own writes are stopped by nothing
        string said = Assert.Throws<InvalidOperationException>(probe.Arena.Trim).Message;
        Assert.Contains($"write after free: 0x{(nint)probe.AddressOf(block):x}, 8192 bytes, was changed at offset 5000", said, StringComparison.Ordinal);
        int allocated = said.IndexOf("Allocated:", StringComparison.Ordinal);
        int freed = said.IndexOf("Freed:", StringComparison.Ordinal);
        Assert.InRange(said.IndexOf(nameof(AllocateHere), StringComparison.Ordinal), allocated, freed);
        Assert.True(said.IndexOf(nameof(FreeHere), StringComparison.Ordinal) > freed, said);
        probe.Arena.Trim();
        Assert.Equal(0, probe.Arena.GetStatistics().AllocatedBytes);
        probe.Expect("U10:0");
    }

    [Fact]
    public unsafe void Where_pages_cannot_be_closed_Verify_and_the_next_frees_look_at_the_pattern()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Checked(16, o => o.QuarantineBytes = 16 << 12, os);
        os.FailAlways(SystemCall.Protect, Errno.ENOMEM);
        uint block = probe.Take(0);
        uint[] others = probe.TakeMany(16, 0);
        probe.Free(block);
        *(byte*)probe.AddressOf(block) = 1;
        string said = Assert.Throws<InvalidOperationException>(probe.Arena.Verify).Message;
        Assert.Contains("write after free", said, StringComparison.Ordinal);
        probe.Arena.Verify(); // told once
        probe.Free(others);
        uint second = probe.Take(0);
        uint[] more = probe.TakeMany(16, 0);
        probe.Free(second);
        *((byte*)probe.AddressOf(second) + 4095) = 1;
        Assert.Contains("offset 4092", Assert.Throws<InvalidOperationException>(() => probe.Free(more)).Message, StringComparison.Ordinal);
        Assert.True(probe.Arena.GetStatistics().AllocatedBytes < 16 << 12); // the one whose free told it is free
    }

    [Fact]
    public void A_double_free_names_the_stacks_of_the_allocation_and_of_the_first_free()
    {
        using ArenaProbe probe = Checked(16);
        uint block = AllocateHere(probe, 4);
        FreeHere(probe, block);
        foreach (Action settle in new Action[] { () => { }, probe.Arena.Trim })
        {
            settle(); // held back at first, on a free list later
            string said = Assert.Throws<ArgumentException>("block", () => probe.Free(block)).Message;
            Assert.Contains("it is free already", said, StringComparison.Ordinal);
            Assert.Contains(nameof(AllocateHere), said, StringComparison.Ordinal);
            Assert.Contains(nameof(FreeHere), said, StringComparison.Ordinal);
        }

        probe.Arena.Verify();
    }

    [Fact]
    public void Blocks_leave_in_the_order_of_coming_and_never_more_than_fit_are_held_back()
    {
        using ArenaProbe probe = Checked(64, o => o.QuarantineBytes = 10 << 12);
        uint[] blocks = probe.TakeMany(30, 0);
        for (int i = 0; i < blocks.Length; i++)
        {
            probe.Free(blocks[i]);
            ArenaStatistics now = probe.Arena.GetStatistics();
            Assert.Equal((Math.Min(i + 1, 10) << 12, (29 - i) << 12), (now.HeldBackBytes, now.AllocatedBytes));
            probe.Arena.Verify();
        }

        // The next to come are the first that left; the last ten are nobody's.
        uint[] again = probe.TakeMany(20, 0);
        Assert.Empty(again.Intersect(blocks[20..]));
        uint large = probe.Take(4);
        probe.Free(large);
        Assert.Equal(large, probe.Take(4)); // larger than the whole quarantine: not held back
    }

    [Fact]
    public void There_are_never_more_than_1024_blocks_in_it()
    {
        using ArenaProbe probe = Checked(64, o => o.QuarantineBytes = 64 << 20);
        probe.Free(probe.TakeMany(1500, 0));
        Assert.Equal(1024L << 12, probe.Arena.GetStatistics().HeldBackBytes);
        probe.Arena.Verify();
    }

    [Fact]
    public void What_is_held_back_comes_back_before_an_allocation_fails()
    {
        using ArenaProbe probe = Checked(16, o => o.QuarantineBytes = 16 << 20);
        for (int round = 0; round < 3; round++)
        {
            probe.Free(probe.TakeMany(4, 10));
            Assert.Equal(16L << 20, probe.Arena.GetStatistics().HeldBackBytes);
            uint range = probe.TakeRange(round == 0 ? 4096u : 3000);
            probe.Free(range);
        }

        probe.Arena.Verify();
    }

    [Fact]
    public void Who_waits_at_the_cap_gets_what_is_freed_at_once()
    {
        using ArenaProbe probe = Checked(8, o => (o.CapPolicy, o.CapTimeout, o.QuarantineBytes) = (CapPolicy.Wait, s_patience, 8 << 20));
        uint[] all = probe.TakeMany(2, 10);
        uint? got = null;
        Thread waiter = new(() => got = probe.TryTake(10)) { IsBackground = true };
        waiter.Start();
        Assert.True(SpinWait.SpinUntil(() => probe.Arena.Budget.HasWaiters, s_patience));
        probe.Free(all[1]);
        Assert.True(waiter.Join(s_patience));
        Assert.Equal(all[1], got);
    }

    [Fact]
    public unsafe void A_block_that_cannot_be_opened_again_stays_until_it_can()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Checked(16, null, os);
        uint block = probe.Take(0);
        probe.Free(block);
        os.Fail(SystemCall.Protect, Errno.ENOMEM);
        probe.Arena.Trim();
        Assert.Equal(4096, probe.Arena.GetStatistics().HeldBackBytes);
        Assert.False(UserMemory.CanRead((nint)probe.AddressOf(block)));
        probe.Arena.Verify();
        probe.Arena.Trim();
        probe.Expect("U10:0");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Dispose_lets_everything_go_that_is_held_back(bool threadPages)
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Checked(16, o => o.ThreadPages = threadPages, os);
        uint live = probe.Take(3);
        probe.Free(probe.TakeMany(10, 1));
        probe.Free(probe.TakeRange(100));
        probe.Dispose();
        Assert.False(probe.Arena.IsUnmapped);
        Assert.Throws<ArgumentException>("block", () => probe.Free(live + 1));
        probe.Free(live); // not held back any more
        Assert.True(probe.Arena.IsUnmapped);
        probe.Dispose();
    }

    [Fact]
    public void Dispose_unmaps_what_cannot_be_opened_again()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Checked(16, null, os);
        probe.Free(probe.TakeMany(3, 1));
        os.FailAlways(SystemCall.Protect, Errno.ENOMEM);
        probe.Dispose();
        Assert.True(probe.Arena.IsUnmapped);
    }

    [Fact]
    public unsafe void A_held_back_block_whose_head_says_something_else_is_found_by_Verify()
    {
        using ArenaProbe probe = Checked(16);
        uint block = probe.Take(2);
        probe.Free(block);
        Page* head = probe.Arena.Map[new Pfn(block)];
        head->State = PageState.Heap;
        Assert.Contains("held back", Assert.Throws<InvalidOperationException>(probe.Arena.Verify).Message, StringComparison.Ordinal);
        head->State = PageState.User;
        probe.Arena.Verify();
    }

    [Fact]
    public void Of_threads_that_free_one_block_at_once_exactly_one_gets_through_and_Verify_holds()
    {
        using ArenaProbe probe = Checked(16, o => (o.ThreadPages, o.QuarantineBytes) = (true, 8 << 12));
        const int Rounds = 300;
        uint block = 0;
        int freed = 0;
        using Barrier renewed = new(2, _ => block = probe.Take(0));
        using Barrier together = new(2);
        Thread[] threads = [.. Enumerable.Range(0, 2).Select(_ => new Thread(() =>
        {
            for (int round = 0; round < Rounds; round++)
            {
                renewed.SignalAndWait();
                if (Record.Exception(() => probe.Free(block)) is null)
                {
                    Interlocked.Increment(ref freed);
                }

                together.SignalAndWait();
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.Equal(Rounds, freed);
        probe.Arena.Trim();
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
        probe.Arena.Verify();
    }

    [Fact]
    public void Stacks_are_kept_in_bounded_memory_and_the_youngest_are_known()
    {
        StackKeeper keeper = new();
        nuint[] blocks = [.. Enumerable.Range(1, 50_000).Select(i => (nuint)i << 12)];
        Array.ForEach(blocks, keeper.Allocated);
        int known = blocks.Count(block => keeper.Find(block) is not null);
        Assert.InRange(known, 4000, StackKeeper.RecordsMax);
        Assert.NotNull(keeper.Find(blocks[^1])!.AllocatedAt);
        Assert.True(keeper.Find(blocks[^1])!.AllocatedAt!.FrameCount <= StackKeeper.FramesMax);
        Assert.Empty(keeper.Describe(16));
    }

    internal static ArenaProbe Checked(int mebibytes, Action<PageArenaOptions>? change = null, FaultyOperatingSystem? os = null) => new(mebibytes, o =>
    {
        o.DebugChecks = true;
        o.QuarantineBytes = o.CapBytes / 2;
        change?.Invoke(o);
    }, os);

    private static unsafe nint Use(ArenaProbe probe, uint block)
    {
        *(ulong*)probe.AddressOf(block) = 1;
        return (nint)probe.AddressOf(block);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static uint AllocateHere(ArenaProbe probe, int order) => probe.Take(order);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void FreeHere(ArenaProbe probe, uint block) => probe.Free(block);
}
