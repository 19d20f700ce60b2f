using System;
using LowLevel.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Virtio;

public sealed class GuestMemoryTests
{
    private static readonly GuestMemory Memory = new(new GuestRegion(0x9000, 0x1000, 0x70000), new GuestRegion(0, 0x4000, 0x10000));

    [Theory]
    [InlineData(0ul, 1ul, 0x10000)]
    [InlineData(0ul, 0x4000ul, 0x10000)]
    [InlineData(0x3fffUL, 1ul, 0x13fff)]
    [InlineData(0x9000ul, 0x1000ul, 0x70000)]
    [InlineData(0x9fffUL, 1ul, 0x70fff)]
    public unsafe void A_range_inside_a_region_is_translated(ulong address, ulong length, int host)
    {
        Assert.True(Memory.TryTranslate(address, length, out byte* found));
        Assert.Equal(host, (nint)found);
    }

    [Theory]
    [InlineData(0ul, 0ul)]
    [InlineData(0ul, 0x4001ul)]
    [InlineData(0x3fffUL, 2ul)]
    [InlineData(0x4000ul, 1ul)]
    [InlineData(0x8fffUL, 2ul)]
    [InlineData(0x8fffUL, 1ul)]
    [InlineData(0xa000ul, 1ul)]
    [InlineData(0x1000ul, ulong.MaxValue)]
    [InlineData(0x1000ul, ulong.MaxValue - 0xfff)]
    [InlineData(ulong.MaxValue, 1ul)]
    [InlineData(ulong.MaxValue, ulong.MaxValue)]
    public unsafe void A_range_that_leaves_its_region_or_wraps_is_not(ulong address, ulong length)
    {
        Assert.False(Memory.TryTranslate(address, length, out byte* found));
        Assert.True(found == null);
    }

    [Fact]
    public void Regions_are_sorted_and_bad_ones_refused()
    {
        Assert.Equal([0ul, 0x9000ul], [Memory.Regions[0].Address, Memory.Regions[1].Address]);
        Assert.Throws<ArgumentException>(() => new GuestMemory(new GuestRegion(0, 0, 1)));
        Assert.Throws<ArgumentException>(() => new GuestMemory(new GuestRegion(0, 1, 0)));
        Assert.Throws<ArgumentException>(() => new GuestMemory(new GuestRegion(2, ulong.MaxValue, 1)));
        Assert.Throws<ArgumentException>(() => new GuestMemory(new GuestRegion(0, 0x1001, 1), new GuestRegion(0x1000, 1, 1)));
    }

    [Theory]
    [InlineData(1, 16, 8, 14, 24, 48)]
    [InlineData(2, 32, 10, 22, 44, 80)]
    [InlineData(256, 4096, 518, 2054, 4616, 6672)]
    [InlineData(32768, 524288, 65542, 262150, 589832, 851984)]
    public void The_parts_of_a_queue_have_the_sizes_of_the_standard(int size, int descriptors, int available, int used, int usedAt, int total)
    {
        VirtqueueLayout layout = new(size);
        Assert.Equal((descriptors, available, used), (layout.DescriptorBytes, layout.AvailableBytes, layout.UsedBytes));
        Assert.Equal((usedAt, total), (layout.UsedOffset, layout.TotalBytes));
        Assert.Equal(new VirtqueueAddresses(4096, 4096ul + (ulong)descriptors, 4096ul + (ulong)usedAt), layout.PlaceAt(4096));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-2)]
    [InlineData(3)]
    [InlineData(65536)]
    [InlineData(int.MinValue)]
    public void A_size_that_is_no_power_of_two_up_to_32768_is_refused(int size)
    {
        Assert.False(VirtqueueLayout.IsValidSize(size));
        Assert.Contains("power of two", Assert.Throws<ArgumentOutOfRangeException>(() => new VirtqueueLayout(size)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(8, 0, 0)]
    [InlineData(0, 1, 0)]
    [InlineData(0, 0, 2)]
    public void A_misaligned_part_is_not_mapped(int descriptors, int available, int used)
    {
        using RingFixture fixture = new(4);
        VirtqueueAddresses at = new(
            fixture.Addresses.Descriptors + (ulong)descriptors, fixture.Addresses.Available + (ulong)available, fixture.Addresses.Used + (ulong)used);
        Assert.False(SplitRing.TryMap(fixture.Memory, 4, at, out _));
        Assert.True(SplitRing.TryMap(fixture.Memory, 4, fixture.Addresses, out _));
        Assert.False(SplitRing.TryMap(fixture.Memory, 5, fixture.Addresses, out _));
    }

    [Fact]
    public void A_ring_that_ends_one_byte_behind_its_region_is_not_mapped()
    {
        using RingFixture fixture = new(4);
        ulong end = RingFixture.ControlAddress + RingFixture.ControlBytes;
        VirtqueueLayout layout = new(4);
        ulong last = end - (ulong)layout.UsedBytes;
        Assert.False(SplitRing.TryMap(fixture.Memory, 4, fixture.Addresses with { Used = (last & ~3ul) + 4 }, out _));
        Assert.True(SplitRing.TryMap(fixture.Memory, 4, fixture.Addresses with { Used = last & ~3ul }, out _));
    }
}
