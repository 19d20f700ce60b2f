using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Net.Sockets;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;

namespace LowLevel.Interop.Host;

/// <summary>One guest: its connection, its balloon device, its memory, and the thread that serves it. Nothing that it does or leaves undone
/// holds up another: only its own thread waits for it. Everything else may be called by any thread, and does nothing once it has ended.</summary>
internal sealed class GuestSession : IDisposable
{
    private const Feature Offered = Feature.StatsQueue | Feature.FreePageHint | Feature.DeflateOnOom | Feature.PagePoison
        | Feature.PageReporting | Feature.IndirectDescriptors | Feature.EventIndex | Feature.Version1;

    /// <summary>How long a driver may take to say what is in its balloon.</summary>
    private const int UncertainRoundsMax = 3;

    private static readonly BalloonStatTag[] s_tags = Enum.GetValues<BalloonStatTag>();

    private readonly Lock _guard = new();
    private readonly HostOptions _options;
    private readonly SharedGuest _guest;
    private readonly BalloonDevice _device;
    private readonly VhostUserBackend _backend;
    private readonly Thread _thread;
    private readonly int _processId;
    private uint _seenActual;
    private int _seenUpdates;
    private uint _actualAtUpdate;
    private ulong _claimedPages;
    private int _claimedAtUpdate;
    private int _claimedRounds;
    private int _uncertainRounds;
    private bool _isRunning;
    private bool _hasEnded;

    /// <summary>A guest that has just connected; <see cref="Start"/> begins to serve it.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="socket">The connection, taken over.</param>
    /// <param name="options">The host's.</param>
    /// <exception cref="InvalidOperationException">No descriptor is to be had; the socket is closed.</exception>
    [SuppressMessage("Reliability", "CA2000", Justification = "The backend owns the guest and the socket.")]
    public GuestSession(int id, Socket socket, HostOptions options)
    {
        ArgumentNullException.ThrowIfNull(socket);
        ArgumentNullException.ThrowIfNull(options);
        Id = id;
        _options = options;
        _guest = new SharedGuest(options.System, options.Descriptors);
        _device = new BalloonDevice(
            new GuestMemory(), ulong.MaxValue, _guest, _guest, new BalloonDeviceOptions { Offered = Offered, AdoptsActual = true });
        _backend = new VhostUserBackend(socket, _device, _guest, options.Descriptors);
        _backend.ProtocolFeaturesSet = OnProtocolFeatures;
        _backend.AfterRound = OnRound;
        _processId = _backend.PeerProcess;
        _thread = new Thread(Run) { IsBackground = true, Name = "LowLevel guest" };
    }

    /// <summary>Its number.</summary>
    public int Id { get; }

    /// <summary>Its rings run for the first time, or it takes memory out of its balloon. From its thread.</summary>
    public Action? NeedsAttention { get; set; }

    /// <summary>It is gone, and everything of it is closed. From its thread, at its end.</summary>
    public Action<GuestSession>? Ended { get; set; }

    /// <summary>The target that somebody has set by hand; null: it follows the budget.</summary>
    public uint? FixedTarget { get; private set; }

    /// <summary>What it was last allowed, bytes.</summary>
    public ulong AllowanceBytes { get; set; }

    /// <summary>What has become of it; null while it lives.</summary>
    public EndedGuest? End { get; private set; }

    /// <summary>Begins to serve it.</summary>
    public void Start() => _thread.Start();

    /// <summary>Has the driver send its statistics.</summary>
    public void AskForStatistics()
    {
        lock (_guard)
        {
            if (!_hasEnded && (_device.Features & Feature.StatsQueue) != 0)
            {
                _device.WantStatistics();
                _backend.AskFor(BalloonLimits.StatsQueue);
            }
        }
    }

    /// <summary>Lets the target follow an allowance, unless it is fixed.</summary>
    public void Allow(ulong bytes)
    {
        lock (_guard)
        {
            AllowanceBytes = bytes;
            if (FixedTarget is null && _device.IsUncertain && _uncertainRounds++ < UncertainRoundsMax)
            {
                // Its balloon comes from a host before this one. What it has is known in a moment, and the target starts from there.
                return;
            }

            ulong total = TotalBytes();
            uint next = FixedTarget ?? TargetSteps.Next(_device.TargetPages, total, bytes);
            if (FixedTarget is null && _claimedPages != 0)
            {
                // It has just taken what it needed: to ask for it in the same breath would be to push it into out-of-memory.
                next = Math.Min(next, _device.ActualPages);
            }

            Aim(next);
        }
    }

    /// <summary>Fixes the target; null: it follows the budget again.</summary>
    public void Fix(uint? pages)
    {
        lock (_guard)
        {
            FixedTarget = pages;
            Aim(pages ?? _device.TargetPages);
        }
    }

    /// <summary>What it has and wants. Null: it takes no part yet.</summary>
    public GuestDemand? Demand()
    {
        lock (_guard)
        {
            if (!_isRunning || _hasEnded)
            {
                return null;
            }

            if (_claimedPages != 0 && IsBorneOut())
            {
                _claimedPages = 0;
            }

            return new GuestDemand(TotalBytes(), UsedBytes(ResidentBytes()), _claimedPages << TargetSteps.PageShift);
        }
    }

    /// <summary>How it stands.</summary>
    public GuestStatus Status()
    {
        lock (_guard)
        {
            BalloonDeviceCounters counters = _device.Counters;
            ulong resident = ResidentBytes();
            return new GuestStatus
            {
                Id = Id,
                ProcessId = _processId,
                Kind = _device.CountsOnly ? GuestKind.Own : GuestKind.Memfd,
                State = _hasEnded ? GuestState.Ended : _isRunning ? GuestState.Running : GuestState.Greeting,
                TotalBytes = TotalBytes(),
                SharedBytes = _guest.Bytes,
                ResidentBytes = resident,
                UsedBytes = UsedBytes(resident),
                AllowanceBytes = AllowanceBytes,
                TargetPages = _device.TargetPages,
                ActualPages = _device.ActualPages,
                IsUncertain = _device.IsUncertain,
                IsFixed = FixedTarget is not null,
                Reports = counters.Reports,
                ReportedPages = counters.ReportedPages,
                DroppedPages = _device.CountsOnly ? counters.InflatedPages : counters.DroppedPages,
                InflatedPages = counters.InflatedPages,
                DeflatedPages = counters.DeflatedPages,
                FailedDiscards = counters.FailedDiscards,
                Statistics = Statistics(),
            };
        }
    }

    /// <summary>Has its thread end soon.</summary>
    public void Stop()
    {
        lock (_guard)
        {
            if (!_hasEnded)
            {
                _backend.Stop();
            }
        }
    }

    /// <summary>Waits for the end of its thread. False: not in this time.</summary>
    public bool Join(TimeSpan timeout) => _thread.Join(timeout);

    /// <summary>Closes everything of a guest that was never started.</summary>
    public void Dispose() => Close(null);

    [SuppressMessage("Design", "CA1031", Justification = "Whatever goes wrong with one guest must not end the others.")]
    private void Run()
    {
        string? fault = null;
        try
        {
            _backend.Run();
        }
        catch (Exception e)
        {
            fault = $"the host failed at it: {e}";
        }

        Close(fault);
        Ended?.Invoke(this);
    }

    private void Close(string? fault)
    {
        lock (_guard)
        {
            if (!_hasEnded)
            {
                // From now on nobody else signals its event, whose number may be another's as soon as it is closed.
                _hasEnded = true;
                _backend.Dispose();
                _guest.Dispose();
                End = new EndedGuest(Id, _processId, fault ?? _backend.EndReason ?? "it was not served", _backend.WasCutOff || fault is not null);
            }
        }
    }

    private void OnProtocolFeatures(VhostUserProtocolFeature features) =>
        _device.CountsOnly = (features & VhostUserProtocolFeature.GuestDrops) != 0;

    /// <summary>In the serving thread, after each round of work.</summary>
    private void OnRound()
    {
        if (_device.Counters.BadRanges != 0)
        {
            throw new ProtocolViolationException("it gave away pages that are not its own");
        }

        bool calls;
        lock (_guard)
        {
            calls = !_isRunning && _backend.RunningRings != 0;
            _isRunning |= calls;
            if (_device.Statistics.Updates != _seenUpdates)
            {
                _seenUpdates = _device.Statistics.Updates;
                _actualAtUpdate = _device.ActualPages;
            }

            calls |= HasTaken();
        }

        if (calls)
        {
            NeedsAttention?.Invoke();
        }
    }

    /// <summary>Whether it has taken pages out of its balloon that the host wants in it (DEFLATE_ON_OOM).</summary>
    private bool HasTaken()
    {
        uint actual = _device.ActualPages;
        uint before = Math.Min(_seenActual, _device.TargetPages);
        _seenActual = actual;
        if (actual >= before)
        {
            return false;
        }

        // The host has one round's worth of attention for it at a time: who deflates page by page does not have it running in circles.
        bool isFirst = _claimedPages == 0;
        _claimedPages += before - actual;
        _claimedAtUpdate = _seenUpdates;
        _claimedRounds = 0;
        return isFirst;
    }

    /// <summary>Whether what it took counts as used by now: statistics have come that were asked for after it; without any, some rounds went by.</summary>
    private bool IsBorneOut() =>
        (_device.Features & Feature.StatsQueue) != 0 ? _seenUpdates - _claimedAtUpdate >= 2 : ++_claimedRounds > 2;

    private void Aim(uint pages)
    {
        if (!_hasEnded && pages != _device.TargetPages)
        {
            _device.SetTarget(pages);
        }
    }

    private ulong ResidentBytes() =>
        _hasEnded ? 0 : _device.CountsOnly && PeerMemory.ResidentBytes(_processId) is ulong bytes ? bytes : _guest.ResidentBytes;

    /// <summary>By the guest's word, but no more than it can have.</summary>
    private ulong TotalBytes()
    {
        ulong most = _device.CountsOnly ? _options.System.PhysicalMemoryBytes : _guest.Bytes;
        ulong? said = _device.Statistics[BalloonStatTag.TotalMemory];
        if (said is ulong total && (_device.Features & Feature.DeflateOnOom) == 0)
        {
            // Such a driver takes the balloon off the total (Linux: adjust_managed_page_count).
            said = total + Math.Min((ulong)_actualAtUpdate << TargetSteps.PageShift, ulong.MaxValue - total);
        }

        return Math.Min(said ?? _guest.Bytes, most);
    }

    /// <summary>By the guest's word, but no more than the kernel bears out: what is not resident is not in use.</summary>
    private ulong UsedBytes(ulong resident)
    {
        ulong total = TotalBytes();
        if ((_device.Statistics[BalloonStatTag.AvailableMemory] ?? _device.Statistics[BalloonStatTag.FreeMemory]) is not ulong available)
        {
            return Math.Min(resident, total);
        }

        ulong free = Math.Min(available, total);
        free += Math.Min((ulong)_actualAtUpdate << TargetSteps.PageShift, total - free);
        return Math.Min(resident, total - free);
    }

    private List<(BalloonStatTag Tag, ulong Value)> Statistics()
    {
        List<(BalloonStatTag, ulong)> known = [];
        foreach (BalloonStatTag tag in s_tags)
        {
            if (_device.Statistics[tag] is ulong value)
            {
                known.Add((tag, value));
            }
        }

        return known;
    }
}
