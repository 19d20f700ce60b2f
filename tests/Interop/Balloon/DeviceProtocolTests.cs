using System;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Interop.Virtio;
using Xunit;

namespace LowLevel.Tests.Interop.Balloon;

/// <summary>Status, features, queues and reset of a device, against drivers that keep to the order and drivers that do not.</summary>
public sealed class DeviceProtocolTests : IDisposable
{
    private static readonly DeviceStatus[] Steps =
        [DeviceStatus.Acknowledge, DeviceStatus.Driver, DeviceStatus.FeaturesOk, DeviceStatus.DriverOk];

    private readonly DeviceFixture _f = new();

    private static Deadline Now => new(TimeProvider.System, TimeSpan.Zero);

    public void Dispose() => _f.Dispose();

    [Theory]
    [InlineData(0, DeviceStatus.Driver)]
    [InlineData(0, DeviceStatus.FeaturesOk)]
    [InlineData(0, DeviceStatus.DriverOk)]
    [InlineData(0, DeviceStatus.Acknowledge | DeviceStatus.FeaturesOk)]
    [InlineData(1, DeviceStatus.FeaturesOk)]
    [InlineData(1, DeviceStatus.DriverOk)]
    [InlineData(2, DeviceStatus.DriverOk)]
    public void A_step_that_is_left_out_breaks_the_device(int done, DeviceStatus next)
    {
        _f.Device.AcceptFeatures(DeviceFixture.Usual);
        for (int i = 0; i < done; i++)
        {
            _f.Device.AddStatus(Steps[i]);
        }

        _f.Device.AddStatus(next);
        Assert.Equal(ProtocolFault.StatusOutOfOrder, _f.Device.Fault);
        Assert.Equal((DeviceStatus)0, _f.Device.Status & next);
        Assert.NotEqual((DeviceStatus)0, _f.Device.Status & DeviceStatus.NeedsReset);
        Assert.True(_f.Device.TryReset(Now));
        Assert.Equal(((DeviceStatus)0, ProtocolFault.None), (_f.Device.Status, _f.Device.Fault));
    }

    [Fact]
    public void The_steps_in_their_order_bring_it_up()
    {
        _f.Negotiate();
        Assert.Equal(DeviceStatus.Acknowledge | DeviceStatus.Driver | DeviceStatus.FeaturesOk, _f.Device.Status);
        _f.Start();
        Assert.Equal(ProtocolFault.None, _f.Device.Fault);
        Assert.True(_f.Ask(BalloonLimits.ReportingQueue, DeviceFixture.Free(0, 1)));
    }

    [Theory]
    [InlineData(Feature.PageReporting)]
    [InlineData(Feature.Version1 | Feature.FreePageHint)]
    [InlineData(Feature.Version1 | Feature.AccessPlatform)]
    [InlineData(Feature.Version1 | (Feature)(1ul << 63))]
    public void Features_that_cannot_be_are_refused_by_the_missing_bit(Feature features)
    {
        _f.Negotiate(features);
        Assert.Equal(DeviceStatus.Acknowledge | DeviceStatus.Driver, _f.Device.Status);

        // Not a breach: the driver may try less.
        _f.Device.AcceptFeatures(Feature.Version1);
        _f.Device.AddStatus(DeviceStatus.FeaturesOk);
        Assert.NotEqual((DeviceStatus)0, _f.Device.Status & DeviceStatus.FeaturesOk);
    }

    [Fact]
    public void Features_after_features_ok_break_it()
    {
        _f.Negotiate();
        _f.Device.AcceptFeatures(Feature.Version1);
        Assert.Equal((ProtocolFault.FeaturesTooLate, DeviceFixture.Usual), (_f.Device.Fault, _f.Device.Features));
    }

    [Fact]
    public void A_queue_before_features_ok_or_after_driver_ok_breaks_it()
    {
        _f.Device.SetQueue(0, 16, DeviceFixture.Place(0));
        Assert.Equal(ProtocolFault.QueueOutOfOrder, _f.Device.Fault);
        Assert.True(_f.Device.TryReset(Now));
        _f.Negotiate().Start();
        _f.Device.SetQueue(0, 16, DeviceFixture.Place(0));
        Assert.Equal((ProtocolFault.QueueOutOfOrder, 1), (_f.Device.Fault, _f.ConfigInterrupts));
    }

    [Theory]
    [InlineData(BalloonLimits.FreePageQueue, 16, ProtocolFault.QueueUnknown)]
    [InlineData(5, 16, ProtocolFault.QueueUnknown)]
    [InlineData(-1, 16, ProtocolFault.QueueUnknown)]
    [InlineData(4, 0, ProtocolFault.QueueSize)]
    [InlineData(4, 24, ProtocolFault.QueueSize)]
    [InlineData(4, 2048, ProtocolFault.QueueSize)]
    internal void A_queue_that_cannot_be_breaks_it(int queue, int size, ProtocolFault fault)
    {
        _f.Negotiate().Device.SetQueue(queue, size, DeviceFixture.Place(0));
        Assert.Equal(fault, _f.Device.Fault);
    }

    [Fact]
    public void A_ring_outside_guest_memory_breaks_it()
    {
        _f.Negotiate().Device.SetQueue(4, 16, new VirtqueueAddresses(ulong.MaxValue - 15, 0, 0));
        Assert.Equal(ProtocolFault.QueuePlacement, _f.Device.Fault);
    }

    [Fact]
    public void Nothing_is_used_before_driver_ok_and_what_was_there_is_used_after_it()
    {
        _f.Negotiate();
        Assert.True(SplitRing.TryMap(_f.Memory, 16, DeviceFixture.Place(4), out SplitRing ring));
        DriverQueue queue = new(ring, eventIndex: false);
        _f.Device.SetQueue(4, 16, DeviceFixture.Place(4));
        Assert.True(queue.TryAdd([DeviceFixture.Free(1, 1)], 1));
        queue.Publish();
        _f.Device.Serve(4);
        Assert.Equal((ProtocolFault.NotifiedTooEarly, false), (_f.Device.Fault, queue.TryReap(out _)));
        Assert.Empty(_f.Reports.Dropped);

        _f.Device.AddStatus(DeviceStatus.DriverOk);
        _f.Device.Serve(4);
        Assert.True(queue.TryReap(out _));

        // It was only noted, and hides no real fault.
        Assert.True(queue.TryAdd([new QueueBuffer(ulong.MaxValue, 2, true)], 1));
        queue.Publish();
        _f.Device.Serve(4);
        Assert.Equal(ProtocolFault.Chain, _f.Device.Fault);
    }

    [Fact]
    public void A_bad_chain_breaks_the_whole_device_and_interrupts()
    {
        _f.Negotiate().Start();
        Assert.False(_f.Ask(4, new QueueBuffer(ulong.MaxValue, 2, true)));
        Assert.Equal((ProtocolFault.Chain, ChainFault.BufferOutOfRange), (_f.Device.Fault, _f.Device.ChainFault));
        Assert.Equal(1, _f.ConfigInterrupts);
        _f.Numbers[0] = 1;
        Assert.False(_f.Ask(BalloonLimits.InflateQueue, DeviceFixture.Read(4)));
        Assert.Empty(_f.Inflates.Dropped);
        Assert.Equal(1, _f.ConfigInterrupts);
    }

    [Fact]
    public void A_reset_forgets_queues_features_and_config_and_the_old_ring_is_dead()
    {
        _f.Negotiate().Start();
        _f.Device.WriteConfig(4, 9);
        Assert.False(_f.Ask(BalloonLimits.StatsQueue, DeviceFixture.Read(10)));
        Assert.True(_f.Device.TryReset(Now));
        Assert.Equal(((DeviceStatus)0, (Feature)0, 0u), (_f.Device.Status, _f.Device.Features, _f.Device.ActualPages));
        Assert.False(_f.Ask(4, DeviceFixture.Free(1, 1)));
        Assert.Empty(_f.Reports.Dropped);

        // Nothing held from before turns up in the next life.
        Assert.True(_f.Device.TryReset(Now));
        _f.Negotiate().Start();
        _f.Device.WantStatistics();
        _f.Device.Serve(BalloonLimits.StatsQueue);
        Assert.False(_f.Queues[BalloonLimits.StatsQueue].HasUsed);
        Assert.True(_f.Ask(4, DeviceFixture.Free(1, 1)));
    }

    [Fact]
    public async Task A_reset_waits_for_the_thread_that_serves_and_takes_nothing_new_meanwhile()
    {
        _f.Negotiate().Start();
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim lets = new();
        _f.Reports.Before = () =>
        {
            entered.Set();
            lets.Wait(TestContext.Current.CancellationToken);
        };
        DriverQueue queue = _f.Queues[4];
        Assert.True(queue.TryAdd([DeviceFixture.Free(1, 1)], 1));
        Assert.True(queue.TryAdd([DeviceFixture.Free(3, 1)], 2));
        queue.Publish();
        Task serving = Task.Run(() => _f.Device.Serve(4), TestContext.Current.CancellationToken);
        entered.Wait(TestContext.Current.CancellationToken);

        Assert.False(_f.Device.TryReset(Now));
        Assert.NotEqual((DeviceStatus)0, _f.Device.Status);
        Task<bool> reset = Task.Run(
            () => _f.Device.TryReset(new Deadline(TimeProvider.System, TimeSpan.FromSeconds(30))), TestContext.Current.CancellationToken);
        lets.Set();
        await serving;
        Assert.True(await reset);
        Assert.Equal([DeviceFixture.Range(1, 1)], _f.Reports.Dropped);
        Assert.Equal((DeviceStatus)0, _f.Device.Status);
    }

    [Fact]
    public async Task A_thread_that_finds_another_serving_leaves_its_request_to_it()
    {
        _f.Negotiate().Start();
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim lets = new();
        _f.Reports.Before = () =>
        {
            entered.Set();
            lets.Wait(TestContext.Current.CancellationToken);
        };
        DriverQueue queue = _f.Queues[4];
        Assert.True(queue.TryAdd([DeviceFixture.Free(1, 1)], 1));
        queue.Publish();
        Task serving = Task.Run(() => _f.Device.Serve(4), TestContext.Current.CancellationToken);
        entered.Wait(TestContext.Current.CancellationToken);
        Assert.True(queue.TryAdd([DeviceFixture.Free(3, 1)], 2));
        queue.Publish();
        _f.Device.Serve(4);
        Assert.Empty(_f.Reports.Dropped);
        lets.Set();
        await serving;
        Assert.Equal([DeviceFixture.Range(1, 1), DeviceFixture.Range(3, 1)], _f.Reports.Dropped);
    }

    /// <summary>B18: one thread is about to leave the queue when another notifies; one of the two must see the request.</summary>
    [Fact]
    public async Task Two_threads_that_serve_at_once_leave_no_request_behind()
    {
        const int Rounds = 20_000;
        _f.Negotiate().Start();
        _f.Device.QueueInterrupt = null;
        using SpinningPair pair = new();
        Task serving = Task.Factory.StartNew(
            () =>
            {
                for (int i = 0; i < Rounds; i++)
                {
                    pair.Meet(1);
                    _f.Device.Serve(BalloonLimits.DeflateQueue);
                    pair.Meet(1);
                }
            },
            TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        DriverQueue queue = _f.Queues[BalloonLimits.DeflateQueue];
        int left = 0;
        for (int i = 0; i < Rounds; i++)
        {
            Assert.True(queue.TryAdd([DeviceFixture.Read(4)], 0));
            pair.Meet(0);
            if (queue.Publish())
            {
                _f.Device.Serve(BalloonLimits.DeflateQueue);
            }

            pair.Meet(0);
            if (!queue.TryReap(out _))
            {
                left++;
                _f.Device.Serve(BalloonLimits.DeflateQueue);
                Assert.True(queue.TryReap(out _));
            }
        }

        await serving;
        Assert.Equal((0, (long)Rounds), (left, _f.Device.Counters.DeflatedPages));
    }

    /// <summary>The same made certain: the notification comes while the queue is being served, and is not the server's to forget.</summary>
    [Fact]
    public void A_notification_while_a_queue_is_served_makes_the_server_look_again()
    {
        CountingDevice device = new(_f.Memory);
        device.AddStatus(DeviceStatus.Acknowledge);
        device.AddStatus(DeviceStatus.Driver);
        device.AcceptFeatures(Feature.Version1);
        device.AddStatus(DeviceStatus.FeaturesOk);
        device.SetQueue(0, 16, DeviceFixture.Place(0));
        device.AddStatus(DeviceStatus.DriverOk);
        device.Interruptions = 2;
        device.Serve(0);
        Assert.Equal(3, device.Looks);
        device.Serve(0);
        Assert.Equal(4, device.Looks);
    }

    /// <summary>Is notified again by each of its first looks at the queue.</summary>
    private sealed class CountingDevice(GuestMemory memory) : VirtioDevice(memory, Feature.Version1, [16])
    {
        public int Interruptions { get; set; }

        public int Looks { get; private set; }

        public override uint ConfigGeneration => 0;

        public override uint ReadConfig(int offset) => 0;

        public override void WriteConfig(int offset, uint value)
        {
        }

        protected override void BeforeServing(int queue, DeviceQueue ring)
        {
            Looks++;
            if (Interruptions-- > 0)
            {
                Serve(queue);
            }
        }

        protected override bool Handle(int queue, DescriptorChain chain, out uint written)
        {
            written = 0;
            return true;
        }

        protected override void OnReset()
        {
        }
    }
}
