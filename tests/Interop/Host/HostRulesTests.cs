using CsCheck;
using LowLevel.Interop.Host;
using LowLevel.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.Host;

/// <summary>How targets follow allowances, and the budget pressure.</summary>
public sealed class HostRulesTests
{
    private const ulong MiB = HostFixture.MiB;
    private const ulong GiB = 1024 * MiB;
    private const uint Pages = 256;

    [Theory]
    [InlineData(0, 1024, 0, 128)] // an eighth at a time
    [InlineData(896, 1024, 0, 1024)]
    [InlineData(900 * 4, 1024, 1024, 0)] // given back at once
    [InlineData(512, 1024, 505, 512)] // too little to ask for
    [InlineData(512, 1024, 520, 512)]
    [InlineData(512, 1024, 480, 544)]
    [InlineData(5, 1024, 1024, 0)] // but no remnant stays
    [InlineData(100, 1024, 2048, 0)]
    public void A_target_follows_an_allowance(uint targetMiB, ulong totalMiB, ulong allowanceMiB, uint expectedMiB) =>
        Assert.Equal(expectedMiB * Pages, TargetSteps.Next(targetMiB * Pages, totalMiB * MiB, allowanceMiB * MiB));

    [Fact]
    public void A_target_settles_within_its_slack_of_what_is_wanted() =>
        Gen.Select(Gen.UInt, Gen.ULong[0, 64 * GiB], Gen.ULong[0, 70 * GiB]).Sample(static (target, total, allowance) =>
        {
            uint before = target;
            for (int i = 0; i < 10; i++)
            {
                target = TargetSteps.Next(target, total, allowance);
            }

            ulong wanted = allowance >= total ? 0 : (total - allowance) >> TargetSteps.PageShift;
            ulong slack = ulong.Min(total >> (TargetSteps.PageShift + 6), 16 * Pages);
            Assert.True(target <= wanted + slack && target + slack >= wanted, $"{before} to {target}, wanted {wanted}");
            Assert.Equal(target, TargetSteps.Next(target, total, allowance));
        });

    [Fact]
    public void Pressure_takes_quickly_and_gives_back_slowly()
    {
        PressureBrake brake = new();
        brake.Update(default);
        Assert.Equal((64 * MiB, false), (brake.Apply(64 * MiB), brake.IsOn));
        brake.Update(new MemoryReading(null, null, null, 25));
        Assert.Equal((60 * MiB, true), (brake.Apply(64 * MiB), brake.IsOn));
        brake.Update(new MemoryReading(null, 91, 100, 0));
        Assert.Equal(59 * MiB, brake.Apply(64 * MiB));
        brake.Update(new MemoryReading(null, 86, 100, 0));
        Assert.Equal(59 * MiB, brake.Apply(64 * MiB));
        brake.Update(new MemoryReading(null, 84, 100, 1));
        Assert.Equal(60 * MiB, brake.Apply(64 * MiB));
        for (int i = 0; i < 20; i++)
        {
            brake.Update(new MemoryReading(null, 99, 100, null));
        }

        Assert.Equal(32 * MiB, brake.Apply(64 * MiB));
        Assert.Equal(1ul << 63, brake.Apply(ulong.MaxValue - 1) + 1);
    }
}
