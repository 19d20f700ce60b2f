using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Host;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Microsoft.Win32.SafeHandles;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>A Linux guest with Linux's balloon driver, and a host of ours in this process that has its balloon. Commands typed into the guest are run
/// there.</summary>
internal sealed class BalloonGuest : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Glance = TimeSpan.FromMilliseconds(10);

    /// <summary>What a guest that does next to nothing touches meanwhile.</summary>
    private const ulong NoiseBytes = 1 << 20;

    private readonly PeerFolder _folder = new();
    private readonly VhostUserRelay? _relay;
    private readonly Func<HostOptions, HostOptions> _with;
    private readonly Signal _changed = new();
    private readonly PeerProcess _guest;
    private readonly SafeFileHandle _memory;
    private HostServer _server;
    private ulong _lastFaults;
    private int _statistics;
    private int _rounds;

    /// <summary>Starts the host, then the guest, and waits for its driver.</summary>
    /// <param name="outlives">The host may end before the guest does.</param>
    /// <param name="with">Changes the host's options.</param>
    public BalloonGuest(bool outlives = false, Func<HostOptions, HostOptions>? with = null)
    {
        string qemu = PeerTools.QemuNext();
        GuestImage image = new GuestImage("""
            modprobe -a virtio_pci virtio_balloon && echo "loaded"
            while read -r line; do eval "$line"; done
            """).AddModules("virtio_pci", "virtio_balloon");
        _with = with ?? (static options => options);
        _server = Begin();
        _relay = outlives ? new VhostUserRelay(_folder.PathOf("relay"), HostPath) : null;
        _guest = Guest.Start(
            qemu, _folder, image, "-m", "512", "-object", "memory-backend-memfd,id=ram,share=on,size=512M", "-machine", "memory-backend=ram",
            "-chardev", $"socket,id=host,path={(outlives ? _folder.PathOf("relay") : HostPath)}", "-device",
            "vhost-user-test-device-pci,virtio-id=5,num_vqs=5,config_size=16,vq_size=64,chardev=host");
        _memory = OpenMemory(_guest.Id);
        _guest.WaitForLine("loaded");
    }

    /// <summary>How often statistics have come that were not those before.</summary>
    public int StatisticsSeen => Volatile.Read(ref _statistics);

    /// <summary>How often the host was connected to.</summary>
    public int Connections => _relay?.Connections ?? 1;

    /// <summary>Guests that the host at hand has lost, and why.</summary>
    public IReadOnlyList<EndedGuest> Ended => _server.Ended;

    private int Rounds => Volatile.Read(ref _rounds);

    private string HostPath => _folder.PathOf("host");

    /// <summary>What the kernel keeps of the guest's memory file, and how the guest stands, when nothing of it has changed for a round.</summary>
    public (ulong Resident, GuestStatus Status) Measure()
    {
        (ulong Resident, GuestStatus Status) last = MeasureOnce();
        while (true)
        {
            int rounds = Rounds;
            Until(_ => Rounds > rounds + 1, "rounds of the host");
            (ulong Resident, GuestStatus Status) next = MeasureOnce();
            ulong moved = Math.Max(next.Resident, last.Resident) - Math.Min(next.Resident, last.Resident);
            if (moved < NoiseBytes && next.Status.DroppedPages == last.Status.DroppedPages)
            {
                return next;
            }

            last = next;
        }
    }

    /// <summary>One statistic.</summary>
    public static ulong Statistic(GuestStatus guest, BalloonStatTag tag) => guest.Statistics.FirstOrDefault(one => one.Tag == tag).Value;

    /// <summary>Waits until it is so of the guest.</summary>
    public GuestStatus Until(Func<GuestStatus, bool> isSo, string what)
    {
        Deadline deadline = new(TimeProvider.System, Patience);
        while (true)
        {
            GuestStatus? guest = _server.Guests.LastOrDefault(static one => one.State == GuestState.Running);
            if (guest is not null && isSo(guest))
            {
                return guest;
            }

            Assert.True(
                deadline.Left != TimeSpan.Zero && !_guest.HasExited,
                $"no {what}: {guest}; {string.Join("; ", _server.Ended)}; {_relay?.Failure}; {_guest.Output}");
            _changed.Wait(new Deadline(TimeProvider.System, Glance));
        }
    }

    /// <summary>Fixes what the host wants in the balloon, pages.</summary>
    public void SetTarget(uint pages)
    {
        GuestStatus guest = Until(static _ => true, "guest");
        Assert.True(_server.SetTarget(guest.Id, pages));
    }

    /// <summary>Has the guest run a command.</summary>
    public void Type(string command) => _guest.WriteLine(command);

    /// <summary>The next line of its console with this part.</summary>
    public string WaitForLine(string part) => _guest.WaitForLine(part);

    /// <summary>The host ends, and another one begins.</summary>
    public void RestartHost()
    {
        _server.Dispose();
        _server = Begin();
    }

    /// <summary>Has the guest end.</summary>
    public void End()
    {
        Type("poweroff -f");
        Assert.Equal(0, _guest.WaitForExit());
    }

    public void Dispose()
    {
        _guest.Dispose();
        _memory.Dispose();
        _relay?.Dispose();
        _server.Dispose();
        _folder.Dispose();
    }

    private (ulong Resident, GuestStatus Status) MeasureOnce()
    {
        GuestStatus status = Until(static _ => true, "guest");
        Assert.Equal(Errno.None, LinuxDescriptors.Instance.Examine((int)_memory.DangerousGetHandle(), out FileFacts facts));
        return (facts.ResidentBytes, status);
    }

    /// <summary>The file is QEMU's own, without a name in any folder.</summary>
    private static SafeFileHandle OpenMemory(int process)
    {
        string? path = null;
        bool isFound = SpinWait.SpinUntil(
            () => (path = Directory.EnumerateFiles($"/proc/{process}/fd").FirstOrDefault(static file => IsMemory(file))) is not null, Patience);
        Assert.True(isFound, "QEMU has no memory file");
        return File.OpenHandle(path!, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
    }

    private static bool IsMemory(string file) => new FileInfo(file).LinkTarget?.Contains("memfd:memory-backend-memfd", StringComparison.Ordinal) == true;

    private HostServer Begin()
    {
        HostServer server = new(_with(new HostOptions { Path = HostPath, BudgetBytes = 1ul << 40, AfterRound = AfterRound }));
        server.Start();
        return server;
    }

    private void AfterRound(HostStatus status)
    {
        foreach (GuestStatus guest in status.Guests)
        {
            ulong faults = Statistic(guest, BalloonStatTag.MinorFaults);
            if (faults != _lastFaults)
            {
                _lastFaults = faults;
                Interlocked.Increment(ref _statistics);
            }
        }

        Interlocked.Increment(ref _rounds);
        _changed.Set();
    }
}
