using System;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>A backend dies, another takes over the same rings. All that is known of the first is what stands on the rings: the frontend gives
/// the used index for a base, as QEMU does, and what was in flight is done again.</summary>
public sealed class ReconnectTests : IDisposable
{
    private readonly SharedMemoryFile _memory = SharedMemoryFile.Create(
        LinuxSystem.Instance, LinuxDescriptors.Instance, "reconnect", (nuint)ScriptedFrontend.Bytes);

    public void Dispose() => _memory.Dispose();

    [Fact]
    public void Requests_in_flight_are_done_again_by_the_next_backend()
    {
        ScriptedFrontend first = new(_memory);
        first.Greet();
        using FrontRing ring = new(first, BalloonLimits.ReportingQueue);
        ring.Start();
        ring.Report(0, 1, 10);
        Assert.Equal(10ul, ring.Await());

        // It hangs in the kernel with the second, the third waits behind it, and then it is no more. The kernel's calls end without doing anything.
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim goes = new();
        first.System.FailAlways(SystemCall.PunchHole, Errno.EIO);
        first.System.Before = (call, _, _) =>
        {
            if (call == SystemCall.PunchHole)
            {
                entered.Set();
                goes.Wait(ScriptedFrontend.Patience);
            }
        };
        ring.Report(1, 1, 11);
        ring.Report(2, 1, 12);
        Assert.True(entered.Wait(ScriptedFrontend.Patience, TestContext.Current.CancellationToken));
        first.Backend.Stop();
        goes.Set();
        first.Dispose();

        ushort used = ring.Ring.UsedIndex;
        Assert.InRange(used, 1, 2);
        using ScriptedFrontend second = new(_memory);
        second.Greet();
        Touch(2);
        Restart(second, ring, used);
        Assert.Equal(11ul, ring.Await());
        Assert.Equal(12ul, ring.Await());
        Assert.Equal(0, Word(2));
        Assert.Equal(3 - used, second.Device.Counters.Reports);
    }

    [Fact]
    public void A_statistics_buffer_that_the_dead_backend_held_is_held_by_the_next()
    {
        ScriptedFrontend first = new(_memory);
        first.Greet();
        using FrontRing ring = new(first, BalloonLimits.StatsQueue);
        ring.Start();
        MemoryMarshal.Write(MemoryMarshal.AsBytes(ring.Buffer), new BalloonStat { Tag = (ushort)BalloonStatTag.FreeMemory, Val = 5 });
        ring.Send(BalloonStat.SizeInBytes, 21);
        Assert.True(SpinWait.SpinUntil(() => first.Device.Statistics.Updates == 1, ScriptedFrontend.Patience));
        first.Dispose();
        Assert.False(ring.Driver.HasUsed);

        using ScriptedFrontend second = new(_memory);
        second.Greet();
        Restart(second, ring, ring.Ring.UsedIndex);
        Assert.True(SpinWait.SpinUntil(() => second.Device.Statistics.Updates == 1, ScriptedFrontend.Patience));
        Assert.Equal(5ul, second.Device.Statistics[BalloonStatTag.FreeMemory]);
        second.Device.WantStatistics();
        second.Backend.AskFor(BalloonLimits.StatsQueue);
        Assert.Equal(21ul, ring.Await());
    }

    [Fact]
    public void Backends_come_and_go_and_every_request_is_answered_once()
    {
        ScriptedFrontend front = new(_memory);
        front.Greet();
        using FrontRing ring = new(front, BalloonLimits.DeflateQueue);
        ring.Start();
        ulong next = 0;
        for (int life = 0; life < 20; life++)
        {
            for (int i = 0; i < 3; i++)
            {
                ring.Send(4, next);
                Assert.Equal(next++, ring.Await());
            }

            front.Backend.Stop();
            front.End();
            ring.Send(4, next);
            front.Dispose();
            front = new ScriptedFrontend(_memory);
            front.Greet();
            Restart(front, ring, ring.Ring.UsedIndex);
            Assert.Equal(next++, ring.Await());
        }

        front.Dispose();
    }

    /// <summary>The same ring under another backend.</summary>
    private static void Restart(ScriptedFrontend front, FrontRing ring, ushort from)
    {
        Assert.Equal(0ul, front.Tell(VhostUserRequest.SetVringNum, ScriptedFrontend.State(ring.Queue, (uint)ring.Size)));
        Assert.Equal(0ul, front.Tell(VhostUserRequest.SetVringBase, ScriptedFrontend.State(ring.Queue, from)));
        Assert.Equal(0ul, front.Tell(VhostUserRequest.SetVringAddress, ring.Address));
        Assert.Equal(0ul, front.Tell(VhostUserRequest.SetVringCall, (ulong)ring.Queue, ring.Call));
        Assert.Equal(0ul, front.Tell(VhostUserRequest.SetVringEnable, ScriptedFrontend.State(ring.Queue, 1)));
        Assert.Equal(0ul, front.Tell(VhostUserRequest.SetVringKick, (ulong)ring.Queue, ring.Kick));
    }

    private unsafe void Touch(int page) => *(int*)(_memory.Mapping + (page * (nint)ScriptedFrontend.Page)) = 1;

    private unsafe int Word(int page) => *(int*)(_memory.Mapping + (page * (nint)ScriptedFrontend.Page));
}
