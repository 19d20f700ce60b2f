using System;
using System.Linq;
using System.Runtime.CompilerServices;
using LowLevel.Allocator;
using LowLevel.Tests.Allocator.Heap;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Allocator.Debugging;

/// <summary>A heap in debug mode: canaries, what is held back, stacks.</summary>
public sealed class HeapDebugTests
{
    public static TheoryData<int, int> Blocks => new()
    {
        { 0, 16 }, { 1, 16 }, { 15, 16 }, { 16, 16 }, { 100, 16 }, { 1000, 64 }, { 5000, 4096 },
        { 32_752, 16 }, { 32_768, 16 }, { 50_000, 16 }, { 65_536, 65_536 }, { 3, 32_768 },
    };

    [Theory]
    [MemberData(nameof(Blocks))]
    public unsafe void One_byte_past_the_end_is_told_by_the_free_with_the_stack_that_allocated(int bytes, int alignment)
    {
        using HeapProbe probe = Checked();
        nint block = AllocateHere(probe, bytes, alignment);
        Assert.Equal((0, bytes), (block % alignment, (int)probe.Usable(block)));
        new Span<byte>((void*)block, bytes).Fill(0xff);
        probe.Verify();
        ((byte*)block)[bytes] = 1;
        string said = Assert.Throws<InvalidOperationException>(() => probe.Free(block)).Message;
        Assert.Contains($"write past the end: 0x{block:x}, {bytes} bytes, was written to at offset {bytes}", said, StringComparison.Ordinal);
        Assert.Contains(nameof(AllocateHere), said, StringComparison.Ordinal);
        probe.Heap.Trim();
        Assert.Equal((0, 0), (probe.Heap.GetStatistics().AllocatedBytes, probe.ArenaAllocated)); // it is free all the same
        probe.Verify();
    }

    [Fact]
    public unsafe void It_is_told_by_Verify_and_by_Reallocate_too_and_once()
    {
        using HeapProbe probe = Checked();
        nint[] blocks = probe.TakeMany(3, 100);
        ((byte*)blocks[1])[107] = 1;
        Assert.Contains("offset 107", Assert.Throws<InvalidOperationException>(probe.Heap.Verify).Message, StringComparison.Ordinal);
        probe.Heap.Verify();
        ((byte*)blocks[2])[100] = 1;
        Assert.Contains("offset 100", Assert.Throws<InvalidOperationException>(() => probe.Resize(blocks[2], 90)).Message, StringComparison.Ordinal);
        probe.Free(blocks[1]);
    }

    [Fact]
    public unsafe void One_byte_before_a_block_is_told_when_it_is_freed()
    {
        using HeapProbe probe = Checked();
        nint[] blocks = [.. probe.TakeMany(3, 100).Order()];
        ((byte*)blocks[2])[-1] = 1;
        string said = Assert.Throws<InvalidOperationException>(() => probe.Free(blocks[2])).Message;
        Assert.Contains($"0x{blocks[1]:x}", said, StringComparison.Ordinal);
        Assert.Contains("or before the block behind it", said, StringComparison.Ordinal);
        probe.Free(blocks[1]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(100)]
    [InlineData(20_000)]
    public unsafe void A_write_into_a_freed_object_is_told_with_both_stacks_by_Verify_and_by_Trim(int bytes)
    {
        foreach (bool byVerify in new[] { true, false })
        {
            using HeapProbe probe = Checked();
            nint block = AllocateHere(probe, bytes, 16);
            FreeHere(probe, block);
            *(byte*)block = 1;
            string said = Assert.Throws<InvalidOperationException>(byVerify ? probe.Heap.Verify : probe.Heap.Trim).Message;
            Assert.Contains($"write after free: 0x{block:x}", said, StringComparison.Ordinal);
            Assert.Contains(nameof(AllocateHere), said, StringComparison.Ordinal);
            Assert.Contains(nameof(FreeHere), said, StringComparison.Ordinal);
            probe.Heap.Trim();
            probe.Verify();
        }
    }

    [Fact]
    public void What_was_freed_is_not_given_out_again_before_a_megabyte_came_after_it()
    {
        using HeapProbe probe = Checked();
        nint first = probe.Take(1000);
        probe.Free(first);
        for (int i = 0; i < 900; i++)
        {
            nint next = probe.Take(1000);
            Assert.NotEqual(first, next);
            probe.Free(next);
        }

        HeapStatistics now = probe.Heap.GetStatistics();
        Assert.InRange(now.HeldBackBytes, 900_000, 1 << 20);
        Assert.Equal(0, now.AllocatedBytes);
        probe.Verify();
        probe.Free(probe.TakeMany(5000, 16)); // as many as may be held back, and more
        Assert.InRange(probe.Heap.GetStatistics().HeldBackBytes, 4096 * 32, 1 << 20);
        probe.Heap.Trim();
        Assert.Equal((0, 0), (probe.Heap.GetStatistics().HeldBackBytes, probe.ArenaAllocated));
    }

    [Fact]
    public void A_double_free_names_both_stacks_however_late_it_is()
    {
        using HeapProbe probe = Checked();
        nint keeps = probe.Take(64);
        nint block = AllocateHere(probe, 64, 16);
        FreeHere(probe, block);
        foreach (Action settle in new Action[] { () => { }, probe.Heap.Trim })
        {
            settle();
            foreach (Action use in new Action[] { () => probe.Free(block), () => probe.Resize(block, 5), () => probe.Usable(block) })
            {
                string said = Assert.Throws<ArgumentException>(nameof(block), use).Message;
                Assert.Contains(nameof(AllocateHere), said, StringComparison.Ordinal);
                Assert.Contains(nameof(FreeHere), said, StringComparison.Ordinal);
            }
        }

        probe.Free(keeps);
        probe.Verify();
    }

    [Fact]
    public unsafe void A_freed_block_above_32_KiB_faults_and_so_does_what_a_disposed_heap_had()
    {
        using HeapProbe probe = Checked();
        nint whole = probe.Take(100_000);
        *(byte*)whole = 1;
        probe.Free(whole);
        Assert.False(UserMemory.TryWrite(whole, 1));
        nint small = probe.Take(16);
        Assert.True(UserMemory.TryWrite(small, 1));
        probe.Heap.Dispose();
        Assert.False(UserMemory.TryWrite(small, 1));
    }

    [Fact]
    public void What_is_held_back_comes_back_before_an_allocation_fails()
    {
        using HeapProbe probe = new(4, o => (o.DebugChecks, o.QuarantineBytes) = (true, 4 << 20));
        for (int round = 0; round < 4; round++)
        {
            nint[] blocks = probe.TakeMany(400, 8000);
            probe.Free(blocks);
            probe.Free(probe.Take(3_500_000));
        }

        probe.Verify();
    }

    [Fact]
    public void Sizes_that_leave_no_room_for_a_canary_are_refused_as_any_that_are_too_large()
    {
        using HeapProbe probe = Checked();
        foreach (nuint bytes in new[] { nuint.MaxValue, nuint.MaxValue - 15, nuint.MaxValue - 16, nuint.MaxValue / 2 })
        {
            Assert.Throws<OutOfMemoryException>(() => Allocate(probe, bytes));
        }

        probe.Verify();
    }

    private static unsafe void Allocate(HeapProbe probe, nuint bytes) => probe.Heap.Allocate(bytes);

    private static HeapProbe Checked() => new(64, o => o.DebugChecks = true);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint AllocateHere(HeapProbe probe, int bytes, int alignment) => probe.Take(bytes, alignment);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void FreeHere(HeapProbe probe, nint block) => probe.Free(block);
}
