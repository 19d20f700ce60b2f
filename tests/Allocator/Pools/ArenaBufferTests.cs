using System;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Pools;

/// <summary>The base library's streams and accessors on arena memory.</summary>
public sealed class ArenaBufferTests : IDisposable
{
    private const long Large = (3L << 30) + 12_345;

    private readonly PageArena arena = PageArena.Create(new PageArenaOptions
    {
        SizeBytes = (nuint)8 << 30,
        CapBytes = (nuint)8 << 30,
        MinFreeBytes = 0,
        Zones = 1,
        HugePages = HugePages.Never,
        Aeration = new AerationOptions { Enabled = false },
    });

    private readonly ArenaBuffer[] buffers = new ArenaBuffer[1];

    public void Dispose()
    {
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        arena.Verify();
        arena.Dispose();
    }

    [Fact]
    public void A_stream_reads_writes_and_seeks_past_2_and_3_gibibytes()
    {
        using var buffer = new ArenaBuffer(arena, Large, AllocationFlags.Zeroed);
        using var stream = new UnmanagedMemoryStream(buffer, 0, (long)buffer.ByteLength, FileAccess.ReadWrite);
        long[] places = [0, 4095, (1L << 31) - 5, (1L << 31) + 100, (3L << 30) - 1, Large - 10];
        byte[] data = [.. Enumerable.Range(1, 10).Select(i => (byte)i)];
        foreach (long place in places)
        {
            stream.Seek(place, SeekOrigin.Begin);
            stream.Write(data);
            Assert.Equal(place + 10, stream.Position);
        }

        byte[] read = new byte[10];
        foreach (long place in places)
        {
            stream.Position = place;
            stream.ReadExactly(read);
            Assert.Equal(data, read);
        }

        stream.Seek(-10, SeekOrigin.End);
        Assert.Equal(10, stream.Read(new byte[20]));
        Assert.Equal(0, stream.Read(new byte[20]));
        stream.Position = Large - 3;
        Assert.Throws<NotSupportedException>(() => stream.Write(data));
        stream.Position = 2_500_000_000;
        Assert.Equal(0, stream.ReadByte());
        Assert.True(arena.GetStatistics().AllocatedBytes >= Large);
    }

    [Fact]
    public void The_bytes_are_the_arena_s_and_every_one_of_them_is_there()
    {
        using var buffer = new ArenaBuffer(arena, 10_000);
        Assert.Equal(10_000ul, buffer.ByteLength);
        using var stream = new UnmanagedMemoryStream(buffer, 0, 10_000, FileAccess.ReadWrite);
        byte[] data = new byte[10_000];
        new Random(1).NextBytes(data);
        stream.Write(data);
        unsafe
        {
            byte* address = (byte*)buffer.DangerousGetHandle();
            Assert.InRange((nuint)address, (nuint)arena.BaseAddress, (nuint)arena.BaseAddress + arena.SizeBytes - 10_000);
            Assert.True(data.AsSpan().SequenceEqual(new ReadOnlySpan<byte>(address, 10_000)));
        }

        using var accessor = new UnmanagedMemoryAccessor(buffer, 0, 10_000, FileAccess.ReadWrite);
        accessor.Write(9_992, 0x1122334455667788L);
        Assert.Equal(0x1122334455667788L, buffer.Read<long>(9_992));
        Assert.Throws<ArgumentException>(() => buffer.Read<long>(9_993));
    }

    [Fact]
    public void Disposed_it_frees_its_memory_once_and_the_stream_throws()
    {
        var buffer = new ArenaBuffer(arena, 5 << 20);
        var stream = new UnmanagedMemoryStream(buffer, 0, 5 << 20, FileAccess.ReadWrite);
        buffer.Dispose();
        buffer.Dispose();
        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
        Assert.Throws<ObjectDisposedException>(() => stream.WriteByte(1));
        Assert.Throws<ObjectDisposedException>(() => stream.ReadByte());
        stream.Dispose();
    }

    [Fact]
    public void Whoever_works_on_the_memory_keeps_it()
    {
        var buffer = new ArenaBuffer(arena, 4096);
        unsafe
        {
            byte* pointer = null;
            buffer.AcquirePointer(ref pointer);
            buffer.Dispose();
            pointer[4095] = 1;
            Assert.Equal(4096, arena.GetStatistics().AllocatedBytes);
            buffer.ReleasePointer();
        }

        Assert.Equal(0, arena.GetStatistics().AllocatedBytes);
    }

    [Fact]
    public void A_forgotten_one_is_freed_by_its_finalizer_and_one_that_a_stream_holds_is_not()
    {
        Forget();
        UnmanagedMemoryStream stream = StreamOnly();
        for (int i = 0; i < 2; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        Assert.Equal(8192, arena.GetStatistics().AllocatedBytes);
        stream.WriteByte(1);
        buffers[0].Dispose();
        stream.Dispose();
    }

    [Theory]
    [InlineData(0L)]
    [InlineData(-1L)]
    [InlineData((8L << 30) + 1)]
    [InlineData(long.MaxValue)]
    public void A_length_that_cannot_be_is_refused_with_what_can(long bytes)
    {
        var refused = Assert.Throws<ArgumentOutOfRangeException>(nameof(bytes), () => new ArenaBuffer(arena, bytes));
        Assert.Equal(bytes, refused.ActualValue);
        Assert.Contains("1 to 8589934592", refused.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentNullException>("arena", () => new ArenaBuffer(null!, bytes));
    }

    [Fact]
    public void One_that_could_not_be_made_leaves_nothing_behind()
    {
        using var most = new ArenaBuffer(arena, 6L << 30);
        Assert.Throws<OutOfMemoryException>(() => new ArenaBuffer(arena, 6L << 30));
        Assert.Throws<ArgumentOutOfRangeException>("flags", () => new ArenaBuffer(arena, 1, (AllocationFlags)64));
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Assert.Equal(6L << 30, arena.GetStatistics().AllocatedBytes);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Forget()
    {
        buffers[0] = new ArenaBuffer(arena, 100_000);
        Assert.False(buffers[0].IsInvalid);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private UnmanagedMemoryStream StreamOnly()
    {
        buffers[0] = new ArenaBuffer(arena, 8192);
        return new UnmanagedMemoryStream(buffers[0], 0, 8192, FileAccess.ReadWrite);
    }
}
