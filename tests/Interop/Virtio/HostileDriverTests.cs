using System;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.Virtio;

/// <summary>What no driver may put on a ring, and that the device names it, stops, and does nothing else.</summary>
public sealed class HostileDriverTests : IDisposable
{
    private const DescriptorFlags Next = DescriptorFlags.Next;
    private const DescriptorFlags Write = DescriptorFlags.Write;
    private const DescriptorFlags Indirect = DescriptorFlags.Indirect;

    private readonly RingFixture _ring = new(4, indirect: true);

    public void Dispose() => _ring.Dispose();

    [Fact]
    public void A_chain_that_loops_ends() => Refused(
        ChainFault.ChainTooLong, r =>
        {
            r.Describe(0, 0, 16, Next, 1);
            r.Describe(1, 16, 16, Next, 0);
        });

    [Fact]
    public void A_descriptor_that_follows_itself_ends() => Refused(ChainFault.ChainTooLong, r => r.Describe(0, 0, 16, Next, 0));

    [Fact]
    public void An_indirect_chain_that_loops_ends() => Refused(
        ChainFault.ChainTooLong, r =>
        {
            r.Describe(0, RingFixture.TablesAddress, 32, Indirect);
            r.DescribeIndirect(0, 0, 16, Next, 1);
            r.DescribeIndirect(1, 0, 16, Next, 0);
        });

    [Fact]
    public void An_indirect_chain_longer_than_the_queue_is_refused() => Refused(
        ChainFault.ChainTooLong, r =>
        {
            r.Describe(0, RingFixture.TablesAddress, 5 * 16, Indirect);
            for (int i = 0; i < 5; i++)
            {
                r.DescribeIndirect(i, 0, 16, i < 4 ? Next : 0, (ushort)(i + 1));
            }
        });

    [Fact]
    public void A_head_out_of_range_is_refused() => Refused(ChainFault.HeadOutOfRange, _ => { }, head: 4);

    [Fact]
    public void A_next_out_of_range_is_refused() => Refused(ChainFault.NextOutOfRange, r => r.Describe(0, 0, 16, Next, 4));

    [Fact]
    public void A_next_out_of_an_indirect_table_is_refused() => Refused(
        ChainFault.NextOutOfRange, r =>
        {
            r.Describe(0, RingFixture.TablesAddress, 16, Indirect);
            r.DescribeIndirect(0, 0, 16, Next, 1);
        });

    [Theory]
    [InlineData(RingFixture.ArenaBytes, 1u)]
    [InlineData(RingFixture.ArenaBytes - 1, 2u)]
    [InlineData(0, uint.MaxValue)]
    [InlineData(ulong.MaxValue, 16u)]
    [InlineData(ulong.MaxValue - 15, 16u)]
    [InlineData(ulong.MaxValue - 14, 16u)]
    [InlineData(RingFixture.ControlAddress - 1, 2u)]
    public void A_wild_address_is_refused(ulong address, uint length) =>
        Refused(ChainFault.BufferOutOfRange, r => r.Describe(0, address, length, Write));

    [Fact]
    public void A_buffer_of_nothing_is_refused() => Refused(ChainFault.BufferEmpty, r => r.Describe(0, 0, 0));

    [Fact]
    public void A_readable_buffer_behind_a_writable_one_is_refused() => Refused(
        ChainFault.ReadableAfterWritable, r =>
        {
            r.Describe(0, 0, 16, Write | Next, 1);
            r.Describe(1, 16, 16);
        });

    [Fact]
    public void Indirect_with_next_is_refused() => Refused(
        ChainFault.IndirectWithNext, r => r.Describe(0, RingFixture.TablesAddress, 16, Indirect | Next, 1));

    [Fact]
    public void A_table_in_a_table_is_refused() => Refused(
        ChainFault.IndirectNested, r =>
        {
            r.Describe(0, RingFixture.TablesAddress, 16, Indirect);
            r.DescribeIndirect(0, RingFixture.TablesAddress, 16, Indirect);
        });

    [Theory]
    [InlineData(0u)]
    [InlineData(15u)]
    [InlineData(17u)]
    [InlineData(uint.MaxValue)]
    public void A_table_of_no_whole_number_of_descriptors_is_refused(uint length) =>
        Refused(ChainFault.IndirectLength, r => r.Describe(0, RingFixture.TablesAddress, length, Indirect));

    [Theory]
    [InlineData(ulong.MaxValue - 15, 16u)]
    [InlineData(RingFixture.ControlAddress + RingFixture.ControlBytes - 16, 32u)]
    [InlineData(0, 0xfffffff0u)]
    public void A_table_outside_guest_memory_is_refused(ulong address, uint length) =>
        Refused(ChainFault.IndirectOutOfRange, r => r.Describe(0, address, length, Indirect));

    [Fact]
    public void A_table_that_nobody_negotiated_is_refused()
    {
        using RingFixture plain = new(4, indirect: false);
        plain.Describe(0, RingFixture.TablesAddress, 16, Indirect);
        plain.DescribeIndirect(0, 0, 16);
        plain.Offer(0);
        Assert.False(plain.Device.TryTake(plain.Chain));
        Assert.Equal(ChainFault.IndirectNotNegotiated, plain.Device.Fault);
    }

    [Fact]
    public void An_index_that_jumps_is_refused()
    {
        _ring.Describe(0, 0, 16);
        _ring.SetAvailableIndex(5);
        Assert.False(_ring.Device.TryTake(_ring.Chain));
        Assert.Equal(ChainFault.AvailableIndexAhead, _ring.Device.Fault);
    }

    [Fact]
    public void An_index_that_goes_back_is_refused()
    {
        _ring.Describe(0, 0, 16);
        _ring.Offer(0);
        Assert.True(_ring.Device.TryTake(_ring.Chain));
        _ring.SetAvailableIndex(0);
        Assert.False(_ring.Device.TryTake(_ring.Chain));
        Assert.Equal(ChainFault.AvailableIndexAhead, _ring.Device.Fault);
    }

    [Fact]
    public void Plain_buffers_before_one_table_are_taken_and_the_tables_write_flag_means_nothing()
    {
        _ring.Describe(2, 64, 8, Next, 3);
        _ring.Describe(3, RingFixture.TablesAddress, 32, Indirect | Write);
        _ring.DescribeIndirect(0, 128, 8, Next, 1);
        _ring.DescribeIndirect(1, 256, 24, Write);
        _ring.Offer(2);
        Assert.True(_ring.Device.TryTake(_ring.Chain));
        Assert.Equal((2, 3, 16ul, 24ul), (_ring.Chain.Head, _ring.Chain.Buffers.Length, _ring.Chain.ReadableBytes, _ring.Chain.WritableBytes));
    }

    [Fact]
    public void Overlapping_buffers_are_two_buffers()
    {
        _ring.Describe(0, 0, 4096, Write | Next, 1);
        _ring.Describe(1, 100, 4096, Write);
        _ring.Offer(0);
        Assert.True(_ring.Device.TryTake(_ring.Chain));
        Assert.Equal(8192ul, _ring.Chain.WritableBytes);
    }

    [Fact]
    public void What_is_read_is_a_copy_and_changes_no_more()
    {
        _ring.Arena[..8].Fill(7);
        _ring.Describe(0, 0, 4, Next, 1);
        _ring.Describe(1, 4, 4);
        _ring.Offer(0);
        Assert.True(_ring.Device.TryTake(_ring.Chain));
        byte[] copy = new byte[6];
        Assert.Equal(6, _ring.Chain.CopyReadable(copy));
        _ring.Arena[..8].Fill(9);
        _ring.Describe(1, 4000, 4);
        Assert.Equal([7, 7, 7, 7, 7, 7], copy);
        Assert.Equal(4ul, _ring.Chain.Buffers[1].Address);
    }

    private void Refused(ChainFault expected, Action<RingFixture> write, ushort head = 0)
    {
        RingFixture ring = _ring;
        write(ring);
        ring.Offer(head);
        Assert.False(ring.Device.TryTake(ring.Chain));
        Assert.Equal(expected, ring.Device.Fault);

        // It stays stopped, also for a good request, and says nothing to the driver.
        ring.Describe(1, 0, 16);
        ring.Ring.WriteAvailable(1, 1);
        ring.SetAvailableIndex(2);
        Assert.False(ring.Device.TryTake(ring.Chain));
        Assert.False(ring.Device.EnableNotifications());
        Assert.Equal(expected, ring.Device.Fault);
        Assert.Equal(0, ring.Ring.UsedIndex);
    }
}
