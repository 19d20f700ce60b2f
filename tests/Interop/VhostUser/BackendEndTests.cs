using System;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>How a conversation ends: whatever a frontend does, the backend sees that it is gone, ends when it is told to, and has closed everything
/// then.</summary>
public sealed class BackendEndTests : IDisposable
{
    private readonly ScriptedFrontend _front = new();

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    public void Dispose() => _front.Dispose();

    [Fact]
    public void A_guest_that_leaves_is_let_go_of_without_blame()
    {
        _front.Greet();
        _front.HangUp();
        Assert.Contains("closed", _front.End(), StringComparison.Ordinal);
        Assert.False(_front.Backend.WasCutOff);
    }

    [Fact]
    public void A_channel_that_is_no_socket_ends_it()
    {
        _front.Say(VhostUserRequest.SetBackendChannel, [], _front.Memory.File);
        _front.AssertCutOff("no unix stream socket");
    }

    /// <summary>With the frontend's end in its own hands the backend would never see it close.</summary>
    [Fact]
    public void A_channel_that_is_the_connection_itself_ends_it()
    {
        _front.Say(VhostUserRequest.SetBackendChannel, [], _front.Socket.Descriptor);
        _front.HangUp();
        _front.AssertCutOff("end of this connection");
    }

    [Fact]
    public void A_channel_in_which_the_frontends_end_lies_ends_it()
    {
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int ours, out int theirs));
        Assert.Equal(Errno.None, Os.Send(ours, [1], [_front.Socket.Descriptor, ours], out _));
        _front.Say(VhostUserRequest.SetBackendChannel, [], theirs);
        Os.Close(ours);
        Os.Close(theirs);
        _front.HangUp();
        _front.AssertCutOff("to be read");
    }

    [Fact]
    public void A_channel_that_only_listens_ends_it()
    {
        string path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"{_front.Name}.sock");
        using System.Net.Sockets.Socket listener = UnixSockets.Listen(path);
        _front.Say(VhostUserRequest.SetBackendChannel, [], (int)listener.Handle);
        _front.AssertCutOff("not connected");
        System.IO.File.Delete(path);
    }

    [Fact]
    public void Half_a_message_with_the_frontends_end_ends_it_in_the_end()
    {
        byte[] half = ScriptedFrontend.Message((uint)VhostUserRequest.SetOwner, VhostUserLimits.Version, [])[..7];
        Assert.Equal(Errno.None, Os.Send(_front.Socket.Descriptor, half, [_front.Socket.Descriptor], out _));
        _front.HangUp();
        bool isOver = SpinWait.SpinUntil(
            () =>
            {
                _front.Clock.Advance(TimeSpan.FromSeconds(1));
                return _front.Backend.EndReason is not null;
            },
            ScriptedFrontend.Patience);
        Assert.True(isOver);
        _front.AssertCutOff("does not end");
    }

    /// <summary>Time that passes while nothing has begun is nobody's fault.</summary>
    [Fact]
    public void A_frontend_that_says_nothing_for_long_stays()
    {
        _front.Greet();
        _front.Clock.Advance(TimeSpan.FromDays(1));
        Assert.Equal((ulong)BalloonLimits.Queues, _front.Ask<ulong>(VhostUserRequest.GetQueueNum, []));
    }

    /// <summary>A frontend that always has one more question keeps nobody from ending it.</summary>
    [Fact]
    public void A_backend_that_is_told_to_end_does_so_under_a_flood_of_messages()
    {
        bool ends = false;
        Thread flood = new(() =>
        {
            while (!Volatile.Read(ref ends) && _front.Socket.Send((uint)VhostUserRequest.SetOwner, 0, []) is Errno.None or Errno.EAGAIN)
            {
                // As fast as it goes.
            }
        });
        flood.Start();
        _front.Backend.Stop();
        Assert.Equal("this host ends", _front.End());
        Volatile.Write(ref ends, true);
        flood.Join();
    }

    /// <summary>A frontend that sees the connection closed may take its memory for its own.</summary>
    [Fact]
    public void Memory_is_let_go_of_before_the_connection_is()
    {
        _front.Greet();
        Assert.Equal(2, OpenFiles.Mapped(_front.Name));
        _front.Backend.Stop();
        Assert.Equal(ReceiveResult.Closed, _front.Hear());
        Assert.Equal((1, 1), (OpenFiles.Named(_front.Name), OpenFiles.Mapped(_front.Name)));
    }

    [Fact]
    public void What_a_backend_is_told_after_its_end_touches_nothing()
    {
        _front.Greet();
        _front.Backend.Stop();
        _front.End();
        _front.Backend.Dispose();
        _front.Device.SetTarget(7);
        _front.Backend.AskFor(2);
        _front.Backend.AnnounceConfig();
        _front.Backend.Stop();
        Assert.Empty(_front.Ledger.Faults);
    }

    /// <summary>The target is told on the channel; a guest that has a thousand of these to read is stopped, not hostile.</summary>
    [Fact]
    public void A_guest_that_does_not_read_what_it_is_told_stays()
    {
        _front.Greet();
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int ours, out int theirs));
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetBackendChannel, [], theirs));
        Os.Close(theirs);
        for (int i = 0; i < 2000; i++)
        {
            _front.Backend.AnnounceConfig();
            Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, []));
        }

        using (MessageSocket channel = MessageSocket.Adopt(ours, Os))
        {
            Assert.Equal(ReceiveResult.Message, channel.TryReceive());
            Assert.Equal((uint)VhostUserBackendRequest.ConfigChanged, channel.Request);
        }

        _front.Backend.AnnounceConfig();
        Assert.Equal(0ul, _front.Tell(VhostUserRequest.SetOwner, []));
    }
}
