using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;

namespace LowLevel.Allocator;

/// <summary>Where the arena and the control memory of an in-process balloon lie.</summary>
/// <param name="Arena">First byte of the arena; guest address 0.</param>
/// <param name="ArenaBytes">Its length, whole pages.</param>
/// <param name="Memfd">The memfd that it is mapped from, at offset 0; -1 where it is anonymous.</param>
/// <param name="Control">Control memory, page-aligned and zero.</param>
/// <param name="ControlBytes">Its length, at least <see cref="BalloonControl.Bytes"/>.</param>
/// <param name="OneByOne">Whether ranges of anonymous memory are dropped by a call each, whatever the kernel takes.</param>
internal readonly record struct BalloonMemory(
    nint Arena, ulong ArenaBytes, int Memfd, nint Control, ulong ControlBytes, bool OneByOne = false);

/// <summary>The gates of an in-process device.</summary>
internal sealed record BalloonGates(DiscardGates Reports, DiscardGates Inflates);

/// <summary>Driver and host of one arena in one process, joined by a virtqueue and its gates.</summary>
internal sealed class InProcessBalloon : IDisposable
{
    private const ulong ControlAlignment = 1ul << 22;

    private readonly BalloonDriverOptions _options;

    private InProcessBalloon(BalloonDriver driver, InProcessHost host, BalloonGates gates, BalloonDriverOptions options)
    {
        Driver = driver;
        Host = host;
        Gates = gates;
        _options = options;
    }

    /// <summary>The guest's side. Not started: <see cref="BalloonDriver.TryRestart"/> does that when the arena can take calls.</summary>
    public BalloonDriver Driver { get; }

    /// <summary>The host's side.</summary>
    public InProcessHost Host { get; }

    /// <summary>What the host has dropped, and what it was refused.</summary>
    public BalloonGates Gates { get; }

    /// <summary>Joins driver and host over an arena.</summary>
    /// <param name="system">The operating system that drops the pages.</param>
    /// <param name="memory">Arena and control memory; both stay mapped until <see cref="TryShutDown"/> has returned true.</param>
    /// <param name="method">DontNeed or Free for anonymous memory; a memfd is punched whatever it says.</param>
    /// <param name="mode">Who serves the device.</param>
    /// <param name="pages">The arena's side of the balloon.</param>
    /// <param name="options">What the driver asks for.</param>
    /// <param name="deviceOptions">What the device offers; null: everything. Its dialect is always the driver's.</param>
    public static InProcessBalloon Create(
        IOperatingSystem system, BalloonMemory memory, DiscardMethod method, HostMode mode, IBalloonPages pages,
        BalloonDriverOptions options, BalloonDeviceOptions? deviceOptions = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.WantedCapacity, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.WantedCapacity, BalloonDriverOptions.CapacityMax, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.ReportsInFlight, 1, nameof(options));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.ReportsInFlight, BalloonDriverOptions.ReportsInFlightMax, nameof(options));
        deviceOptions = (deviceOptions ?? new BalloonDeviceOptions()) with { Dialect = options.Dialect };
        options = options with { HostCapacity = Math.Min(options.HostCapacity, deviceOptions.ReportCapacity) };

        ulong controlAddress = (memory.ArenaBytes + ControlAlignment - 1) & ~(ControlAlignment - 1);
        GuestMemory guest = new(
            new GuestRegion(0, memory.ArenaBytes, memory.Arena), new GuestRegion(controlAddress, memory.ControlBytes, memory.Control));
        GuestBacking backing = memory.Memfd >= 0
            ? GuestBacking.Memfd(system, memory.Memfd, memory.ArenaBytes)
            : GuestBacking.Anonymous(system, memory.Arena, memory.ArenaBytes, method, memory.OneByOne);
        TracedBacking traced = new(backing);
        BalloonGates gates = new(
            new DiscardGates(traced, options.WantedCapacity, options.ReportsInFlight), new DiscardGates(traced, BalloonControl.PageNumbersMax));
        BalloonControl control = new(guest, controlAddress, options);
        BalloonDevice device = new(guest, memory.ArenaBytes, gates.Reports, gates.Inflates, deviceOptions);
        InProcessHost host = new(device, mode);
        return new InProcessBalloon(new BalloonDriver(host.Transport, control, pages, gates, options), host, gates, options);
    }

    /// <summary>Ends both sides within the timeout. True: nobody touches arena or control memory any more. False: a call to the
    /// system has not come back; the caller leaves both mappings where they are. May be called again.</summary>
    public bool TryShutDown(TimeSpan timeout)
    {
        Deadline deadline = new(_options.Clock, timeout);
        bool isSafe = Driver.TryShutDown(deadline);
        return Host.TryStop(deadline) && isSafe;
    }

    /// <summary>Ends both sides without waiting.</summary>
    public void Dispose()
    {
        Driver.Dispose();
        Host.Dispose();
    }
}
