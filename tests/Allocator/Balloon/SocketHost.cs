using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using LowLevel.Tests.Fakes;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>A host on a unix socket, in this process but with nothing in common with the guest except what the socket carries. One guest at a
/// time; its faults are those of its operating system.</summary>
internal sealed class SocketHost : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lowlevel-host-").FullName;
    private readonly List<Thread> _threads = [];
    private readonly Lock _guard = new();
    private readonly ManualResetEventSlim _mayPunch = new(initialState: true);
    private Socket? _listener;
    private Guest? _current;

    public SocketHost(bool listens = true)
    {
        Path = System.IO.Path.Combine(_folder, "host.sock");
        if (listens)
        {
            Listen();
        }
    }

    public string Path { get; }

    /// <summary>What drops the pages.</summary>
    public FaultyOperatingSystem Os { get; } = new();

    public uint Target { get; set; }

    /// <summary>Guests so far.</summary>
    public int Guests { get; private set; }

    public BalloonDevice? Device => _current?.Device;

    public SharedGuest? Shared => _current?.Shared;

    public string? EndReason => _current?.Backend.EndReason;

    public void Listen()
    {
        _listener = UnixSockets.Listen(Path);
        Begin(() => Accept(_listener));
    }

    /// <summary>What the guest's driver is to hold.</summary>
    public void SetTarget(uint pages)
    {
        Target = pages;
        Device?.SetTarget(pages);
    }

    public void WantStatistics()
    {
        _current!.Device.WantStatistics();
        _current.Backend.AskFor(BalloonLimits.StatsQueue);
    }

    /// <summary>From now on each hole is punched only after <see cref="Resume"/>.</summary>
    public void Stall()
    {
        _mayPunch.Reset();
        Os.Before = (call, _, _) =>
        {
            if (call == SystemCall.PunchHole)
            {
                _mayPunch.Wait();
            }
        };
    }

    /// <summary>Late, but it goes on.</summary>
    public void Resume() => _mayPunch.Set();

    /// <summary>The host is killed: nothing is asked or answered any more, and the kernel closes what it had.</summary>
    public void Kill()
    {
        _listener?.Dispose();
        _listener = null;
        File.Delete(Path);
        Guest? current = _current;
        current?.Backend.Stop();
        current?.Ended.Wait(TestContextToken);
    }

    public void Dispose()
    {
        Resume();
        Kill();
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _mayPunch.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static CancellationToken TestContextToken => Xunit.TestContext.Current.CancellationToken;

    private void Begin(ThreadStart run)
    {
        Thread thread = new(run) { IsBackground = true, Name = "socket host" };
        lock (_guard)
        {
            _threads.Add(thread);
        }

        thread.Start();
    }

    private void Accept(Socket listener)
    {
        try
        {
            while (true)
            {
                Guest guest = new(listener.Accept(), Os);
                guest.Device.SetTarget(Target);
                _current = guest;
                Guests++;
                Begin(guest.Run);
            }
        }
        catch (SocketException)
        {
            // The listener was closed.
        }
        catch (ObjectDisposedException)
        {
        }
    }

    private sealed class Guest
    {
        public Guest(Socket socket, IOperatingSystem os)
        {
            Shared = new SharedGuest(os, LinuxDescriptors.Instance);
            Device = new BalloonDevice(
                new LowLevel.Interop.Virtio.GuestMemory(), ulong.MaxValue, Shared, Shared,
                new BalloonDeviceOptions { Offered = new BalloonDeviceOptions().Offered | Feature.FreePageHint });
            Backend = new VhostUserBackend(socket, Device, Shared, LinuxDescriptors.Instance);
            Backend.AfterRound = () => Device.CountsOnly = (Backend.ProtocolFeatures & VhostUserProtocolFeature.GuestDrops) != 0;
        }

        public SharedGuest Shared { get; }

        public BalloonDevice Device { get; }

        public VhostUserBackend Backend { get; }

        public ManualResetEventSlim Ended { get; } = new();

        public void Run()
        {
            Backend.Run();
            Backend.Dispose();
            Ended.Set();
        }
    }
}
