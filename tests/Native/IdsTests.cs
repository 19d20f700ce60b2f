using CsCheck;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Native;

public sealed class IdsTests
{
    private static readonly Gen<(uint Pfn, int Order)> s_pages = Gen.Select(Gen.UInt, Gen.Int[0, PageblockLimits.MaxOrder]);

    [Theory]
    [InlineData(0u, 0, 1u)]
    [InlineData(1u, 0, 0u)]
    [InlineData(8u, 3, 0u)]
    [InlineData(0u, 10, 1024u)]
    [InlineData(3072u, 10, 2048u)]
    [InlineData(0xffff_fc00u, 10, 0xffff_f800u)]
    public void A_buddy_differs_in_the_bit_of_its_order(uint pfn, int order, uint buddy)
    {
        Assert.Equal(new Pfn(buddy), new Pfn(pfn).Buddy(new Order(order)));
        Assert.Equal(new Pfn(pfn), new Pfn(buddy).Buddy(new Order(order)));
    }

    [Fact]
    public void A_block_and_its_buddy_have_one_head_at_the_next_order_and_it_is_the_lower_of_them() => s_pages.Sample((pfn, order) =>
    {
        Pfn head = new Pfn(pfn).AlignDown(new Order(order));
        Pfn buddy = head.Buddy(new Order(order));
        Pfn merged = head.AlignDown(new Order(order + 1));
        Assert.Equal(merged, buddy.AlignDown(new Order(order + 1)));
        Assert.Equal(merged, head < buddy ? head : buddy);
        Assert.Equal(new Order(order).Pages, head > buddy ? head - buddy : buddy - head);
    });

    [Fact]
    public void Aligning_down_reaches_an_aligned_page_at_most_a_block_below() => s_pages.Sample((pfn, order) =>
    {
        Pfn page = new(pfn);
        Pfn head = page.AlignDown(new Order(order));
        Assert.True(head.IsAligned(new Order(order)));
        Assert.True(head <= page && page - head < new Order(order).Pages);
        Assert.Equal(head == page, page.IsAligned(new Order(order)));
    });

    [Theory]
    [InlineData(0ul, 0)]
    [InlineData(1ul, 0)]
    [InlineData(2ul, 1)]
    [InlineData(3ul, 2)]
    [InlineData(4ul, 2)]
    [InlineData(5ul, 3)]
    [InlineData(512ul, 9)]
    [InlineData(513ul, 10)]
    [InlineData(1024ul, 10)]
    [InlineData(1025ul, 11)]
    [InlineData(1ul << 32, 32)]
    [InlineData((1ul << 32) + 1, 33)]
    [InlineData(1ul << 63, 63)]
    [InlineData(ulong.MaxValue, 64)]
    public void The_order_for_pages_is_the_smallest_that_holds_them(ulong pages, int order) =>
        Assert.Equal(new Order(order), Order.ForPages(pages));

    [Fact]
    public void More_than_1024_pages_have_an_order_above_the_largest()
    {
        Assert.True(Order.ForPages(1024) <= Order.Max);
        Assert.True(Order.ForPages(1025) > Order.Max);
    }

    [Theory]
    [InlineData(0, 1u, 4096ul)]
    [InlineData(9, 512u, 2ul << 20)]
    [InlineData(10, 1024u, 4ul << 20)]
    public void An_order_is_so_many_pages_and_bytes(int order, uint pages, ulong bytes)
    {
        Assert.Equal(pages, new Order(order).Pages);
        Assert.Equal((nuint)bytes, new Order(order).Bytes);
    }

    [Theory]
    [InlineData(0ul, 0u)]
    [InlineData(4095ul, 0u)]
    [InlineData(4096ul, 1u)]
    [InlineData((16ul << 40) - 1, uint.MaxValue)]
    public void A_byte_offset_belongs_to_the_page_that_holds_it(ulong offset, uint pfn)
    {
        Assert.Equal(new Pfn(pfn), Pfn.FromByteOffset(offset));
        Assert.Equal(offset & ~4095ul, new Pfn(pfn).ByteOffset);
    }

    [Theory]
    [InlineData(0u, 0u)]
    [InlineData(511u, 0u)]
    [InlineData(512u, 1u)]
    [InlineData(uint.MaxValue, 8_388_607u)]
    public void A_page_belongs_to_the_pageblock_whose_first_page_is_below_it(uint pfn, uint block)
    {
        Assert.Equal(block, new Pfn(pfn).Pageblock);
        Assert.Equal(new Pfn(pfn & ~511u), Pfn.FromPageblock(block));
    }

    [Fact]
    public void Ids_say_what_they_are()
    {
        Assert.Equal("pfn 0x1f", new Pfn(31).ToString());
        Assert.Equal("order 10", Order.Max.ToString());
        Assert.Equal(9, Order.Pageblock.Value);
    }
}
