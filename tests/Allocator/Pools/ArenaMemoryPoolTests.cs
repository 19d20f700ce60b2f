using System;
using System.Buffers;
using System.Collections.Generic;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Pools;

public sealed class ArenaMemoryPoolTests : IDisposable
{
    private readonly PageArena arena = PageArena.Create(new PageArenaOptions
    {
        SizeBytes = 256 << 20,
        Zones = 1,
        Aeration = new AerationOptions { Enabled = false },
    });

    private readonly ArenaMemoryPool pool;

    public ArenaMemoryPoolTests() => pool = new ArenaMemoryPool(arena);

    public static TheoryData<int, int> Sizes => new()
    {
        { -1, 4096 }, { 0, 4096 }, { 1, 4096 }, { 4096, 4096 }, { 4097, 8192 }, { 12_288, 16_384 }, { 65_537, 131_072 },
        { (4 << 20) - 1, 4 << 20 }, { 4 << 20, 4 << 20 }, { (4 << 20) + 1, (4 << 20) + 4096 }, { 10_000_000, 10_002_432 },
    };

    public void Dispose()
    {
        pool.Dispose();
        arena.Verify();
        arena.Dispose();
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public void A_buffer_is_a_whole_block_that_can_be_written_to_its_last_byte(int asked, int length)
    {
        using IMemoryOwner<byte> owner = pool.Rent(asked);
        Assert.Equal(length, owner.Memory.Length);
        owner.Memory.Span.Fill(0xa5);
        Assert.Equal(-1, owner.Memory.Span.IndexOfAnyExcept((byte)0xa5));
        Assert.True(IsInArena(owner.Memory.Span));
        Assert.True(arena.GetStatistics().AllocatedBytes >= length);
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public void What_is_returned_is_free_again(int asked, int length)
    {
        long before = arena.GetStatistics().AllocatedBytes;
        IMemoryOwner<byte> owner = pool.Rent(asked);
        Assert.Equal(length, arena.GetStatistics().AllocatedBytes - before);
        owner.Dispose();
        Assert.Equal(before, arena.GetStatistics().AllocatedBytes);
    }

    [Theory]
    [InlineData(-2)]
    [InlineData(int.MinValue)]
    [InlineData((256 << 20) + 1)]
    [InlineData(int.MaxValue)]
    public void A_size_that_cannot_be_is_refused_with_the_sizes_that_can(int asked)
    {
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => pool.Rent(asked));
        Assert.Equal(("minBufferSize", asked), (error.ParamName, error.ActualValue));
        Assert.Contains($"{pool.MaxBufferSize}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_largest_buffer_is_the_arena_s_size()
    {
        Assert.Equal(256 << 20, pool.MaxBufferSize);
        Assert.Throws<ArgumentNullException>("arena", () => new ArenaMemoryPool(null!));
    }

    [Fact]
    public void Buffers_that_are_rented_at_one_time_share_no_byte()
    {
        var random = new Random(7);
        IMemoryOwner<byte>[] owners = [.. Enumerable.Range(0, 200).Select(i => pool.Rent(random.Next(1, 60_000)))];
        for (int i = 0; i < owners.Length; i++)
        {
            owners[i].Memory.Span.Fill((byte)i);
        }

        for (int i = 0; i < owners.Length; i++)
        {
            Assert.Equal(-1, owners[i].Memory.Span.IndexOfAnyExcept((byte)i));
            owners[i].Dispose();
        }

        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void Use_after_return_throws_by_every_way_in()
    {
        IMemoryOwner<byte> owner = pool.Rent();
        Memory<byte> kept = owner.Memory;
        Memory<byte> slice = kept[100..200];
        owner.Dispose();
        Assert.Throws<ObjectDisposedException>(() => owner.Memory);
        Assert.Throws<ObjectDisposedException>(() => kept.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => slice.Span.Length);
        Assert.Throws<ObjectDisposedException>(() => kept.Pin());
        Assert.False(MemoryMarshal.TryGetArray((ReadOnlyMemory<byte>)kept, out _));
    }

    [Fact]
    public void A_second_return_does_nothing_even_when_the_pool_has_been_used_since()
    {
        IMemoryOwner<byte> first = pool.Rent();
        first.Dispose();
        first.Dispose();
        IMemoryOwner<byte>[] later = [.. Enumerable.Range(0, ArenaMemoryPool.RestingMin).Select(i => pool.Rent())];
        first.Dispose();
        Assert.DoesNotContain(later, l => ReferenceEquals(l, first));
        Assert.Equal(later.Length * 4096L, arena.GetStatistics().AllocatedBytes);
        Assert.All(later, l => l.Dispose());
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void An_owner_serves_again_only_after_as_many_others_as_promised_were_returned()
    {
        IMemoryOwner<byte> first = pool.Rent();
        first.Dispose();
        int others = 0;
        for (IMemoryOwner<byte> next = pool.Rent(); !ReferenceEquals(next, first); next = pool.Rent())
        {
            next.Dispose();
            others++;
            Assert.True(others <= ArenaMemoryPool.RestingMin, "the first owner is never used again");
        }

        Assert.Equal(ArenaMemoryPool.RestingMin, others);
        first.Memory.Span.Fill(1);
        first.Dispose();
    }

    [Fact]
    public void Returning_from_many_threads_at_once_returns_once()
    {
        for (int round = 0; round < 200; round++)
        {
            IMemoryOwner<byte> owner = pool.Rent(8192);
            Together.Run(4, _ => owner.Dispose());
            Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        }

        arena.Verify();
    }

    [Fact]
    public void Threads_that_rent_and_return_for_each_other_lose_nothing()
    {
        var shared = new System.Collections.Concurrent.ConcurrentQueue<(IMemoryOwner<byte> Owner, byte Mark)>();
        Together.Run(4, thread =>
        {
            var random = new Random(thread);
            for (int i = 0; i < 5000; i++)
            {
                IMemoryOwner<byte> owner = pool.Rent(random.Next(1, 40_000));
                byte mark = (byte)random.Next(256);
                owner.Memory.Span.Fill(mark);
                shared.Enqueue((owner, mark));
                if (random.Next(8) != 0 && shared.TryDequeue(out (IMemoryOwner<byte> Owner, byte Mark) other))
                {
                    Assert.Equal(-1, other.Owner.Memory.Span.IndexOfAnyExcept(other.Mark));
                    other.Owner.Dispose();
                }
            }
        });
        while (shared.TryDequeue(out (IMemoryOwner<byte> Owner, byte Mark) rest))
        {
            rest.Owner.Dispose();
        }

        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public unsafe void A_pin_gives_the_address_of_its_element_and_outlives_the_return()
    {
        IMemoryOwner<byte> owner = pool.Rent();
        owner.Memory.Span.Fill(9);
        MemoryHandle whole = owner.Memory.Pin();
        MemoryHandle part = owner.Memory[100..].Pin();
        Assert.Equal(100, (byte*)part.Pointer - (byte*)whole.Pointer);
        Assert.True(Unsafe.AreSame(ref *(byte*)whole.Pointer, ref MemoryMarshal.GetReference(owner.Memory.Span)));

        owner.Dispose();
        owner.Dispose();
        Assert.Equal(4096, arena.GetStatistics().AllocatedBytes);
        Assert.Equal(9, *(byte*)part.Pointer);
        whole.Dispose();
        whole.Dispose();
        Assert.Equal(4096, arena.GetStatistics().AllocatedBytes);
        part.Dispose();
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void A_pin_ends_before_the_return_too_and_only_once()
    {
        IMemoryOwner<byte> owner = pool.Rent();
        owner.Memory.Pin().Dispose();
        var pinnable = (IPinnable)owner;
        Assert.Throws<InvalidOperationException>(pinnable.Unpin);
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => pinnable.Pin(4097));
        Assert.Equal("elementIndex", error.ParamName);
        Assert.Throws<ArgumentOutOfRangeException>(() => pinnable.Pin(-1));
        pinnable.Pin(4096).Dispose();
        owner.Dispose();
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void In_the_steady_state_renting_allocates_nothing_managed()
    {
        int[] sizes = [-1, 100_000, 5 << 20];
        Rounds(sizes, 3 * ArenaMemoryPool.RestingMin);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Rounds(sizes, 1000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_disposed_pool_rents_no_more_but_takes_back()
    {
        IMemoryOwner<byte> owner = pool.Rent();
        pool.Dispose();
        pool.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pool.Rent());
        owner.Memory.Span.Fill(3);
        owner.Dispose();
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void A_full_arena_says_so_and_serves_again_when_something_is_returned()
    {
        using var small = PageArena.Create(new PageArenaOptions { SizeBytes = 16 << 20, CapBytes = 8 << 20, MinFreeBytes = 0, Zones = 1 });
        using var narrow = new ArenaMemoryPool(small);
        var owners = new Stack<IMemoryOwner<byte>>();
        Assert.Throws<OutOfMemoryException>(() =>
        {
            for (int i = 0; i < 10_000; i++)
            {
                owners.Push(narrow.Rent());
            }
        });
        Assert.Throws<OutOfMemoryException>(() => narrow.Rent(9 << 20));
        Assert.InRange(owners.Count, 1, (8 << 20) / 4096);
        owners.Pop().Dispose();
        narrow.Rent().Dispose();
        Assert.All(owners, o => o.Dispose());
        small.Verify();
    }

    private void Rounds(int[] sizes, int count)
    {
        for (int i = 0; i < count; i++)
        {
            foreach (int size in sizes)
            {
                IMemoryOwner<byte> owner = pool.Rent(size);
                owner.Memory.Span[0] = 1;
                owner.Dispose();
            }
        }
    }

    private unsafe bool IsInArena(Span<byte> span)
    {
        byte* first = (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(span));
        return first >= arena.BaseAddress && first + span.Length <= arena.BaseAddress + arena.SizeBytes;
    }
}
