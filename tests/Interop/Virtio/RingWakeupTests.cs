using System;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Virtio;

/// <summary>Two real threads that sleep whenever the rules let them. A wake-up lost between publishing an index and asking for
/// quiet would leave both asleep; the wait's bound then fails the test.</summary>
public sealed class RingWakeupTests
{
    private const int Requests = 60_000;
    private const int Meetings = 50_000;
    private static readonly TimeSpan StuckAfter = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task No_wake_up_is_lost_between_two_threads(bool eventIndex, bool indirect)
    {
        using RingFixture ring = new(8, eventIndex, indirect);
        using SemaphoreSlim notified = new(0);
        using SemaphoreSlim interrupted = new(0);
        Task<int> device = Task.Factory.StartNew(
            () => Serve(ring, notified, interrupted), TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Task<int> driver = Task.Factory.StartNew(
            () => Drive(ring, notified, interrupted), TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Assert.Equal(Requests, await driver);
        Assert.Equal(Requests, await device);
        Assert.Equal(DriverQueueFault.None, ring.Driver.Fault);
        Assert.Equal(ChainFault.None, ring.Device.Fault);
        Assert.Equal(0, ring.Driver.Outstanding);
    }

    /// <summary>The same on the spot: both sides start at one instant, one publishes and looks whether the other sleeps, the other goes
    /// to sleep and looks whether something was published. At least one of them must see the other. Without the full barriers
    /// both look before either is seen, some times in ten thousand.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Publishing_and_going_to_sleep_never_miss_each_other(bool eventIndex)
    {
        using RingFixture ring = new(8, eventIndex);
        using SpinningPair pair = new();
        bool[] seen = new bool[2];
        Task device = Task.Factory.StartNew(
            () =>
            {
                for (int i = 0; i < Meetings; i++)
                {
                    ring.Device.DisableNotifications();
                    pair.Meet(1);
                    seen[1] = ring.Device.EnableNotifications();
                    pair.Meet(1);
                    Assert.True(ring.Device.TryTake(ring.Chain));
                    pair.Meet(1);
                    ring.Device.Complete(ring.Chain.Head, 0);
                    seen[1] = ring.Device.MustInterrupt();
                    pair.Meet(1);
                }
            },
            TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        int missed = 0;
        for (int i = 0; i < Meetings; i++)
        {
            Assert.True(ring.Driver.TryAdd([new QueueBuffer(0, 4, false)], 0));
            pair.Meet(0);
            seen[0] = ring.Driver.Publish();
            pair.Meet(0);
            missed += seen[0] || seen[1] ? 0 : 1;
            ring.Driver.DisableInterrupts();
            pair.Meet(0);
            seen[0] = ring.Driver.EnableInterrupts();
            pair.Meet(0);
            missed += seen[0] || seen[1] ? 0 : 1;
            Assert.True(ring.Driver.TryReap(out _));
        }

        await device;
        Assert.Equal(0, missed);
    }

    private static int Drive(RingFixture ring, SemaphoreSlim notified, SemaphoreSlim interrupted)
    {
        int added = 0;
        int reaped = 0;
        while (reaped < Requests)
        {
            int burst = 1 + (added % 3);
            for (int i = 0; i < burst && added < Requests; i++)
            {
                QueueBuffer[] buffers = added % 2 == 0
                    ? [new QueueBuffer((ulong)added % 1024, 4, false)]
                    : [new QueueBuffer(8, 4, false), new QueueBuffer((ulong)added % 1024, 16, true)];
                if (!ring.Driver.TryAdd(buffers, (ulong)added))
                {
                    break;
                }

                added++;
            }

            if (ring.Driver.Publish())
            {
                notified.Release();
            }

            reaped += Reap(ring);
            bool mustWait = added == Requests ? reaped < Requests : !ring.Driver.CanAdd(2);
            while (mustWait && !ring.Driver.HasUsed)
            {
                if (!ring.Driver.EnableInterrupts() && !interrupted.Wait(StuckAfter))
                {
                    throw new TimeoutException($"the driver sleeps for ever after {reaped} of {added} requests");
                }

                ring.Driver.DisableInterrupts();
            }
        }

        return reaped;
    }

    private static int Reap(RingFixture ring)
    {
        int reaped = 0;
        while (ring.Driver.TryReap(out _))
        {
            reaped++;
        }

        return reaped;
    }

    private static int Serve(RingFixture ring, SemaphoreSlim notified, SemaphoreSlim interrupted)
    {
        int served = 0;
        while (served < Requests)
        {
            ring.Device.DisableNotifications();
            while (ring.Device.TryTake(ring.Chain))
            {
                ring.Device.Complete(ring.Chain.Head, (uint)(ring.Chain.WritableBytes / 2));
                served++;
                if (ring.Device.MustInterrupt())
                {
                    interrupted.Release();
                }
            }

            if (!ring.Device.EnableNotifications() && served < Requests && !notified.Wait(StuckAfter))
            {
                throw new TimeoutException($"the device sleeps for ever after {served} requests");
            }
        }

        return served;
    }
}
