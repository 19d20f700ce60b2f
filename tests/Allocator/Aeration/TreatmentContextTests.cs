using System;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Who treats, what it holds meanwhile, and who waits for whom.</summary>
public sealed class TreatmentContextTests
{
    private static readonly TimeSpan s_bound = TimeSpan.FromSeconds(60);

    [Fact]
    public void In_the_freeing_thread_the_free_that_reaches_the_mark_treats_at_once_and_on_its_own_thread()
    {
        using TestPlant plant = FreeingThread();
        nint[] blocks = plant.AllocateApart(9, TestPlant.StartMark);
        plant.Free(blocks[..^1]);
        Assert.Equal(0, plant.Balloon.Reacts);
        plant.Free(blocks[^1]);
        Assert.Equal([Environment.CurrentManagedThreadId], plant.Balloon.ReactingThreads);
        Assert.True(plant.Raw(9) < TestPlant.Capacity);
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public unsafe void In_the_freeing_thread_the_last_part_of_a_range_may_reach_the_mark_too()
    {
        using TestPlant plant = FreeingThread();
        plant.Free((nint)plant.Arena.AllocateRange(TestPlant.StartMark * (4 << 20)));
        Assert.Equal(TestPlant.StartMark, plant.Treated(10) + plant.Raw(10));
        Assert.True(plant.Treated(10) > TestPlant.Capacity);
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public void In_the_freeing_thread_what_is_left_below_the_stop_mark_is_treated_when_it_has_rested()
    {
        using TestPlant plant = FreeingThread();
        plant.Free(plant.AllocateApart(9, 3));
        plant.PassUntilRested();
        Assert.Equal((0, 3), (plant.Raw(9), plant.Treated(9)));
    }

    [Fact]
    public void While_the_device_has_the_batch_every_zone_lock_is_free_and_another_thread_allocates_and_frees()
    {
        using TestPlant plant = FreeingThread(o => o.Zones = 4);
        nint other = plant.Allocate(0);
        int held = 0;
        plant.Balloon.WhileHeld = _ =>
        {
            held++;
            TestPlant.OnAnotherThread(() =>
            {
                foreach (Zone zone in plant.Arena.Zones)
                {
                    zone.Enter();
                    zone.Exit();
                }

                plant.Free(other);
                other = plant.Allocate(0);
                plant.Arena.Verify();
            });
        };
        plant.Free(plant.Allocate(10, 24));
        Assert.True(held > 0);
        plant.Check();
    }

    [Fact]
    public void With_a_worker_the_freeing_thread_never_calls_the_device()
    {
        using TestPlant plant = new();
        plant.Free(plant.AllocateApart(9, 14));
        plant.Free(plant.Allocate(10, 4));
        Assert.Equal(0, plant.Balloon.Reacts);
        Assert.Equal(1, plant.Arena.Aerator.References);
    }

    [Fact]
    public void With_a_worker_the_mark_wakes_it_and_the_device_is_called_on_its_thread()
    {
        using ManualResetEventSlim told = new();
        FakeBalloon balloon = new() { Capacity = TestPlant.Capacity, WhileHeld = _ => told.Set() };
        using TestPlant plant = new(
            o =>
            {
                o.Aeration.Clock = TimeProvider.System;
                o.Aeration.Delay = TimeSpan.Zero;
            },
            hasWorker: true,
            balloon);
        plant.Free(plant.AllocateApart(9, TestPlant.StartMark));
        Assert.True(told.Wait(s_bound, TestContext.Current.CancellationToken));
        plant.Arena.Aerator.Stop();
        Assert.False(plant.Arena.Aerator.IsRunning);
        Assert.DoesNotContain(Environment.CurrentManagedThreadId, balloon.ReactingThreads);
        plant.Check();
    }

    [Fact]
    public void A_free_from_inside_the_round_that_reaches_the_mark_does_not_start_another_round()
    {
        using TestPlant plant = FreeingThread();
        nint[] blocks = plant.AllocateApart(9, TestPlant.StartMark - 1);
        nint[] inside = plant.Allocate(10, TestPlant.StartMark);
        plant.Balloon.WhileHeld = _ =>
        {
            plant.Balloon.WhileHeld = null;
            plant.Free(inside);
            plant.Arena.Trim();
            plant.Arena.Aerator.Pass();
        };
        plant.Free(blocks);
        plant.Arena.Trim();
        plant.Check();
        plant.Arena.Trim();
        Assert.Equal([.. blocks, .. inside], plant.Reported().Order());
        Assert.Equal(0, plant.Arena.Aerator.References);
        plant.Check();
    }

    [Fact]
    public void A_free_that_reaches_the_mark_while_another_thread_treats_does_not_wait()
    {
        using TestPlant plant = FreeingThread();
        nint[] blocks = plant.AllocateApart(9, 8);
        nint[] more = plant.Allocate(10, TestPlant.StartMark);
        plant.Balloon.WhileHeld = _ =>
        {
            plant.Balloon.WhileHeld = null;
            TestPlant.OnAnotherThread(() => plant.Free(more));
        };
        plant.Free(blocks);
        plant.Check();
    }

    [Fact]
    public void A_host_elsewhere_cannot_be_serviced_by_the_freeing_thread_and_the_error_says_so()
    {
        ArgumentOutOfRangeException refused = Assert.Throws<ArgumentOutOfRangeException>(() => PageArena.Create(new PageArenaOptions
        {
            SizeBytes = 4 << 20,
            Host = "/run/host.sock",
            Aeration = new AerationOptions { Context = AerationContext.FreeingThread },
        }));
        Assert.Equal("options.Aeration.Context", refused.ParamName);
        Assert.Equal(AerationContext.FreeingThread, refused.ActualValue);
        Assert.Contains("allowed: Worker", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_allocation_that_finds_everything_in_the_reactor_waits_for_it()
    {
        using TestPlant plant = Full(out nint last);
        using ManualResetEventSlim finish = new();
        plant.Balloon.OnDeflate = _ =>
        {
            finish.Set();
            return 0;
        };
        AllocateWhileHeld(plant, last, finish, () => Assert.Equal(last, plant.Allocate(10)));
    }

    [Fact]
    public void An_allocation_succeeds_although_the_batch_came_back_between_its_last_try_and_its_look_at_the_reactor()
    {
        using TestPlant plant = Full(out nint last);
        using ManualResetEventSlim finish = new();
        plant.Balloon.OnDeflate = _ =>
        {
            finish.Set();
            Assert.True(SpinWait.SpinUntil(() => plant.Arena.Aerator.References == 0, s_bound));
            return 0;
        };
        AllocateWhileHeld(plant, last, finish, () => Assert.Equal(last, plant.Allocate(10)));
    }

    [Fact]
    public unsafe void An_atomic_allocation_never_waits_for_the_reactor()
    {
        using TestPlant plant = Full(out nint last);
        using ManualResetEventSlim finish = new();
        AllocateWhileHeld(plant, last, finish, () =>
        {
            Assert.False(plant.Arena.TryAllocatePages(10, out _, MigrateType.Unmovable, AllocationFlags.Atomic));
            finish.Set();
        });
    }

    private static TestPlant FreeingThread(Action<PageArenaOptions>? more = null) => new(o =>
    {
        o.Aeration.Context = AerationContext.FreeingThread;
        more?.Invoke(o);
    });

    /// <summary>An arena of which every block is allocated, and one of them.</summary>
    private static TestPlant Full(out nint last)
    {
        TestPlant plant = new(o =>
        {
            o.SizeBytes = 16 << 20;
            o.Aeration.HostTimeout = s_bound;
        });
        last = plant.AllocateAll(10)[^1];
        return plant;
    }

    /// <summary>Acts while the only free block is in the reactor, whose device goes on when <paramref name="finish"/> is set.</summary>
    private static void AllocateWhileHeld(TestPlant plant, nint block, ManualResetEventSlim finish, Action act)
    {
        using ManualResetEventSlim held = new();
        plant.Balloon.WhileHeld = _ =>
        {
            held.Set();
            finish.Wait(s_bound, TestContext.Current.CancellationToken);
        };
        plant.Free(block);
        Thread treating = new(plant.Arena.Trim) { IsBackground = true };
        treating.Start();
        Assert.True(held.Wait(s_bound, TestContext.Current.CancellationToken));
        act();
        Assert.True(treating.Join(s_bound));
        plant.Check();
    }
}
