using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Patch 3 as a pure value: what two buddies know of themselves when they become one.</summary>
public sealed class BlockMarksTests
{
    [Theory]
    [InlineData(true, true, true)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(false, false, false)]
    public void A_merged_block_is_treated_only_if_both_halves_were(bool lower, bool upper, bool merged)
    {
        Assert.Equal(merged, new BlockMarks(lower, false, 1).MergedWith(new BlockMarks(upper, false, 1)).Treated);
        Assert.Equal(merged, new BlockMarks(false, lower, 1).MergedWith(new BlockMarks(false, upper, 1)).Zero);
    }

    [Theory]
    [InlineData(3ul, 9ul)]
    [InlineData(9ul, 3ul)]
    [InlineData(9ul, 9ul)]
    public void A_merged_block_rests_since_its_younger_half_was_freed(ulong lower, ulong upper) =>
        Assert.Equal(9ul, BlockMarks.Raw(lower).MergedWith(BlockMarks.Raw(upper)).FreedAt);

    [Fact]
    public void What_was_never_used_is_raw_and_zero_and_has_rested_for_ever() =>
        Assert.Equal(new BlockMarks(Treated: false, Zero: true, FreedAt: 0), BlockMarks.Fresh);

    [Fact]
    public void The_marks_are_bits_beside_the_owners_and_touch_no_other()
    {
        PageType both = new BlockMarks(true, true, 7).On(PageType.None.WithBuddy());
        Assert.True(both.IsBuddy && both.IsTreated && both.IsZero);
        Assert.Equal(PageType.None.WithBuddy(), both.WithoutTreated().WithoutZero());
        Assert.Equal(PageType.None.WithCached(), new BlockMarks(false, false, 7).On(PageType.None.WithCached()));
    }
}
