using System;
using System.Buffers;
using System.Text;
using System.Text.Json;
using CsCheck;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Pools;

public sealed class ArenaBufferWriterTests : IDisposable
{
    private readonly PageArena arena = PageArena.Create(new PageArenaOptions
    {
        SizeBytes = 64 << 20,
        CapBytes = 64 << 20,
        MinFreeBytes = 0,
        Zones = 1,
        Aeration = new AerationOptions { Enabled = false },
    });

    private readonly ArenaMemoryPool pool;

    public ArenaBufferWriterTests() => pool = new ArenaMemoryPool(arena);

    public void Dispose()
    {
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        pool.Dispose();
        arena.Verify();
        arena.Dispose();
    }

    /// <summary>The base library's writer is the model: the same calls, the same bytes, the same refusals.</summary>
    [Fact]
    public void It_does_what_the_base_library_s_writer_does() =>
        Gen.Select(Gen.Int[0, 5], Gen.Int[-1, 9000], Gen.Byte).Array[1, 60].Sample(
            calls =>
            {
                var model = new ArrayBufferWriter<byte>();
                using var writer = new ArenaBufferWriter(pool);
                foreach ((int call, int number, byte fill) in calls)
                {
                    Assert.Equal(Do(model, call, number, fill, model.Clear, model.ResetWrittenCount, model.FreeCapacity)?.GetType(), Mine(writer, call, number, fill));
                    Assert.Equal(model.WrittenCount, writer.WrittenCount);
                    Assert.True(model.WrittenSpan.SequenceEqual(writer.WrittenSpan));
                    Assert.True(model.WrittenMemory.Span.SequenceEqual(writer.WrittenMemory.Span));
                    Assert.Equal(writer.Capacity, writer.WrittenCount + writer.FreeCapacity);
                    Assert.Equal(writer.Capacity, arena.GetStatistics().AllocatedBytes);
                }
            },
            iter: 300,
            threads: 1);

    [Fact]
    public void Nothing_is_rented_before_the_first_write_and_one_block_from_then_on()
    {
        using var writer = new ArenaBufferWriter(pool);
        Assert.Equal((0, 0L), (writer.Capacity, arena.GetStatistics().AllocatedBytes));
        Assert.True(writer.WrittenMemory.IsEmpty);
        int[] capacities = [4096, 8192, 16_384, 32_768, 65_536];
        foreach (int capacity in capacities)
        {
            writer.GetSpan()[0] = 1;
            Assert.Equal(capacity, writer.Capacity);
            Assert.Equal(capacity, arena.GetStatistics().AllocatedBytes);
            writer.Advance(writer.FreeCapacity);
        }

        Assert.Equal((10 << 20) + 65_536, writer.GetMemory(10 << 20).Length + writer.WrittenCount);
        writer.Advance(10 << 20);
        Assert.Equal(2 * ((10 << 20) + 65_536), writer.GetMemory(1).Length + writer.WrittenCount);
        Assert.Equal(writer.Capacity, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void Growing_takes_no_more_than_was_asked_for_where_twice_the_size_is_not_to_be_had()
    {
        using var writer = new ArenaBufferWriter(pool, 25 << 20);
        writer.GetSpan(25 << 20).Fill(7);
        writer.Advance(25 << 20);
        Assert.Equal(4096, writer.GetSpan(4096).Length);
        Assert.Equal((25 << 20) + 4096, writer.Capacity);
        Assert.Equal(-1, writer.WrittenSpan.IndexOfAnyExcept((byte)7));
    }

    [Fact]
    public void Where_the_arena_is_full_it_says_so_and_what_is_written_stays()
    {
        using var writer = new ArenaBufferWriter(pool, 40 << 20);
        writer.GetSpan()[..1000].Fill(8);
        writer.Advance(40 << 20);
        Assert.Contains("no range", Assert.Throws<OutOfMemoryException>(() => writer.GetSpan(1).Length).Message, StringComparison.Ordinal);
        string message = Assert.Throws<OutOfMemoryException>(() => writer.GetSpan(int.MaxValue).Length).Message;
        Assert.Contains("41943040 bytes are written, 2147483647 more would be 2189426687: a buffer has at most 67108864", message, StringComparison.Ordinal);
        Assert.Equal((40 << 20, 40 << 20), (writer.WrittenCount, writer.Capacity));
        Assert.Equal(-1, writer.WrittenSpan[..1000].IndexOfAnyExcept((byte)8));
        writer.ResetWrittenCount();
        writer.GetSpan(40 << 20)[0] = 1;
    }

    [Fact]
    public void It_holds_as_many_bytes_as_an_int_counts_and_not_one_more()
    {
        using PageArena large = PageArena.Create(new PageArenaOptions
        {
            SizeBytes = (nuint)8 << 30, CapBytes = (nuint)8 << 30, Zones = 1, Aeration = new AerationOptions { Enabled = false },
        });
        using var from = new ArenaMemoryPool(large);
        Assert.Equal(int.MaxValue, from.MaxBufferSize);
        using (var writer = new ArenaBufferWriter(from, int.MaxValue))
        {
            writer.Advance(int.MaxValue - 1);
            writer.GetSpan()[0] = 0x5a;
            writer.Advance(1);
            Assert.Equal((int.MaxValue, 0), (writer.WrittenCount, writer.FreeCapacity));
            Assert.Equal(0x5a, writer.WrittenSpan[^1]);
            Assert.Contains("2147483648", Assert.Throws<OutOfMemoryException>(() => writer.GetSpan()).Message, StringComparison.Ordinal);
            Assert.Throws<InvalidOperationException>(() => writer.Advance(1));
            Assert.Equal(int.MaxValue, writer.WrittenCount);
        }

        Assert.Equal(0, large.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void Memory_from_before_it_grew_throws_and_a_pin_of_it_holds_it()
    {
        using var writer = new ArenaBufferWriter(pool);
        Memory<byte> before = writer.GetMemory();
        using (MemoryHandle pin = before.Pin())
        {
            before.Span[0] = 77;
            writer.Advance(4096);
            writer.GetMemory();
            Assert.Throws<ObjectDisposedException>(() => before.Span[0]);
            unsafe
            {
                Assert.Equal(77, *(byte*)pin.Pointer);
            }

            Assert.Equal(4096 + 8192, arena.GetStatistics().AllocatedBytes);
        }

        Assert.Equal(8192, arena.GetStatistics().AllocatedBytes);
        Assert.Equal(77, writer.WrittenSpan[0]);
    }

    [Fact]
    public void Clear_wipes_what_is_written_and_reset_does_not()
    {
        using var writer = new ArenaBufferWriter(pool);
        writer.GetSpan(100)[..100].Fill(9);
        writer.Advance(50);
        writer.ResetWrittenCount();
        Assert.Equal(9, writer.GetSpan()[49]);
        writer.Advance(50);
        writer.Clear();
        Assert.Equal((0, 0, 9), (writer.WrittenCount, writer.GetSpan()[49], writer.GetSpan()[50]));
    }

    [Fact]
    public void Bad_arguments_are_told_with_what_is_allowed_and_change_nothing()
    {
        Assert.Throws<ArgumentNullException>("pool", () => new ArenaBufferWriter(null!));
        foreach (int capacity in new[] { -1, int.MinValue, (64 << 20) + 1 })
        {
            var refused = Assert.Throws<ArgumentOutOfRangeException>("initialCapacity", () => new ArenaBufferWriter(pool, capacity));
            Assert.Equal(capacity, refused.ActualValue);
            Assert.Contains("0 to 67108864", refused.Message, StringComparison.Ordinal);
        }

        using var writer = new ArenaBufferWriter(pool, 1);
        Assert.Throws<ArgumentOutOfRangeException>("sizeHint", () => writer.GetMemory(-1));
        Assert.Throws<ArgumentOutOfRangeException>("count", () => writer.Advance(-1));
        Assert.Contains("room for 4096", Assert.Throws<InvalidOperationException>(() => writer.Advance(4097)).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => writer.Advance(int.MaxValue));
        writer.Advance(4096);
        Assert.Equal(4096, writer.WrittenCount);
    }

    [Fact]
    public void After_dispose_everything_throws_but_dispose()
    {
        var writer = new ArenaBufferWriter(pool, 10);
        Memory<byte> memory = writer.GetMemory();
        writer.Advance(3);
        ReadOnlyMemory<byte> written = writer.WrittenMemory;
        writer.Dispose();
        writer.Dispose();
        Action[] uses =
        [
            () => writer.GetMemory(), () => writer.GetSpan(), () => writer.Advance(0), writer.Clear, writer.ResetWrittenCount,
            () => _ = writer.WrittenMemory, () => _ = writer.WrittenSpan, () => _ = memory.Span, () => _ = written.Span,
        ];
        Assert.All(uses, use => Assert.Throws<ObjectDisposedException>(use));
        Assert.Equal((0, 0, 0), (writer.WrittenCount, writer.Capacity, writer.FreeCapacity));
    }

    [Fact]
    public void The_base_library_s_writers_write_to_it()
    {
        using var writer = new ArenaBufferWriter(pool);
        using (var json = new Utf8JsonWriter(writer))
        {
            json.WriteStartArray();
            for (int i = 0; i < 5000; i++)
            {
                json.WriteStringValue($"number {i}");
            }

            json.WriteEndArray();
        }

        using JsonDocument read = JsonDocument.Parse(writer.WrittenMemory);
        Assert.Equal((5000, "number 4999"), (read.RootElement.GetArrayLength(), read.RootElement[4999].GetString()));
        writer.ResetWrittenCount();
        Encoding.UTF8.GetBytes("\u00fc", writer);
        Assert.Equal([0xc3, 0xbc], writer.WrittenSpan.ToArray());
    }

    /// <summary>The kind of exception that a call to our writer throws, after the same state and free room as the model's: how much room there
    /// is beyond what was asked for is each writer's own.</summary>
    private static Type? Mine(ArenaBufferWriter writer, int call, int number, byte fill)
    {
        Exception? thrown = Do(writer, call, number, fill, writer.Clear, writer.ResetWrittenCount, writer.FreeCapacity);
        return thrown is ArgumentOutOfRangeException ? typeof(ArgumentException) : thrown?.GetType();
    }

    private static Exception? Do(IBufferWriter<byte> writer, int call, int number, byte fill, Action clear, Action reset, int room)
    {
        switch (call)
        {
            case 0 or 1 or 2:
                return Record.Exception(() =>
                {
                    int wanted = Math.Max(number, 1);
                    Span<byte> span = call == 0 ? writer.GetMemory(number).Span : writer.GetSpan(number);
                    Assert.True(span.Length >= wanted);
                    span[..wanted].Fill(fill);
                    writer.Advance(wanted);
                });
            case 3:
                return Record.Exception(() => writer.Advance(number < 0 ? -1 : room + 1));
            case 4:
                clear();
                return null;
            default:
                reset();
                return null;
        }
    }
}
