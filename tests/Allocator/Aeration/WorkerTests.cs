using System;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>The thread that makes the passes, under a clock that the test moves. Waits here are for another thread to come to a
/// point, never for time to pass.</summary>
public sealed class WorkerTests
{
    private static readonly TimeSpan s_quarter = TimeSpan.FromMilliseconds(250);

    [Fact]
    public void A_pass_is_made_every_quarter_of_the_delay()
    {
        using TestPlant plant = new(hasWorker: true);
        ulong first = plant.Arena.Epoch;
        for (int pass = 1; pass <= 8; pass++)
        {
            WaitFor(() => plant.Clock.Armings == pass);
            Assert.Equal(s_quarter, plant.Clock.UntilNextTimer);
            plant.Clock.Advance(s_quarter);
            WaitFor(() => plant.Balloon.Services == pass);
            Assert.Equal(first + (ulong)pass, plant.Arena.Epoch);
        }
    }

    [Fact]
    public void A_signal_does_not_put_the_next_timed_pass_off()
    {
        using TestPlant plant = new(hasWorker: true);
        ulong first = plant.Arena.Epoch;
        WaitFor(() => plant.Clock.Armings == 1);
        plant.Clock.Advance(TimeSpan.FromMilliseconds(200));
        plant.Balloon.WorkArrived!();
        WaitFor(() => plant.Clock.Armings == 2);
        Assert.Equal((1, first), (plant.Balloon.Services, plant.Arena.Epoch));
        Assert.Equal(TimeSpan.FromMilliseconds(50), plant.Clock.UntilNextTimer);
        plant.Clock.Advance(TimeSpan.FromMilliseconds(50));
        WaitFor(() => plant.Balloon.Services == 2);
        Assert.Equal(first + 1, plant.Arena.Epoch);
    }

    [Fact]
    public void What_the_host_wants_brings_the_next_pass_forward()
    {
        using TestPlant plant = new(hasWorker: true);
        WaitFor(() => plant.Clock.Armings == 1);
        plant.Balloon.WorkArrived!();
        WaitFor(() => plant.Balloon.Services == 1);
        plant.Arena.Aerator.Stop();
        plant.Balloon.WorkArrived!();
        Assert.Null(plant.Clock.UntilNextTimer); // the thread has ended and taken its timer along
        Assert.Equal(1, plant.Balloon.Services);
    }

    [Fact]
    public void A_worker_that_was_signalled_before_it_sleeps_does_not_sleep_and_one_that_is_stopped_does_not_act()
    {
        int acted = 0;
        using ManualResetEventSlim ran = new();
        Worker worker = new(TimeProvider.System, () => TimeSpan.FromDays(20), () =>
        {
            acted++;
            ran.Set();
        });
        worker.Signal();
        worker.Signal();
        worker.Start();
        Assert.True(ran.Wait(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken));
        Assert.True(worker.Stop(TimeSpan.FromSeconds(60)));
        worker.Signal();
        Assert.Equal(1, acted);
    }

    private static void WaitFor(Func<bool> reached) => Assert.True(SpinWait.SpinUntil(reached, TimeSpan.FromSeconds(60)));
}
