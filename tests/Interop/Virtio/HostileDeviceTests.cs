using System;
using LowLevel.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Virtio;

/// <summary>What no device may answer, and that the driver's queue names it, stops, and loses nothing of its books.</summary>
public sealed class HostileDeviceTests
{
    private static readonly QueueBuffer Readable = new(0, 16, DeviceWrites: false);
    private static readonly QueueBuffer Writable = new(64, 32, DeviceWrites: true);

    [Fact]
    public void An_id_that_is_no_descriptor_stops_the_queue() => Refused(DriverQueueFault.UsedIdOutOfRange, id: 4, length: 0);

    [Fact]
    public void An_id_with_high_bits_set_stops_the_queue() => Refused(DriverQueueFault.UsedIdOutOfRange, id: 0x10000, length: 0);

    [Fact]
    public void An_id_that_was_never_offered_stops_the_queue() => Refused(DriverQueueFault.UsedIdNotOutstanding, id: 3, length: 0);

    [Fact]
    public void An_id_inside_a_chain_stops_the_queue() => Refused(DriverQueueFault.UsedIdNotOutstanding, id: 1, length: 0);

    [Theory]
    [InlineData(33u)]
    [InlineData(48u)]
    [InlineData(uint.MaxValue)]
    public void A_length_beyond_the_writable_buffers_stops_the_queue(uint length) => Refused(DriverQueueFault.UsedLengthTooLong, id: 0, length);

    [Fact]
    public void Two_answers_to_one_request_stop_the_queue()
    {
        using RingFixture ring = Asked();
        ring.Answer(0, 32);
        Assert.True(ring.Driver.TryReap(out UsedRequest reaped));
        Assert.Equal(new UsedRequest(77, 32), reaped);
        ring.Answer(0, 32);
        Assert.False(ring.Driver.TryReap(out _));
        Assert.Equal(DriverQueueFault.UsedIndexAhead, ring.Driver.Fault);
        Assert.Equal((0, 4), (ring.Driver.Outstanding, ring.Driver.FreeDescriptors));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(1000)]
    [InlineData(65535)]
    public void An_index_that_jumps_stops_the_queue(int index)
    {
        using RingFixture ring = Asked();
        ring.SetUsedIndex((ushort)index);
        Assert.False(ring.Driver.TryReap(out _));
        Assert.Equal(DriverQueueFault.UsedIndexAhead, ring.Driver.Fault);
    }

    [Fact]
    public void A_request_that_was_added_and_not_published_cannot_come_back()
    {
        using RingFixture ring = Asked();
        Assert.True(ring.Driver.TryAdd([Readable], 78));
        ring.Answer(2, 0);
        Assert.False(ring.Driver.TryReap(out _));
        Assert.Equal(DriverQueueFault.UsedIdNotOutstanding, ring.Driver.Fault);
    }

    [Fact]
    public void Nothing_the_device_writes_into_the_descriptors_reaches_the_drivers_books()
    {
        using RingFixture ring = Asked();
        for (int i = 0; i < 4; i++)
        {
            ring.Describe(i, ulong.MaxValue, uint.MaxValue, (LowLevel.Native.DescriptorFlags)0xffff, 0xffff);
        }

        ring.Answer(0, 32);
        Assert.True(ring.Driver.TryReap(out _));
        Assert.Equal(4, ring.Driver.FreeDescriptors);
        Assert.True(ring.Driver.TryAdd([Readable, Readable, Writable, Writable], 1));
        Assert.Equal(0, ring.Driver.FreeDescriptors);
    }

    [Fact]
    public void A_cleared_queue_works_again()
    {
        using RingFixture ring = Asked();
        ring.Answer(9, 9);
        Assert.False(ring.Driver.TryReap(out _));
        Assert.False(ring.Driver.TryAdd([Readable], 1));
        Assert.False(ring.Driver.Publish());
        ring.Driver.Clear();
        Assert.Equal((0, 4, false), (ring.Driver.Outstanding, ring.Driver.FreeDescriptors, ring.Driver.HasUsed));
        Assert.True(ring.Driver.TryAdd([Readable], 2));
        ring.Driver.Publish();
        ring.Answer(0, 0);
        Assert.True(ring.Driver.TryReap(out UsedRequest reaped));
        Assert.Equal(2ul, reaped.Token);
    }

    [Fact]
    public void A_request_that_is_none_is_the_callers_fault()
    {
        using RingFixture ring = new(4);
        Assert.Throws<ArgumentException>(() => ring.Driver.TryAdd([], 0));
        Assert.Throws<ArgumentException>(() => ring.Driver.TryAdd([Readable, Readable, Readable, Readable, Readable], 0));
        Assert.Throws<ArgumentException>(() => ring.Driver.TryAdd([new QueueBuffer(0, 0, true)], 0));
        Assert.Throws<ArgumentException>(() => ring.Driver.TryAdd([Writable, Readable], 0));
        Assert.Throws<ArgumentException>(() => ring.Driver.TryAdd([new QueueBuffer(0, uint.MaxValue, true), new QueueBuffer(0, 2, true)], 0));
        Assert.True(ring.Driver.TryAdd([new QueueBuffer(0, uint.MaxValue, true), new QueueBuffer(0, 1, true)], 0));
    }

    /// <summary>A queue of 4 with one published request: readable 16 and writable 32 bytes, token 77, head 0.</summary>
    private static RingFixture Asked()
    {
        RingFixture ring = new(4);
        Assert.True(ring.Driver.TryAdd([Readable, Writable], 77));
        Assert.True(ring.Driver.Publish());
        return ring;
    }

    private static void Refused(DriverQueueFault expected, uint id, uint length)
    {
        using RingFixture ring = Asked();
        ring.Answer(id, length);
        Assert.False(ring.Driver.TryReap(out _));
        Assert.Equal(expected, ring.Driver.Fault);
        Assert.Equal((1, 2), (ring.Driver.Outstanding, ring.Driver.FreeDescriptors));
        Assert.False(ring.Driver.TryAdd([Readable], 1));
        Assert.False(ring.Driver.Publish());

        // It does not recover by a better answer: only a reset helps.
        ring.Answer(0, 32);
        Assert.False(ring.Driver.TryReap(out _));
    }
}
