using System;
using System.Linq;
using CsCheck;
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
        // Ten setups of 10 000 steps each, two seeds a setup.
        foreach (int seed in new[] { 100 + setup, 200 + setup })
        {
            RunLong(ArenaSetup.All[setup], seed, 5000);
        }
    }

    [Fact]
    public void Short_random_sequences_hold_in_every_setup_and_shrink_when_they_do_not() =>
        Gen.Select(Gen.Int[0, ArenaSetup.All.Length - 1], Operations)
            .Sample(
                (setup, operations) => RunShort(ArenaSetup.All[setup], operations),
                iter: 150,
                threads: 1,
                print: found => $"setup {found.Item1}: [{string.Join(", ", found.Item2)}]");

    private static Gen<ArenaOperation[]> Operations { get; } =
        Gen.Select(Gen.Int[0, 255], Gen.Int[0, (1 << 20) - 1], Gen.Int[0, (1 << 20) - 1], Gen.Int[0, (1 << 20) - 1])
            .Select((kind, a, b, c) => new ArenaOperation(ArenaOperation.KindOf(kind), a, b, c))
            .Array[1, 120];

    private static void RunShort(ArenaSetup setup, ArenaOperation[] operations)
    {
        using ArenaModel model = new(setup);
        foreach (ArenaOperation operation in operations)
        {
            model.Step(operation);
        }

        model.Finish();
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
        Assert.True(!setup.Treatment || model.PagesTreated > PageblockLimits.PagesPerMaxBlock, $"{model.PagesTreated} pages treated: too few");
    }
}
