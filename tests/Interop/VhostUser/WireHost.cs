using System;
using System.Diagnostics.CodeAnalysis;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>A host on a socket in a folder of its own: for each connection a backend with a balloon device on a thread. Disposing looks that
/// nothing is left of any.</summary>
internal sealed class WireHost : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lowlevel-wire-").FullName;
    private readonly Socket _listener;
    private readonly Thread _accepting;
    private readonly BalloonDeviceOptions _options;
    private readonly Action<VhostUserBackend, BalloonDevice>? _prepare;
    private readonly AutoResetEvent _arrived = new(false);
    private volatile Session? _current;
    private Exception? _crash;

    public WireHost(BalloonDeviceOptions? options = null, Action<VhostUserBackend, BalloonDevice>? prepare = null)
    {
        _options = options ?? new BalloonDeviceOptions();
        _prepare = prepare;
        Path = System.IO.Path.Combine(_folder, "host.sock");
        _listener = UnixSockets.Listen(Path);
        _accepting = new Thread(Accept) { IsBackground = true, Name = "wire host" };
        _accepting.Start();
    }

    public string Path { get; }

    public LedgerDescriptors Ledger { get; } = new();

    /// <summary>What punches.</summary>
    public FaultyOperatingSystem Os { get; } = new();

    public BalloonDevice Device => _current!.Device;

    public SharedGuest Guest => _current!.Guest;

    public VhostUserBackend Backend => _current!.Backend;

    public int Sessions { get; private set; }

    /// <summary>Runs in the serving thread when a session is over and everything of it closed.</summary>
    public Action<VhostUserBackend>? Ended { get; set; }

    public void WantStatistics()
    {
        Device.WantStatistics();
        Backend.AskFor(BalloonLimits.StatsQueue);
    }

    /// <summary>Ends the session that there is, as if the process were gone.</summary>
    public void Kill()
    {
        Session? session = _current;
        session?.Backend.Stop();
        Assert.True(session is null || session.Thread.Join(ScriptedFrontend.Patience), "a session does not end");
    }

    public void Dispose()
    {
        Os.Before = null;
        _listener.Dispose();
        Assert.True(_accepting.Join(ScriptedFrontend.Patience));
        Kill();
        Assert.Null(_crash);
        Assert.Empty(Ledger.Faults);
        File.Delete(Path);
        Directory.Delete(_folder);
        _arrived.Dispose();
    }

    [SuppressMessage("Reliability", "CA2000", Justification = "The backend owns the guest and the socket; its thread disposes of it.")]
    private void Accept()
    {
        try
        {
            while (true)
            {
                Socket socket = _listener.Accept();
                SharedGuest guest = new(Os, Ledger);
                BalloonDevice device = new(new GuestMemory(), ulong.MaxValue, guest, guest, _options);
                VhostUserBackend backend = new(socket, device, guest, Ledger);
                _prepare?.Invoke(backend, device);
                Session session = new(backend, device, guest);
                Thread? before = _current?.Thread;
                session.Thread = new Thread(() => Serve(session, before)) { IsBackground = true, Name = "wire host's guest" };
                Sessions++;
                _current = session;
                session.Thread.Start();
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The listener was closed.
        }
    }

    private void Serve(Session session, Thread? before)
    {
        try
        {
            session.Backend.Run();
            session.Backend.Dispose();
            Ended?.Invoke(session.Backend);
        }
        catch (Exception e)
        {
            _crash = e;
        }

        // So that whoever waits for the last has waited for all.
        before?.Join();
    }

    private sealed record Session(VhostUserBackend Backend, BalloonDevice Device, SharedGuest Guest)
    {
        public Thread Thread { get; set; } = null!;
    }
}
