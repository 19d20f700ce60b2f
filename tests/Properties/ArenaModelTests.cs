using System;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Properties;

/// <summary>Random operations on small arenas, one thread, with all invariants recomputed after each.</summary>
public sealed class ArenaModelTests(ITestOutputHelper output)
{
    private const int CommandsPerArena = 20_000;

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

    /// <summary>The long run: LOWLEVEL_MODEL_COMMANDS operations from LOWLEVEL_MODEL_SEED on, a new arena every 20 000. A seed names setup and
    /// operations, so the one in a failure's message, with 20 000 operations and LOWLEVEL_MODEL_VERIFY=1, finds the step.</summary>
    [Fact]
    public void As_many_random_operations_as_are_asked_for_leave_every_invariant_and_every_block_intact()
    {
        long commands = Asked("LOWLEVEL_MODEL_COMMANDS", 0);
        Assert.SkipWhen(commands == 0, "LOWLEVEL_MODEL_COMMANDS says how many; the other tests here run 130 000.");
        int seed = (int)Asked("LOWLEVEL_MODEL_SEED", 1);
        long every = Asked("LOWLEVEL_MODEL_VERIFY", 64);
        long seconds = Asked("LOWLEVEL_MODEL_SECONDS", long.MaxValue / TimeSpan.TicksPerSecond / 2);
        Stopwatch time = Stopwatch.StartNew();
        long done = 0;
        for (; done < commands && time.Elapsed.TotalSeconds < seconds; done += CommandsPerArena, seed++)
        {
            RunChunk(seed, (int)Math.Min(CommandsPerArena, commands - done), every);
            output.WriteLine($"{done + CommandsPerArena} operations, next seed {seed + 1}, {time.Elapsed.TotalSeconds:F0} s");
        }
    }

    private static void RunChunk(int seed, int steps, long every)
    {
        ArenaSetup setup = ArenaSetup.All[seed % ArenaSetup.All.Length];
        Random random = new(seed);
        using ArenaModel model = new(setup);
        for (int step = 0; step < steps; step++)
        {
            ArenaOperation operation = ArenaOperation.Next(random);
            try
            {
                model.StepLightly(operation);
                if (step % every == 0)
                {
                    model.CheckAll();
                }
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"LOWLEVEL_MODEL_SEED={seed} ({setup}), step {step}, verified every {every}: {operation}: {e.Message}", e);
            }
        }

        model.Finish();
    }

    private static long Asked(string name, long otherwise) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } text ? long.Parse(text, CultureInfo.InvariantCulture) : otherwise;

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
        Assert.True(model.Resizes is { Longer: > 5, Shorter: > 5, Refused: > 0 }, $"{model.Resizes}: too little was resized");
        Assert.True(model.World is { Others: > 100, Ends: > 3, Caps: > 3 }, $"{model.World}: too little happened around");
        Assert.True(!setup.Treatment || model.World is { Inflated: > 3, Deflated: > 3, Switches: > 3 }, $"{model.World}: too little happened around");
        Assert.True(!setup.Treatment || model.PagesTreated > PageblockLimits.PagesPerMaxBlock, $"{model.PagesTreated} pages treated: too few");
        Assert.True(!setup.Huge || model.HolesReported > 0, $"{setup}, seed {seed}: no pageblock was dropped in part");
    }
}
