using System;
using LowLevel.Allocator;
using LowLevel.Tests.Allocator.Aeration;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Faults;

/// <summary>Clocks are injected, and a machine that is stopped, copied or moved has one that jumps. Nothing asks for the time of day: only how much
/// time has passed counts, so setting the clock of the wall changes nothing.</summary>
public sealed class ClockJumpTests
{
    public static TheoryData<TimeSpan> Jumps =>
        [TimeSpan.FromDays(365), TimeSpan.FromDays(20_000), TimeSpan.FromHours(1), TimeSpan.FromMilliseconds(-1), TimeSpan.FromHours(-1), TimeSpan.FromHours(-23)];

    [Theory]
    [MemberData(nameof(Jumps))]
    public void A_jump_neither_stops_treatment_nor_makes_it_early(TimeSpan jump)
    {
        using TestPlant plant = new();
        nint[] blocks = plant.Allocate(10, 3);
        plant.Pass();
        plant.Free(blocks[0]);
        plant.Pass();
        plant.Clock.Advance(jump);
        plant.Arena.Aerator.Pass();
        plant.Free(blocks[1]);
        Assert.True(plant.Raw(10) >= 1, "what was freed just now is not treated");
        plant.PassUntilRested();
        plant.Pass();
        Assert.Equal((0, 2), (plant.Raw(10), plant.Treated(10)));
        plant.Free(blocks[2]);
        plant.PassUntilRested();
        plant.Pass();
        Assert.Equal((0, 3), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Theory]
    [MemberData(nameof(Jumps))]
    public void A_jump_while_the_host_is_awaited_ends_the_wait_and_loses_nothing(TimeSpan jump)
    {
        FakeBalloon balloon = new() { Capacity = TestPlant.Capacity };
        using TestPlant plant = new(o => o.Aeration.HostTimeout = TimeSpan.FromSeconds(1), balloon: balloon);
        balloon.OnReact = () => plant.Clock.Advance(jump);
        plant.Free(plant.Allocate(10, 3));
        plant.PassUntilRested();
        plant.Pass();
        plant.Pass();
        balloon.OnReact = null;
        plant.PassUntilRested();
        plant.Pass();
        Assert.Equal((0, 3), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }
}
