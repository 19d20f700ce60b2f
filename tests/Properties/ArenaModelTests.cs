using System;
using System.Linq;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>Random operations on small arenas, one thread, with all invariants recomputed after each.</summary>
public sealed class ArenaModelTests
{
    public static TheoryData<int> Setups => new(Enumerable.Range(0, ArenaSetup.All.Length));

    [Theory]
    [MemberData(nameof(Setups))]
    public void Ten_thousand_random_operations_leave_every_invariant_and_every_block_intact(int setup)
    {
        // Each setup 10 000 steps, two seeds a setup.
        foreach (int seed in new[] { 100 + setup, 200 + setup })
        {
            RunLong(ArenaSetup.All[setup], seed, 5000);
        }
    }

    private static void RunLong(ArenaSetup setup, int seed, int steps)
    {
        Random random = new(seed);
        using ArenaModel model = new(setup);
        for (int step = 0; step < steps; step++)
        {
            ArenaOperation operation = ArenaOperation.Next(random);
            try
            {
                model.Step(operation);
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"{setup}, seed {seed}, step {step}: {operation}: {e.Message}", e);
            }
        }

        model.Finish();
        Assert.True(model.Requests.Met > steps / 5 && model.Requests.Refused > 0, $"{model.Requests}: too little happened");
        Assert.True(model.Resizes is { Longer: > 10, Shorter: > 10, Refused: > 0 }, $"{model.Resizes}: too little was resized");
        Assert.True(!setup.Treatment || model.PagesTreated > PageblockLimits.PagesPerMaxBlock, $"{model.PagesTreated} pages treated: too few");
        Assert.True(!setup.Huge || model.HolesReported > 0, $"{setup}, seed {seed}: no pageblock was dropped in part");
    }
}
