using System;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Start, Stop, Start again, and what a failure leaves behind.</summary>
public sealed class StartAndStopTests
{
    [Fact]
    public void Starting_twice_makes_one_balloon_and_changes_nothing()
    {
        using TestPlant plant = new();
        IBalloonLink? link = plant.Arena.Aerator.Link;
        HighWaterMarks? marks = plant.Zone.Listener;
        plant.Arena.Aerator.Start();
        plant.Arena.Aerator.Start();
        Assert.Same(link, plant.Arena.Aerator.Link);
        Assert.Same(marks, plant.Zone.Listener);
        Assert.True(plant.Arena.Aerator.IsRunning);
    }

    [Fact]
    public void While_it_is_off_no_balloon_is_made_and_nothing_is_treated()
    {
        using TestPlant plant = new(o => o.Aeration.Enabled = false);
        Assert.Null(plant.Arena.Aerator.Link);
        Assert.False(plant.Arena.Aerator.IsRunning);
        plant.Free(plant.AllocateApart(9, 10));
        plant.PassUntilRested();
        plant.Arena.Trim();
        plant.Arena.Aerator.Stop();
        Assert.Equal((10, 0), (plant.Raw(9), plant.Treated(9)));
        Aerator aerator = plant.Arena.Aerator;
        Assert.Equal((0, 0, 0L, Stage.Idle), (aerator.References, aerator.ReactorCapacity, aerator.Cycles, aerator.Stage));
    }

    [Fact]
    public void After_stop_nothing_listens_refers_or_passes_until_it_is_started_again()
    {
        using TestPlant plant = new();
        nint[] blocks = plant.AllocateApart(9, 12);
        plant.Free(blocks[..8]);
        Assert.Equal(1, plant.Arena.Aerator.References);
        plant.Arena.Aerator.Stop();
        plant.Arena.Aerator.Stop();
        Assert.Equal(0, plant.Arena.Aerator.References);
        Assert.Null(plant.Zone.Listener);
        plant.Free(blocks[8..]);
        plant.PassUntilRested();
        plant.Arena.Trim();
        Assert.Empty(plant.Balloon.Batches);
        plant.Check();

        plant.Arena.Aerator.Start();
        plant.PassUntilRested();
        Assert.Equal((0, 12), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public void Starting_after_dispose_says_that_the_arena_is_gone()
    {
        TestPlant plant = new();
        plant.Dispose();
        Assert.Throws<ObjectDisposedException>(plant.Arena.Aerator.Start);
        plant.Arena.Aerator.Stop();
    }

    [Fact]
    public void An_arena_whose_balloon_cannot_be_made_unmaps_what_it_had_mapped()
    {
        FaultyOperatingSystem os = new();
        TreatmentSeams seams = new((_, _) => throw new OutOfMemoryException("no ring"), HasWorker: false);
        Assert.Equal("no ring", Assert.Throws<OutOfMemoryException>(() => PageArena.CreateOn(os, new PageArenaOptions { SizeBytes = 8 << 20 }, seams)).Message);
        Assert.Equal(BytesOf(SystemCall.MapAnonymous), BytesOf(SystemCall.Unmap));

        long BytesOf(SystemCall kind) => os.Calls.Where(call => call.Call == kind).Sum(call => (long)call.Bytes);
    }

    [Fact]
    public void A_start_that_fails_leaves_treatment_off_and_the_next_one_works()
    {
        using FakeBalloon balloon = new() { Capacity = TestPlant.Capacity };
        int calls = 0;
        TreatmentSeams seams = new((_, _) => calls++ == 0 ? throw new OutOfMemoryException("no ring") : balloon, HasWorker: false);
        PageArenaOptions options = new() { SizeBytes = 64 << 20, ThreadPages = false, Aeration = { Enabled = false, Clock = new ManualClock() } };
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, options, seams);
        Assert.Throws<OutOfMemoryException>(arena.Aerator.Start);
        Assert.False(arena.Aerator.IsRunning);
        Assert.Null(arena.Zones[0].Listener);
        arena.Aerator.Stop();
        arena.Aerator.Start();
        Assert.True(arena.Aerator.IsRunning);
        FreeOne(arena);
        arena.Trim();
        Assert.Single(balloon.Ranges);
    }

    [Fact]
    public void Stop_waits_for_the_batch_in_flight_and_finds_it_decanted()
    {
        using TestPlant plant = new(o => o.Aeration.HostTimeout = TimeSpan.FromSeconds(60));
        using ManualResetEventSlim held = new();
        using ManualResetEventSlim finish = new();
        plant.Balloon.WhileHeld = _ =>
        {
            held.Set();
            finish.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        };
        plant.Free(plant.Allocate(10));
        Thread treating = new(plant.Arena.Trim) { IsBackground = true };
        treating.Start();
        Assert.True(held.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
        Thread stopping = new(plant.Arena.Aerator.Stop) { IsBackground = true };
        stopping.Start();
        Assert.True(SpinWait.SpinUntil(() => plant.Zone.Listener is null, TimeSpan.FromSeconds(60)));
        Assert.Equal(1, plant.Arena.Aerator.References);
        finish.Set();
        Assert.True(stopping.Join(TimeSpan.FromSeconds(60)) && treating.Join(TimeSpan.FromSeconds(60)));
        Assert.Equal((0, 1), (plant.Raw(10), plant.Treated(10)));
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public void A_pass_that_is_under_way_when_treatment_stops_ends_with_what_is_in_flight()
    {
        using TestPlant plant = new(o => o.Aeration.HostTimeout = TimeSpan.FromSeconds(60));
        using SlowBatch slow = new(plant.Balloon);
        plant.Free(plant.AllocateApart(9, 3 * TestPlant.Capacity));
        Thread passing = Run(plant.PassUntilRested);
        slow.WaitUntilHeld();
        Thread stopping = Run(plant.Arena.Aerator.Stop);
        Assert.True(SpinWait.SpinUntil(() => !plant.Arena.Aerator.IsRunning, TimeSpan.FromSeconds(60)));
        slow.Finish();
        Assert.True(stopping.Join(TimeSpan.FromSeconds(60)) && passing.Join(TimeSpan.FromSeconds(60)));
        Assert.Equal((2 * TestPlant.Capacity, TestPlant.Capacity), (plant.Raw(9), plant.Treated(9)));
        plant.Check();
    }

    /// <summary>Found by tests/Models/reactor.pml, CLOSE_BESIDE_A_PASS: the arena was unmapped under a pass whose host was slow.</summary>
    [Fact]
    public unsafe void Dispose_leaves_the_device_and_the_memory_to_a_pass_that_outlasts_it_and_the_pass_lets_go_of_both()
    {
        FaultyOperatingSystem os = new();
        using TestPlant plant = new(os: os);
        using SlowBatch slow = new(plant.Balloon);
        nint address = (nint)plant.Arena.BaseAddress;
        bool IsUnmapped() => os.Calls.Any(call => call.Call == SystemCall.Unmap && call.Address == address - (nint)ArenaMemory.PagesGuard);
        plant.Free(plant.Allocate(10));
        Thread passing = Run(plant.PassUntilRested);
        slow.WaitUntilHeld();
        plant.Arena.Dispose();
        Assert.Equal((0, false), (plant.Balloon.CloseCalls, IsUnmapped()));
        slow.Finish();
        Assert.True(passing.Join(TimeSpan.FromSeconds(60)));
        Assert.Equal((1, true), (plant.Balloon.CloseCalls, IsUnmapped()));
        Assert.Empty(plant.Balloon.Violations);
    }

    /// <summary>Found by tests/Models/reactor.pml, START_BEFORE_CLOSED: a start that came while Dispose was stopping treatment left a worker behind
    /// that went on in memory which was unmapped.</summary>
    [Fact]
    public void A_start_while_dispose_stops_treatment_is_refused()
    {
        using TestPlant plant = new();
        plant.Balloon.Answer = () => SettleResult.TimedOut;
        plant.Balloon.RevokesSlot = _ => false;
        plant.Free(plant.Allocate(10));
        plant.Arena.Trim();
        Exception? refused = null;
        plant.Balloon.RevokesSlot = _ =>
        {
            refused = Record.Exception(plant.Arena.Aerator.Start);
            return true;
        };
        plant.Arena.Dispose();
        Assert.IsType<ObjectDisposedException>(refused);
        Assert.False(plant.Arena.Aerator.IsRunning);
    }

    private static Thread Run(ThreadStart work)
    {
        Thread thread = new(work) { IsBackground = true };
        thread.Start();
        return thread;
    }

    private static unsafe void FreeOne(PageArena arena) => arena.FreePages(arena.AllocatePages(10));

    /// <summary>The host takes its time over the first batch.</summary>
    private sealed class SlowBatch : IDisposable
    {
        private readonly ManualResetEventSlim _held = new();
        private readonly ManualResetEventSlim _finish = new();

        public SlowBatch(FakeBalloon balloon) => balloon.WhileHeld = _ =>
        {
            _held.Set();
            _finish.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        };

        public void WaitUntilHeld() => Assert.True(_held.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));

        public void Finish() => _finish.Set();

        public void Dispose()
        {
            _held.Dispose();
            _finish.Dispose();
        }
    }
}
