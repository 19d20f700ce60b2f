using System;
using System.Collections.Generic;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;

namespace LowLevel.Allocator;

/// <summary>The balloon of an arena whose host is another process. Two ways, by what the arena is made of:
/// <code>
///                memfd                                   anonymous
/// shares         the arena and the control memory        the control memory
/// reports        to the host, which punches holes        to this process's own device, which drops
/// inflates       the host punches them                   this process drops them, the host counts
/// believes       the host with the memory's contents     the host with nothing
/// </code>
/// While there is no host, treatment goes on with this process's own device. What a lost host held is quarantined until nobody but this
/// process has the memory's file, by the kernel's word (<see cref="VhostUserTransport"/>); only then is another connection made, and the number of
/// inflated pages announced again. Called by the holder of the treatment lock, except where it says any thread.</summary>
internal sealed class HostLink : IBalloonLink
{
    /// <summary>What <see cref="PageArenaOptions.Host"/> begins with.</summary>
    public const string UnixScheme = "unix:";

    /// <summary>The longest path of a unix socket (sun_path with its NUL).</summary>
    public const int PathBytesMax = 107;

    private const ulong ControlAlignment = 1ul << 22;

    private static readonly TimeSpan s_leastWait = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan s_mostWait = TimeSpan.FromSeconds(5);

    private readonly BalloonLink _local;
    private readonly BalloonDriver _remote;
    private readonly VhostUserTransport _transport;
    private readonly SharedMemoryFile _control;
    private readonly TimeProvider _clock;
    private TimeSpan _wait = s_leastWait;
    private long _lastTry;

    private HostLink(BalloonLink local, BalloonDriver remote, VhostUserTransport transport, SharedMemoryFile control, ITreatmentDevice device, TimeProvider clock)
    {
        _local = local;
        _remote = remote;
        _transport = transport;
        _control = control;
        _clock = clock;
        Device = device;
    }

    /// <inheritdoc/>
    public ITreatmentDevice Device { get; }

    /// <inheritdoc/>
    public ulong InflatedPages => _remote.InflatedPages;

    /// <inheritdoc/>
    public bool IsHostConnected => !_remote.IsOutOfService;

    /// <inheritdoc/>
    public string? HostFailure => IsHostConnected ? null : _transport.Failure;

    /// <summary>The driver of the host elsewhere; tests look inside.</summary>
    public BalloonDriver Remote => _remote;

    /// <inheritdoc/>
    public HostFaults Faults => _local.Faults with { Restarts = _local.Faults.Restarts + Math.Max(0, _remote.Sessions - 1) };

    /// <inheritdoc/>
    public Action? WorkArrived
    {
        get => _remote.WorkArrived;
        set => _remote.WorkArrived = _local.WorkArrived = value;
    }

    /// <summary>Sets up both drivers and connects, if the host is there.</summary>
    /// <exception cref="OutOfMemoryException">No memory for the rings.</exception>
    public static HostLink Create(PageArena arena, PageArenaOptions options)
    {
        ArenaMemory memory = arena.Memory;
        bool isShared = memory.Memfd >= 0;
        BalloonDriverOptions wanted = BalloonLink.DriverOptions(options) with { UseReporting = isShared && options.PoisonValue is null or 0 };
        SharedMemoryFile control = SharedMemoryFile.Create(
            arena.System, LinuxDescriptors.Instance, options.Name + "-ring", (nuint)BalloonControl.Bytes(wanted));
        ulong controlAddress = (memory.Bytes + ControlAlignment - 1) & ~(ControlAlignment - 1);
        GuestMemory guest = new(
            new GuestRegion(0, memory.Bytes, memory.Base), new GuestRegion(controlAddress, control.Bytes, control.Mapping));
        List<SharedRegion> shared = [new SharedRegion(controlAddress, control.Bytes, control.Mapping, control.File)];
        if (isShared)
        {
            shared.Add(new SharedRegion(0, memory.Bytes, memory.Base, memory.Memfd));
        }

        VhostUserTransport transport = new(
            new VhostUserTransportOptions
            {
                Path = options.Host![UnixScheme.Length..],
                GuestDrops = !isShared,
                Timeout = options.Aeration.HostTimeout,
                Clock = options.Aeration.Clock,
            },
            shared);
        ArenaBalloonPages pages = new(arena, options.PoisonValue);
        BalloonDriver remote = new(
            transport, new BalloonControl(guest, controlAddress, wanted), isShared ? pages : Dropping(arena, pages), gates: null, wanted);
        BalloonLink local = BalloonLink.Create(arena, options);
        ITreatmentDevice device = isShared ? new SwitchedDevice(remote, wanted.ReportsInFlight, local.Device) : local.Device;
        HostLink link = new(local, remote, transport, control, device, options.Aeration.Clock);
        link.TryConnect();
        return link;
    }

    /// <inheritdoc/>
    public void Service()
    {
        if (!_remote.IsOutOfService || (IsTimeToTry && TryConnect()))
        {
            _remote.Service();
        }
    }

    /// <inheritdoc/>
    public uint Deflate(uint pages) => InflatedPages == 0 ? 0 : _remote.Deflate(pages);

    /// <inheritdoc/>
    public bool TryClose(TimeSpan bound)
    {
        bool isSafe = _remote.TryShutDown(new Deadline(_clock, bound));
        _transport.Dispose();
        isSafe &= _local.TryClose(bound);
        if (isSafe)
        {
            _control.Dispose();
        }

        return isSafe;
    }

    /// <summary>A clock that was set back makes no host wait for longer.</summary>
    private bool IsTimeToTry => _clock.GetElapsedTime(_lastTry) is TimeSpan passed && (passed >= _wait || passed < TimeSpan.Zero);

    private static DroppingPages Dropping(PageArena arena, ArenaBalloonPages pages) =>
        new(pages, GuestBacking.Anonymous(arena.System, arena.Memory.Base, arena.Memory.Bytes, DiscardMethod.DontNeed));

    /// <summary>Lets go of what is left of an earlier connection, and makes another. Each failure doubles the wait for the next try.</summary>
    private bool TryConnect()
    {
        _lastTry = _clock.GetTimestamp();

        // In this order: the old host must be out of the memory before a new one gets it, and the driver starts on a fresh connection.
        if (_remote.TryTakeDown(TimeSpan.Zero) && _transport.TryConnect() && _remote.TryRestart())
        {
            _wait = s_leastWait;
            return true;
        }

        _wait = _wait + _wait < s_mostWait ? _wait + _wait : s_mostWait;
        return false;
    }
}
