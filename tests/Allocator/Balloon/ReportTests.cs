using System;
using System.Threading;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>Reports from the driver through the ring to the host and back, on real memory.</summary>
public sealed class ReportTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly PageRange First = BalloonFixture.Block(512, 512);
    private static readonly PageRange Second = BalloonFixture.Block(2048, 1024);
    private static readonly PageRange Neighbour = BalloonFixture.Block(1024, 1);

    public static TheoryData<int, int, bool, bool> Ways
    {
        get
        {
            TheoryData<int, int, bool, bool> ways = [];
            foreach (HostMode mode in (HostMode[])[HostMode.Thread, HostMode.Inline])
            {
                foreach (ReportDialect dialect in Enum.GetValues<ReportDialect>())
                {
                    ways.Add((int)mode, (int)dialect, false, false);
                    ways.Add((int)mode, (int)dialect, true, true);
                }
            }

            return ways;
        }
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void A_reported_block_leaves_memory_and_reads_zero(int mode, int dialect, bool indirect, bool eventIndex)
    {
        BalloonDriverOptions options = new() { Dialect = (ReportDialect)dialect, UseIndirect = indirect, UseEventIndex = eventIndex };
        using BalloonFixture f = new((HostMode)mode, options);
        Assert.Equal(32, f.Driver.Capacity);
        for (int round = 0; round < 3; round++)
        {
            f.Touch();
            Assert.Equal(1536, f.ResidentPages(First) + f.ResidentPages(Second));
            Assert.True(f.Driver.React([Second, First]));
            Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(Patience));
            Assert.Equal(0, f.ResidentPages(First) + f.ResidentPages(Second));
            Assert.Equal((0u, 0u), (f.FirstWord(512), f.FirstWord(3071)));
            Assert.True(f.IsUntouched(Neighbour));
        }

        Assert.Equal(3, f.Device.Counters.Reports);
        Assert.Equal(3 * 1536, f.Device.Counters.DroppedPages);
        Assert.Equal((0L, 0L), (f.Device.Counters.BadRanges, f.Device.Counters.RefusedDiscards));
    }

    [Fact]
    public void The_kernels_own_account_of_the_process_falls_by_what_was_reported()
    {
        using BalloonFixture f = new(HostMode.Thread);
        long before = Smaps.ResidentBytes((nuint)f.Arena, (nuint)BalloonFixture.ArenaBytes);
        Assert.True(f.Driver.React([First, Second]));
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(Patience));
        Assert.Equal(before - (1536 * 4096), Smaps.ResidentBytes((nuint)f.Arena, (nuint)BalloonFixture.ArenaBytes));
    }

    [Fact]
    public void Blocks_of_a_memfd_are_punched_out()
    {
        using BalloonFixture f = new(HostMode.Thread, method: DiscardMethod.PunchHole);
        Assert.True(f.Driver.React([First]));
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(Patience));
        Assert.Equal(0, f.ResidentPages(First));
        Assert.Equal(0u, f.FirstWord(512));
        Assert.Contains(f.Os.Calls, c => c.Call == SystemCall.PunchHole && c.Address == 512 * 4096 && c.Bytes == 512 * 4096);
    }

    [Fact]
    public void Memory_that_the_kernel_takes_later_is_treated_and_never_passes_for_zero()
    {
        using BalloonFixture f = new(HostMode.Inline, method: DiscardMethod.Free);
        Assert.True(f.Driver.React([First]));
        Assert.Equal(SettleResult.Treated, f.Driver.Settle(Patience));
        Assert.Contains(f.Os.Calls, c => c.Advice == MemoryAdvice.Free && c.Bytes == 512 * 4096);
    }

    [Fact]
    public void A_full_batch_of_neighbours_is_one_call()
    {
        using BalloonFixture f = new(HostMode.Inline);
        int before = f.Os.Count(SystemCall.Advise);
        PageRange[] batch = new PageRange[32];
        for (uint i = 0; i < 32; i++)
        {
            batch[i] = BalloonFixture.Block(((i * 7) % 32) * 64, 64);
        }

        Assert.True(f.Driver.React(batch));
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero));
        Assert.Equal(before + 1, f.Os.Count(SystemCall.Advise));
        Assert.Equal(2048, f.Device.Counters.DroppedPages);
    }

    [Fact]
    public void A_full_batch_of_scattered_blocks_is_one_call_too()
    {
        using BalloonFixture f = new(HostMode.Inline);
        int before = f.Os.Count(SystemCall.Advise);
        f.Os.Vectors.Clear();
        PageRange[] batch = new PageRange[32];
        for (uint i = 0; i < 32; i++)
        {
            batch[i] = BalloonFixture.Block(((i * 7) % 32) * 64, 32);
        }

        Assert.True(f.Driver.React(batch));
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero));
        Assert.Equal(before, f.Os.Count(SystemCall.Advise));
        Assert.Equal(32, Assert.Single(f.Os.Vectors).Length);
        Assert.Equal(1024, f.Device.Counters.DroppedPages);
        Assert.All(batch, block => Assert.Equal(0, f.ResidentPages(block)));
        Assert.All(batch, block => Assert.True(f.IsUntouched(BalloonFixture.Block(block.Start.Value + 32, 32))));
    }

    [Fact]
    public void A_block_that_the_system_would_not_drop_comes_back_raw()
    {
        using BalloonFixture f = new(HostMode.Inline);
        f.Os.AdvisedBytesMax = 512 * 4096; // the call for both stops before the second
        f.Os.Fail(SystemCall.AdviseMany, Errno.ENOMEM, nth: 2);
        f.Os.Fail(SystemCall.Advise, Errno.ENOMEM);
        Assert.True(f.Driver.React([First, Second]));
        Assert.Equal(SettleResult.Failed, f.Driver.Settle(Patience));
        f.Os.AdvisedBytesMax = null;
        Assert.Equal((0, 512L), (f.ResidentPages(First), f.Device.Counters.DroppedPages));
        Assert.True(f.IsUntouched(Second));
        Assert.Equal((1L, Errno.ENOMEM), (f.Device.Counters.FailedDiscards, f.Balloon.Gates.Reports.LastError));
        Assert.True(f.Driver.React([Second]));
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(Patience));
    }

    /// <summary>B25.</summary>
    [Fact]
    public void Pages_with_a_poison_value_are_told_and_keep_it()
    {
        using BalloonFixture f = new(HostMode.Inline, new BalloonDriverOptions { PoisonValue = 0xaaaaaaaa });
        Assert.Equal(32, f.Driver.Capacity);
        Assert.True(f.Driver.React([First]));
        Assert.Equal(SettleResult.Treated, f.Driver.Settle(Patience));
        Assert.True(f.IsUntouched(First));
        Assert.Equal(512, f.Device.Counters.KeptPages);
    }

    /// <summary>B25: a value of zero is dropped, because what was dropped reads so; it does not earn the second mark.</summary>
    [Fact]
    public void A_poison_value_of_zero_is_dropped_and_not_marked_zero()
    {
        using BalloonFixture f = new(HostMode.Inline, new BalloonDriverOptions { PoisonValue = 0 });
        Assert.True(f.Driver.React([First]));
        Assert.Equal(SettleResult.Treated, f.Driver.Settle(Patience));
        Assert.Equal(0, f.ResidentPages(First));
    }

    /// <summary>B15: the freeing thread is the host for that moment; it holds no lock of driver or device that others need.</summary>
    [Fact]
    public async Task An_inline_host_works_in_the_reporting_thread_and_holds_nobody_up()
    {
        using BalloonFixture f = new(HostMode.Inline);
        int reporter = Environment.CurrentManagedThreadId;
        int dropper = 0;
        Task<bool>? other = null;
        f.Os.Before = (call, _, _) =>
        {
            if (call == SystemCall.Advise)
            {
                dropper = Environment.CurrentManagedThreadId;
                other = Task.Run(() => f.Driver.Service() | (f.Driver.Deflate(1) != 0), TestContext.Current.CancellationToken);
                Assert.True(other.Wait(Patience), "another thread waits for the one that reports");
            }
        };
        Assert.True(f.Driver.React([First]));
        Assert.Equal(reporter, dropper);
        f.Os.Before = null;
        Assert.False(await other!);
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero));
    }

    /// <summary>B18: a device that polls answers before it is notified, or while it is.</summary>
    [Fact]
    public async Task A_device_that_polls_never_stalls_the_reports()
    {
        PatientClock clock = new();
        using BalloonFixture f = new(HostMode.Thread, new BalloonDriverOptions { Clock = clock });
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task polling = Task.Factory.StartNew(
            () =>
            {
                while (!end.IsCancellationRequested)
                {
                    f.Device.Serve(BalloonLimits.ReportingQueue);
                }
            },
            end.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        int reports = 0;
        for (; reports < 2000 && clock.Expired == 0; reports++)
        {
            Assert.True(f.Driver.React([BalloonFixture.Block((uint)reports, 1)]));
            Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(Patience));
        }

        await end.CancelAsync();
        await polling;
        Assert.Equal(0, clock.Expired); // a wait that ends by its deadline looks at the ring once more, and would hide that nobody woke it
        Assert.Equal((2000, 2000L), (reports, f.Device.Counters.Reports));
    }

    /// <summary>B19: interrupts come from other queues on the same vector, twice, and when nothing is under way.</summary>
    [Fact]
    public void Spurious_interrupts_settle_nothing_and_break_nothing()
    {
        using BalloonFixture f = new();
        for (int round = 0; round < 3; round++)
        {
            Interrupt(f);
            Assert.True(f.Driver.React([First]));
            Interrupt(f);
            Assert.Equal(SettleResult.TimedOut, f.Driver.Settle(TimeSpan.Zero));
            Interrupt(f);
            f.Host.Process();
            Interrupt(f);
            Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero));
            Interrupt(f);
            f.Host.Process();
            Assert.Throws<InvalidOperationException>(() => f.Driver.Settle(TimeSpan.Zero));
        }

        Assert.Equal((3L, 0L), (f.Device.Counters.Reports, f.Device.Counters.RefusedDiscards));

        static void Interrupt(BalloonFixture f)
        {
            for (int queue = 0; queue < 6; queue++)
            {
                f.Host.Transport.QueueInterrupt!(queue);
            }

            f.Host.Transport.ConfigInterrupt!();
        }
    }

    /// <summary>B20: a batch that cannot be published is refused as a whole, and nothing of it stays behind.</summary>
    [Fact]
    public void A_batch_that_cannot_be_published_is_refused_whole()
    {
        using BalloonFixture f = new(options: new BalloonDriverOptions { WantedCapacity = 4 });
        PageRange[] five = [First, Second, Neighbour, BalloonFixture.Block(0, 1), BalloonFixture.Block(2, 1)];
        Assert.False(f.Driver.React(five));
        Assert.False(f.Driver.React([]));
        Assert.True(f.Driver.React(five.AsSpan(0, 4)));
        Assert.False(f.Driver.React([Neighbour]));
        f.Host.Process();
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero));
        Assert.True(f.IsUntouched(BalloonFixture.Block(2, 1)));
        Assert.True(f.Driver.React([Neighbour]));
    }

    [Fact]
    public void A_host_that_does_not_answer_is_waited_for_as_long_as_it_may_take_by_the_given_clock()
    {
        ImpatientClock clock = new();
        using BalloonFixture f = new(options: new BalloonDriverOptions { Clock = clock });
        Assert.True(f.Driver.React([First]));
        long before = clock.GetTimestamp();
        Assert.Equal(SettleResult.TimedOut, f.Driver.Settle(TimeSpan.FromHours(3)));
        Assert.True(clock.GetElapsedTime(before) >= TimeSpan.FromHours(3));
        f.Host.Process();
        Assert.Equal(SettleResult.TreatedZero, f.Driver.Settle(TimeSpan.Zero));
    }

    /// <summary>The system's time, and how many waits have lasted until their deadline.</summary>
    private sealed class PatientClock : TimeProvider
    {
        private int _expired;

        public int Expired => Volatile.Read(ref _expired);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            ArgumentNullException.ThrowIfNull(callback);
            return base.CreateTimer(Ring, null, dueTime, period);

            void Ring(object? ignored)
            {
                Interlocked.Increment(ref _expired);
                callback(state);
            }
        }
    }

    /// <summary>Time that passes as soon as somebody waits for it.</summary>
    private sealed class ImpatientClock : TimeProvider
    {
        private long _now = 1;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Read(ref _now);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            ArgumentNullException.ThrowIfNull(callback);
            Interlocked.Add(ref _now, dueTime.Ticks);
            callback(state);
            return new Rung();
        }

        private sealed class Rung : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => false;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
