using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>How much free memory stays resident for those who come back for it.</summary>
public sealed class WorkingSetTests
{
    private const ulong Plenty = 1 << 20;

    [Fact]
    public void The_stock_is_the_largest_demand_of_two_neighbouring_epochs()
    {
        WorkingSet set = new();
        set.Advance(100, Plenty);
        Assert.Equal(100ul, set.Stock);
        set.Advance(200, Plenty);
        Assert.Equal(300ul, set.Stock);
        set.Advance(50, Plenty); // 200 + 50 is less than before
        Assert.Equal(300ul, set.Stock);
        set.Advance(0, Plenty);
        set.Advance(280, Plenty); // its neighbour wanted nothing
        Assert.Equal(300ul, set.Stock);
        set.Advance(30, Plenty);
        Assert.Equal(310ul, set.Stock);
    }

    [Fact]
    public void The_stock_is_at_most_a_sixteenth_of_what_is_in_use()
    {
        WorkingSet set = new();
        set.Advance(1000, 16_000);
        Assert.Equal(1000ul, set.Stock);
        set.Advance(0, 15_999);
        Assert.Equal(999ul, set.Stock);
        set.Advance(0, 15);
        Assert.Equal(0ul, set.Stock);
        set.Advance(0, 80_000); // what was wanted is not forgotten while little is in use
        Assert.Equal(1000ul, set.Stock);
    }

    [Fact]
    public void A_demand_is_forgotten_when_its_window_has_passed_and_not_before()
    {
        WorkingSet set = new();
        set.Advance(100, Plenty);
        for (int epoch = 1; epoch <= WorkingSet.WindowEpochs; epoch++)
        {
            set.Advance(0, Plenty);
            Assert.Equal(100ul, set.Stock); // the last of them with the epoch after the demand, whose neighbour it was
        }

        set.Advance(0, Plenty);
        Assert.Equal(0ul, set.Stock);
    }

    [Fact]
    public void A_smaller_demand_takes_the_place_of_a_larger_one_that_is_forgotten()
    {
        WorkingSet set = new();
        set.Advance(100, Plenty);
        set.Advance(0, Plenty);
        set.Advance(30, Plenty);
        for (int epoch = 3; epoch <= WorkingSet.WindowEpochs; epoch++)
        {
            set.Advance(0, Plenty);
        }

        Assert.Equal(100ul, set.Stock);
        set.Advance(0, Plenty);
        Assert.Equal(30ul, set.Stock);
    }

    [Fact]
    public void Without_reuse_nothing_is_kept()
    {
        WorkingSet set = new();
        for (int epoch = 0; epoch < 3 * WorkingSet.WindowEpochs; epoch++)
        {
            set.Advance(0, Plenty);
            Assert.Equal(0ul, set.Stock);
        }
    }
}
