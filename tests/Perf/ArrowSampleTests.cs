using System;
using System.Buffers;
using System.IO;
using Apache.Arrow;
using LowLevel.Allocator;
using LowLevel.Samples.Arrow;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>Apache Arrow on an arena: the sample, run.</summary>
public sealed class ArrowSampleTests : IDisposable
{
    private readonly PageArena arena = PageArena.Create(new PageArenaOptions { SizeBytes = 1 << 30, Zones = 1 });
    private readonly ArenaMemoryPool pool;
    private readonly ArenaArrowAllocator allocator;

    public ArrowSampleTests()
    {
        pool = new ArenaMemoryPool(arena);
        allocator = new ArenaArrowAllocator(pool);
    }

    public void Dispose()
    {
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        arena.Verify();
        pool.Dispose();
        arena.Dispose();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1000)]
    [InlineData(300_000)]
    public void A_table_goes_to_a_stream_and_back_and_the_arena_has_everything_back(int rows)
    {
        using var log = new StringWriter();
        Assert.True(Program.RoundTrip(arena, allocator, rows, log), log.ToString());
        Assert.Contains($"{rows} rows", log.ToString(), StringComparison.Ordinal);
        Assert.EndsWith("closed: 0 bytes in the arena" + Environment.NewLine, log.ToString(), StringComparison.Ordinal);
        Assert.True(allocator.Statistics.BytesAllocated >= rows * 8L);
    }

    [Fact]
    public void The_columns_lie_in_the_arena()
    {
        using RecordBatch table = Program.Build(allocator, 5000);
        var numbers = (Int64Array)table.Column("number");
        Assert.InRange(arena.GetStatistics().AllocatedBytes, 5000 * 8, 1 << 20);
        unsafe
        {
            fixed (long* first = numbers.Values)
            {
                Assert.InRange((nuint)first, (nuint)arena.BaseAddress, (nuint)arena.BaseAddress + arena.SizeBytes);
                Assert.Equal((nuint)0, (nuint)first % 64);
            }
        }
    }

    [Fact]
    public void A_buffer_is_zero_has_the_length_that_was_asked_for_and_may_be_disposed_at_any_later_time()
    {
        IMemoryOwner<byte> dirty = pool.Rent(10_000);
        dirty.Memory.Span.Fill(0xff);
        dirty.Dispose();
        IMemoryOwner<byte> owner = allocator.Allocate(9000);
        Assert.Equal(9000, owner.Memory.Length);
        Assert.Equal(-1, owner.Memory.Span.IndexOfAnyExcept((byte)0));
        owner.Dispose();
        for (int i = 0; i < 200; i++)
        {
            using IMemoryOwner<byte> other = allocator.Allocate(100);
            owner.Dispose();
            other.Memory.Span.Fill(1);
        }

        Assert.Throws<ObjectDisposedException>(() => owner.Memory);
        Assert.Equal(0, allocator.Allocate(0).Memory.Length);
    }

    [Fact]
    public void A_full_arena_is_told_by_arrow_s_caller_too()
    {
        using PageArena small = PageArena.Create(new PageArenaOptions { SizeBytes = 8 << 20, CapBytes = 8 << 20, Zones = 1 });
        using var narrow = new ArenaMemoryPool(small);
        Assert.Throws<OutOfMemoryException>(() => Program.Build(new ArenaArrowAllocator(narrow), 700_000));
    }
}
