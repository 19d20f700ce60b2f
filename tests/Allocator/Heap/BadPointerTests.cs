using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Heap;

/// <summary>Pointers that are none of the heap's: each throws, says why, and changes nothing.</summary>
public sealed class BadPointerTests
{
    public static TheoryData<bool, int> Heaps => new()
    {
        { false, 16 }, { false, 48 }, { false, 6656 }, { false, 26_624 }, { false, 50_000 },
        { true, 16 }, { true, 48 }, { true, 6656 }, { true, 26_624 }, { true, 50_000 },
    };

    [Theory]
    [MemberData(nameof(Heaps))]
    public void Foreign_interior_and_misaligned_pointers_are_refused(bool checks, int bytes)
    {
        using HeapProbe probe = new(64, o => o.DebugChecks = checks);
        using ArenaProbe otherArena = new(8);
        using NativeHeap sibling = new(probe.Arena);
        nint[] blocks = probe.TakeMany(40, bytes);
        nint page = (nint)Address(probe.Pages.Take(4), probe.Pages);
        nint foreign;
        unsafe
        {
            foreign = (nint)sibling.Allocate((nuint)bytes);
        }

        string before = Figures(probe);
        int sizeClass = bytes > SizeClasses.MaxBytes ? 0 : SizeClasses.For(bytes, 16);
        nint slab = blocks[0] & ~(nint)((1 << (12 + SizeClasses.Order(sizeClass))) - 1);
        nint tail = slab + (SizeClasses.Capacity(sizeClass) * SizeClasses.Bytes(sizeClass)); // a multiple of the size, and no object
        List<nint> bad =
        [
            .. blocks.SelectMany(b => new[] { b + 1, b + 8, b - 1, b + bytes - 1 }),
            bytes > SizeClasses.MaxBytes ? blocks[0] + 4096 : tail, blocks[0] + (bytes > 16 ? 16 : 4),
            page, page + 4096, foreign, Address(otherArena.Take(0), otherArena),
            probe.Arena.SizeBytes is nuint size ? Address(0, probe.Pages) + (nint)size : 0, Address(0, probe.Pages) - 16, 16, -16,
        ];
        foreach (nint pointer in bad)
        {
            string said = Assert.Throws<ArgumentException>("block", () => probe.Free(pointer)).Message;
            Assert.Contains($"0x{pointer:x}", said, StringComparison.Ordinal);
            Assert.Throws<ArgumentException>("block", () => probe.Usable(pointer));
            Assert.Throws<ArgumentException>("block", () => probe.Resize(pointer, 10));
        }

        Assert.Equal(before, Figures(probe));
        probe.Verify();
        probe.Free(blocks);
    }

    [Theory]
    [MemberData(nameof(Heaps))]
    public void What_was_freed_last_cannot_be_freed_again(bool checks, int bytes)
    {
        using HeapProbe probe = new(64, o => o.DebugChecks = checks);
        nint[] blocks = probe.TakeMany(10, bytes);
        probe.Free(blocks[4]);
        string before = Figures(probe);
        Assert.Throws<ArgumentException>("block", () => probe.Free(blocks[4]));
        Assert.Equal(before, Figures(probe));
        probe.Verify();
    }

    [Fact]
    public void With_checks_everything_that_is_free_is_known_to_be()
    {
        using HeapProbe probe = new(64, o => o.DebugChecks = true);
        nint[] blocks = probe.TakeMany(100, 80);
        probe.Free(blocks[..50]);
        Assert.All(blocks[..50], block => Assert.Throws<ArgumentException>(nameof(block), () => probe.Free(block)));
        probe.Free(blocks[50..]);
        Assert.All(blocks, block => Assert.Throws<ArgumentException>(nameof(block), () => probe.Free(block)));
        probe.Heap.Trim();
        Assert.Equal(0, probe.ArenaAllocated);
        Assert.All(blocks, block => Assert.Throws<ArgumentException>(nameof(block), () => probe.Free(block)));
    }

    [Fact]
    public void A_double_free_that_was_not_seen_is_told_when_it_comes_back_to_its_slab()
    {
        using HeapProbe probe = new();
        int high = SizeClasses.SheafEntries(SizeClasses.For(16, 16));
        nint[] blocks = probe.TakeMany(high * 2, 16);
        probe.Heap.Trim();
        probe.Free(blocks[0]);
        probe.Free(blocks[1]);
        probe.Free(blocks[0]);
        probe.Free(blocks[2..(high - 1)]);
        string said = Assert.Throws<InvalidOperationException>(() => probe.Free(blocks[high - 1])).Message;
        Assert.Contains($"0x{blocks[0]:x}", said, StringComparison.Ordinal);
        probe.Verify(); // the batch went back, the double one once
        probe.Free(blocks[high..]);
        probe.Heap.Trim();
        Assert.Equal(0, probe.ArenaAllocated);
    }

    [Fact]
    public unsafe void The_arena_does_not_free_what_a_heap_has()
    {
        using HeapProbe probe = new();
        nint small = probe.Take(16);
        nint whole = probe.Take(65_536);
        nint slab = small & ~0xffff;
        foreach (nint block in new[] { slab, whole, slab + 4096 })
        {
            Assert.Throws<ArgumentException>("block", () => probe.Arena.FreePages((void*)block));
        }

        Assert.Contains("a heap has it", Assert.Throws<ArgumentException>(() => probe.Arena.FreePages((void*)whole)).Message, StringComparison.Ordinal);
        probe.Verify();
        probe.Free(small);
        probe.Free(whole);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void To_reallocate_what_was_freed_throws_and_takes_nothing(bool checks)
    {
        using HeapProbe probe = new(64, o => o.DebugChecks = checks);
        nint block = probe.Take(100);
        probe.Take(3000);
        probe.Free(block);
        string before = Figures(probe);
        long allocated = probe.Heap.GetStatistics().AllocatedBytes;
        Assert.Throws<ArgumentException>(nameof(block), () => probe.Resize(block, 3000));
        Assert.Equal(allocated, probe.Heap.GetStatistics().AllocatedBytes);
        Assert.True(!checks || before == Figures(probe), Figures(probe));
        probe.Verify();
    }

    [Fact]
    public void Null_is_freed_without_effect_and_has_no_size()
    {
        using HeapProbe probe = new();
        probe.Free(0);
        Assert.Throws<ArgumentException>("block", () => probe.Usable(0));
    }

    private static unsafe nint Address(uint page, ArenaProbe probe) => (nint)probe.AddressOf(page);

    private static string Figures(HeapProbe probe) => $"{probe.Heap.GetStatistics()} {probe.ArenaAllocated}";
}
