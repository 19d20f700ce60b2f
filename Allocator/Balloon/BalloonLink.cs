using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The balloon of an arena whose host is in this process: what the options ask for, turned into a driver, a device and the
/// gate between them.</summary>
internal sealed class BalloonLink : IBalloonLink
{
    private readonly InProcessBalloon _balloon;

    private BalloonLink(InProcessBalloon balloon) => _balloon = balloon;

    /// <summary>Driver and host; tests look inside.</summary>
    public InProcessBalloon Balloon => _balloon;

    /// <inheritdoc/>
    public ITreatmentDevice Device => _balloon.Driver;

    /// <inheritdoc/>
    public ulong InflatedPages => _balloon.Driver.InflatedPages;

    /// <inheritdoc/>
    public HostFaults Faults => new()
    {
        DiscardsFailed = _balloon.Gates.Reports.Failed + _balloon.Gates.Inflates.Failed,
        DiscardsRefused = _balloon.Gates.Reports.Refused + _balloon.Gates.Inflates.Refused,
        Restarts = Math.Max(0, _balloon.Driver.Sessions - 1),
    };

    /// <inheritdoc/>
    public Action? WorkArrived
    {
        get => _balloon.Driver.WorkArrived;
        set => _balloon.Driver.WorkArrived = value;
    }

    /// <summary>Sets up driver and host over an arena and brings the device into service (DRIVER_OK), before any free can notify it.</summary>
    /// <exception cref="InvalidOperationException">The device refused; it is in this process, so that is a fault of ours.</exception>
    public static BalloonLink Create(PageArena arena, PageArenaOptions options)
    {
        AerationOptions aeration = options.Aeration;
        ArenaMemory memory = arena.Memory;
        BalloonDriverOptions wanted = DriverOptions(options);
        BalloonDeviceOptions offered = new();
        if (options.PoisonValue is not (null or 0))
        {
            // A host must leave such pages as they are, and pages that were never used do not hold the value: nothing to report.
            offered = offered with { Offered = offered.Offered & ~Feature.PageReporting };
        }

        InProcessBalloon balloon = InProcessBalloon.Create(
            arena.System,
            new BalloonMemory(memory.Base, memory.Bytes, memory.Memfd, memory.Control, ArenaMemory.ControlBytes, aeration.OneRangePerCall),
            aeration.Discard == DiscardMode.Free ? DiscardMethod.Free : DiscardMethod.DontNeed,
            aeration.Context == AerationContext.FreeingThread ? HostMode.Inline : HostMode.Thread,
            new ArenaBalloonPages(arena, options.PoisonValue),
            wanted,
            offered);
        if (!balloon.Driver.TryRestart())
        {
            balloon.Dispose();
            throw new InvalidOperationException($"the balloon device in this process could not be brought into service: {balloon.Driver.Fault}");
        }

        return new BalloonLink(balloon);
    }

    /// <summary>What the driver asks for, wherever the host is.</summary>
    internal static BalloonDriverOptions DriverOptions(PageArenaOptions options) => new()
    {
        WantedCapacity = options.Aeration.ReactorCapacity,
        ReportsInFlight = InFlight(options.Aeration),
        Dialect = options.Aeration.Dialect == ReportingDialect.Hints ? ReportDialect.Hints : ReportDialect.Standard,
        PoisonValue = options.PoisonValue,
        Clock = options.Aeration.Clock,
        ResetTimeout = options.Aeration.HostTimeout,
    };

    /// <summary>How many batches may be with the host at one time. Two, so that it has the next one when it is done with one; up to eight
    /// where batches are short, because the worker is woken once for all but one of them, and a wake-up costs both sides more than a
    /// short batch does. Served inline it is done before the next one is begun.</summary>
    private static int InFlight(AerationOptions aeration)
    {
        const int BlocksInFlight = 256;
        return aeration.Context == AerationContext.FreeingThread
            ? 1
            : Math.Clamp(BlocksInFlight / aeration.ReactorCapacity, 2, BalloonDriverOptions.ReportsInFlightMax);
    }

    /// <inheritdoc/>
    public void Service()
    {
        // Once per pass: what is left over is done in the next ones.
        _balloon.Driver.Service();
    }

    /// <inheritdoc/>
    public uint Deflate(uint pages) => InflatedPages == 0 ? 0 : _balloon.Driver.Deflate(pages);

    /// <inheritdoc/>
    public bool TryClose(TimeSpan bound) => _balloon.TryShutDown(bound);
}
