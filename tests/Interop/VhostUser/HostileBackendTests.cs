using System;
using System.Diagnostics;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Backends that do what no backend may, at every message of the handshake in turn and after it. The driver is out of service, knows why,
/// has lost nothing, and can connect again.</summary>
public sealed class HostileBackendTests
{
    private const int Reporting = BalloonLimits.ReportingQueue;
    private static readonly PageRange s_block = WireGuest.Block(0, 64);
    private static readonly TimeSpan s_short = TimeSpan.FromMilliseconds(50);

    /// <summary>What it does instead of the answer that is due.</summary>
    public enum Misdeed
    {
        Closes,
        Refuses,
        AnswersTooShort,
        AnswersTooLong,
        AnswersAnother,
        AnswersWithoutSayingThatItIsOne,
        SpeaksAnotherVersion,
        SendsNoise,
        SendsHalf,
        SpeaksTwice,
    }

    [Theory]
    [InlineData(Misdeed.Closes)]
    [InlineData(Misdeed.Refuses)]
    [InlineData(Misdeed.AnswersTooShort)]
    [InlineData(Misdeed.AnswersTooLong)]
    [InlineData(Misdeed.AnswersAnother)]
    [InlineData(Misdeed.AnswersWithoutSayingThatItIsOne)]
    [InlineData(Misdeed.SpeaksAnotherVersion)]
    [InlineData(Misdeed.SendsNoise)]
    [InlineData(Misdeed.SendsHalf)]
    [InlineData(Misdeed.SpeaksTwice)]
    public void At_every_message_of_the_handshake(Misdeed misdeed)
    {
        int length = LengthOfHandshake();
        Assert.InRange(length, 25, 60);
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        for (int at = 0; at < length; at++)
        {
            bool isDone = false;
            host.OnMessage = (backend, number) => number != at || !(isDone |= Do(backend, misdeed));
            bool isStarted = guest.TryStart();

            bool isNoticed = !isStarted || guest.Driver.IsOutOfService || (Volatile.Read(ref isDone) && NoticesInTheEnd(host, guest));

            // Nobody waits for the last message: it may be done to that when nobody looks any more.
            Assert.True(isNoticed || !isDone || at == length - 1, $"{misdeed} at message {at} goes unnoticed");
            Assert.True(!isNoticed || SpinWait.SpinUntil(() => Volatile.Read(ref isDone), ScriptedFrontend.Patience), guest.Transport.Failure);
            Assert.False(isNoticed && guest.Transport.Failure is null, $"{misdeed} at message {at}: nobody knows why");
            guest.RevokeInTheEnd();
            guest.RevokeInTheEnd(1);
            Assert.True(guest.Transport.IsAlone);
        }

        host.OnMessage = null;
        guest.Start();
    }

    [Fact]
    public void A_backend_that_says_nothing_is_given_up_in_time_at_every_message()
    {
        int length = LengthOfHandshake();
        for (int at = 0; at < length - 1; at++)
        {
            using WireGuest guest = Silent(at, out ScriptedBackend host);
            using (host)
            {
                long start = Stopwatch.GetTimestamp();
                Assert.True(!guest.TryStart() || guest.Driver.IsOutOfService, $"message {at}");
                Assert.Contains("no answer", guest.Transport.Failure, StringComparison.Ordinal);
                Assert.True(Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(10));

                // It has the memory or not: the kernel knows.
                bool hasMemory = host.Table.Count != 0;
                Assert.Equal(!hasMemory, guest.Driver.TryRevoke(0, TimeSpan.Zero));
            }

            guest.RevokeInTheEnd();
        }
    }

    /// <summary>Whoever reaches the end of a connection, the bound that was given holds, not the time that an answer may take.</summary>
    [Fact]
    public void To_leave_a_backend_that_stalls_takes_no_longer_than_was_allowed()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        host.OnMessage = static (backend, _) =>
        {
            backend.Stall();
            return true;
        };
        guest.Transport.WriteConfig(4, 1); // which it does not read any more, nor does this wait for it
        long start = Stopwatch.GetTimestamp();
        Assert.False(guest.Driver.TryRevoke(0, s_short));
        Assert.False(guest.Driver.TryRevoke(0, TimeSpan.Zero));
        Assert.True(Stopwatch.GetElapsedTime(start) < ScriptedFrontend.Patience / 2);
        host.GoOn();
        guest.RevokeInTheEnd();
    }

    [Theory]
    [InlineData(DriverQueueFault.UsedIndexAhead)]
    [InlineData(DriverQueueFault.UsedIdOutOfRange)]
    [InlineData(DriverQueueFault.UsedIdNotOutstanding)]
    [InlineData(DriverQueueFault.UsedLengthTooLong)]
    public void A_completion_that_is_none_stops_the_queue(object fault)
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        Assert.True(guest.Driver.React([s_block]));
        SplitRing ring = host.Ring(Reporting, 16);
        ushort head = ring.ReadAvailable(0);
        (uint id, uint length, ushort index) = (DriverQueueFault)fault switch
        {
            DriverQueueFault.UsedIndexAhead => (head, 0u, (ushort)2),
            DriverQueueFault.UsedIdOutOfRange => (16u, 0u, (ushort)1),
            DriverQueueFault.UsedIdNotOutstanding => (head + 1u, 0u, (ushort)1),
            _ => (head, (64 * WireGuest.PageBytes) + 1, (ushort)1),
        };
        ring.WriteUsed(0, id, length);
        ring.UsedIndex = index;
        host.Interrupt(Reporting);
        Assert.Equal(SettleResult.TimedOut, guest.Driver.Settle(Timeout.InfiniteTimeSpan));
        Assert.Equal((DriverQueueFault)fault, guest.Driver.Fault);
        Assert.True(guest.Driver.IsOutOfService);
        guest.RevokeInTheEnd();
        Assert.True(guest.IsUntouched(s_block));
        guest.Start();
    }

    [Fact]
    public void Interrupts_without_end_and_without_reason_do_no_harm()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        bool ends = false;
        Thread flood = new(() =>
        {
            while (!Volatile.Read(ref ends))
            {
                for (int queue = 0; queue < 3; queue++)
                {
                    host.Interrupt(queue);
                }
            }
        });
        flood.Start();
        Assert.True(guest.Driver.React([s_block]));
        Assert.Equal(SettleResult.TimedOut, guest.Driver.Settle(s_short));
        Volatile.Write(ref ends, true);
        flood.Join();
        guest.RevokeInTheEnd();
    }

    [Fact]
    public void Noise_on_the_channel_silences_the_channel_and_nothing_else()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        Assert.Equal(Errno.None, LinuxDescriptors.Instance.Send(host.Channel!.Descriptor, new byte[64], [], out _));
        Answer(host, guest);
        Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
        Assert.True(guest.Transport.IsConnected);
    }

    [Fact]
    public void A_channel_that_is_closed_is_not_looked_at_any_more()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        host.Channel!.ShutDown();
        Answer(host, guest);
        Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
        Assert.True(guest.Transport.IsConnected);
    }

    [Fact]
    public void What_a_backend_wants_acknowledged_on_the_channel_is()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        uint before = guest.Transport.ConfigGeneration;
        host.Channel!.Send((uint)VhostUserBackendRequest.ConfigChanged, VhostUserFlags.NeedReply, []);
        ReceiveResult result = ReceiveResult.More;
        Assert.True(SpinWait.SpinUntil(() => (result = host.Channel.TryReceive()) != ReceiveResult.More, ScriptedFrontend.Patience));
        Assert.Equal(ReceiveResult.Message, result);
        Assert.True(host.Channel.TryRead(out ulong answer));
        Assert.Equal(0ul, answer);
        Assert.True(SpinWait.SpinUntil(() => guest.Transport.ConfigGeneration != before, ScriptedFrontend.Patience));
    }

    /// <summary>A backend that always has one more thing to say does not keep the driver from its interrupts.</summary>
    [Fact]
    public void A_channel_that_never_ends_holds_nobody_up()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        uint before = guest.Transport.ConfigGeneration;
        guest.Ledger.Endless = ScriptedFrontend.Message((uint)VhostUserBackendRequest.ConfigChanged, VhostUserLimits.Version, []);
        guest.Ledger.EndlessOn = guest.Ledger.FirstOfPair;
        try
        {
            host.Channel!.Send((uint)VhostUserBackendRequest.ConfigChanged, 0, []);
            Assert.True(SpinWait.SpinUntil(() => guest.Transport.ConfigGeneration != before, ScriptedFrontend.Patience));
            Answer(host, guest);
            Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
        }
        finally
        {
            guest.Ledger.EndlessOn = -1;
        }
    }

    [Fact]
    public void A_channel_that_never_ends_does_not_keep_the_driver_from_leaving()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        bool ends = false;
        MessageSocket channel = host.Channel!;
        Thread flood = new(() =>
        {
            while (!Volatile.Read(ref ends) && channel.Send((uint)VhostUserBackendRequest.ConfigChanged, 0, []) is Errno.None or Errno.EAGAIN)
            {
                // As fast as it goes.
            }
        });
        flood.Start();
        guest.RevokeInTheEnd();
        Volatile.Write(ref ends, true);
        flood.Join();
    }

    /// <summary>A half-closed connection has no hang-up: the report is given up by its time, and the backend by the kernel's word.</summary>
    [Fact]
    public void A_backend_that_closes_half_is_left_all_the_same()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        host.Socket.ShutDown();
        Assert.True(guest.Driver.React([s_block]));
        Assert.Equal(SettleResult.TimedOut, guest.Driver.Settle(s_short));
        guest.RevokeInTheEnd();
        Assert.True(guest.IsUntouched(s_block));
    }

    /// <summary>Files that nobody asked for, among them the very memory: they are closed before it is asked who has it.</summary>
    [Fact]
    public void A_backend_that_sends_the_memory_back_is_not_taken_for_one_that_has_it()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        host.OnMessage = (backend, number) =>
        {
            if (backend.Socket.Request != (uint)VhostUserRequest.SetVringEnable)
            {
                return true;
            }

            Assert.True(backend.Table.TryFile(0, out int file, out _, out _));
            backend.Socket.Send(backend.Socket.Request, VhostUserFlags.Reply, new byte[8], [file, file]);
            return false;
        };
        guest.Start();
        guest.RevokeInTheEnd();
    }

    /// <summary>False: this message gives no occasion for it.</summary>
    private static bool Do(ScriptedBackend backend, Misdeed misdeed)
    {
        switch (misdeed)
        {
            case Misdeed.Refuses:
                return (backend.Socket.Flags & VhostUserFlags.NeedReply) != 0 && backend.Answer(static answer => [1, .. answer[1..]]);
            case Misdeed.AnswersTooShort:
                return backend.Answer(static answer => answer[..^1]);
            case Misdeed.AnswersTooLong:
                return backend.Answer(static answer => [.. answer, 0]);
            case Misdeed.AnswersAnother:
                return backend.Answer(request: 77);
            case Misdeed.AnswersWithoutSayingThatItIsOne:
                return backend.Answer(flags: 0);
            case Misdeed.SpeaksAnotherVersion:
                return backend.Answer(flags: VhostUserFlags.Reply | (VhostUserFlags)2);
            case Misdeed.SendsNoise:
                LinuxDescriptors.Instance.Send(backend.Socket.Descriptor, new byte[100], [], out _);
                return true;
            case Misdeed.SendsHalf:
                LinuxDescriptors.Instance.Send(backend.Socket.Descriptor, new byte[] { 1, 0, 0 }, [], out _);
                backend.CloseAfterThis();
                return true;
            case Misdeed.SpeaksTwice:
                backend.Answer();
                backend.Socket.Send(backend.Socket.Request, VhostUserFlags.Reply, new byte[8]);
                return true;
            default:
                backend.CloseAfterThis();
                return true;
        }
    }

    /// <summary>The next question shows what stands in the way of its answer, or that nobody is there.</summary>
    private static bool NoticesInTheEnd(ScriptedBackend host, WireGuest guest)
    {
        uint before = guest.Transport.ConfigGeneration;
        host.Channel?.Send((uint)VhostUserBackendRequest.ConfigChanged, 0, []);
        SpinWait.SpinUntil(() => guest.Transport.ConfigGeneration != before || guest.Driver.IsOutOfService, TimeSpan.FromSeconds(5));
        guest.Transport.ReadConfig(0);
        return SpinWait.SpinUntil(() => guest.Driver.IsOutOfService, TimeSpan.FromSeconds(5));
    }

    private static int LengthOfHandshake()
    {
        using ScriptedBackend host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        return host.Messages;
    }

    private static WireGuest Silent(int at, out ScriptedBackend host)
    {
        host = new ScriptedBackend
        {
            OnMessage = (backend, number) =>
            {
                if (number == at)
                {
                    backend.Stall();
                }

                return true;
            },
        };
        return new WireGuest(host.Path, timeout: s_short);
    }

    /// <summary>A report, and the answer that is due.</summary>
    private static void Answer(ScriptedBackend host, WireGuest guest)
    {
        Assert.True(guest.Driver.React([s_block]));
        SplitRing ring = host.Ring(Reporting, 16);
        ring.WriteUsed(0, ring.ReadAvailable(0), 0);
        ring.UsedIndex = 1;
        host.Interrupt(Reporting);
    }
}
