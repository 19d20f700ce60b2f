using System.Linq;
using LowLevel.Allocator;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>The size of a batch: what the options ask for, at most what the device takes, which may change at any time.</summary>
public sealed class ReactorCapacityTests
{
    [Theory]
    [InlineData(8, 3, 3)]
    [InlineData(8, 8, 8)]
    [InlineData(3, 8, 3)]
    [InlineData(1, 1, 1)]
    public void A_batch_is_the_lesser_of_what_is_asked_for_and_what_the_device_takes(int asked, int allowed, int batch)
    {
        using TestPlant plant = new(o => o.Aeration.ReactorCapacity = asked, balloon: new FakeBalloon { Capacity = allowed });
        Assert.Equal(batch, plant.Arena.Aerator.ReactorCapacity);
        plant.Free(plant.AllocateApart(9, 10));
        plant.Arena.Trim();
        Assert.Equal(batch, plant.Balloon.Batches.Max(b => b.Length));
        Assert.Equal(10, plant.Balloon.Ranges.Count);
        plant.Check();
    }

    [Fact]
    public void The_marks_follow_the_capacity_that_was_negotiated()
    {
        using TestPlant plant = new(balloon: new FakeBalloon { Capacity = 2 });
        nint[] blocks = plant.AllocateApart(9, 4);
        plant.Free(blocks[..3]);
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Free(blocks[3]);
        Assert.Equal(1, plant.Arena.Aerator.References);
    }

    [Fact]
    public void A_device_that_takes_less_from_now_on_gets_smaller_batches_and_moves_the_marks()
    {
        using TestPlant plant = new();
        plant.Free(plant.Allocate(10, 4));
        plant.Arena.Trim();
        plant.Balloon.Capacity = 1;
        plant.Free(plant.Allocate(10, 3));
        plant.Arena.Trim();
        Assert.Equal([4, 1, 1, 1], plant.Balloon.Batches.Select(batch => batch.Length));
        plant.Free(plant.Allocate(10, 2));
        Assert.Equal(1, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public void Without_capacity_nothing_is_treated_nothing_is_lost_and_it_goes_on_when_the_capacity_returns()
    {
        using TestPlant plant = new(balloon: new FakeBalloon { Capacity = 0 });
        Assert.Equal(0, plant.Arena.Aerator.ReactorCapacity);
        nint[] blocks = plant.AllocateApart(9, 10);
        plant.Free(blocks[..7]);
        Assert.Equal(0, plant.Arena.Aerator.References); // the mark is the one that was asked for, not that of a capacity of 1
        plant.Free(blocks[7..]);
        plant.PassUntilRested();
        plant.Arena.Trim();
        Assert.Equal((0, 10, 0), (plant.Balloon.Reacts, plant.Raw(9), plant.Treated(9)));
        Assert.True(plant.Balloon.Restarts > 0);
        plant.Check();

        plant.Balloon.CapacityAfterRestart = 3;
        plant.Pass();
        Assert.Equal([3, 3, 3, 1], plant.Balloon.Batches.Select(batch => batch.Length));
        Assert.Equal((0, 10), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }
}
