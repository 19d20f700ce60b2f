using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>What a driver needs to reach a device over a unix socket.</summary>
internal sealed record VhostUserTransportOptions
{
    /// <summary>Path of the backend's socket.</summary>
    public required string Path { get; init; }

    /// <summary>Queues that the driver knows, whatever the device has.</summary>
    public int Queues { get; init; } = BalloonLimits.Queues;

    /// <summary>Bytes of the device's configuration.</summary>
    public int ConfigBytes { get; init; } = BalloonConfig.SizeInBytes;

    /// <summary>Largest queue that the driver will make; the protocol has no question for it.</summary>
    public int QueueSizeMax { get; init; } = 1024;

    /// <summary>The guest keeps its memory to itself: the backend is asked only to count.</summary>
    public bool GuestDrops { get; init; }

    /// <summary>How long one answer may take.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>The clock of timeouts.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Descriptors.</summary>
    public IDescriptors Descriptors { get; init; } = LinuxDescriptors.Instance;
}

/// <summary>A virtio device in another process, over vhost-user: the driver's end. Connecting and negotiating is the driver's to call
/// (<see cref="TryConnect"/>, then as with any device); a thread of its own waits for interrupts and for the end of the connection, which shows
/// as NEEDS_RESET.
/// <para>A reset is acknowledged only when nobody else can touch the shared memory any more. The backend's word is not asked for that: it got an
/// open file description of its own of each memory file, and the kernel grants a lease to write on ours exactly when that one, and every
/// mapping and copy made from it, is gone.</para></summary>
internal sealed class VhostUserTransport : IVirtioTransport, IDisposable
{
    private const VhostUserProtocolFeature Wanted = VhostUserProtocolFeature.MultiQueue | VhostUserProtocolFeature.ReplyAck
        | VhostUserProtocolFeature.BackendRequests | VhostUserProtocolFeature.Config;

    private const int LookAgainMilliseconds = 1;

    private readonly VhostUserTransportOptions _options;
    private readonly IReadOnlyList<SharedRegion> _regions;
    private readonly IDescriptors _os;
    private readonly (int Size, VirtqueueAddresses At)[] _queues;
    private readonly byte[] _config;
    private readonly Lock _configuring = new();
    private VhostUserFrontend? _frontend;
    private VhostUserSession? _session;
    private Feature _features;
    private int _configIsStale;
    private uint _generation;
    private int _status;

    /// <summary>A transport that has not connected.</summary>
    /// <param name="options">Where to.</param>
    /// <param name="regions">Memory to share: all that the rings and buffers lie in. Each file was opened (<see cref="IDescriptors.Reopen"/>).</param>
    public VhostUserTransport(VhostUserTransportOptions options, IReadOnlyList<SharedRegion> regions)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(regions);
        _options = options;
        _regions = regions;
        _os = options.Descriptors;
        _queues = new (int, VirtqueueAddresses)[options.Queues];
        _config = new byte[options.ConfigBytes];
    }

    /// <inheritdoc/>
    public Feature OfferedFeatures => _frontend?.Features ?? 0;

    /// <inheritdoc/>
    public DeviceStatus Status => (DeviceStatus)Volatile.Read(ref _status);

    /// <inheritdoc/>
    public uint ConfigGeneration => Volatile.Read(ref _generation);

    /// <inheritdoc/>
    public Action<int>? QueueInterrupt { get; set; }

    /// <inheritdoc/>
    public Action? ConfigInterrupt { get; set; }

    /// <summary>Why the last connection failed or ended; null before that.</summary>
    public string? Failure { get; private set; }

    /// <summary>Whether there is a connection.</summary>
    public bool IsConnected => _frontend is { Failure: null };

    /// <summary>Whether nobody else can touch the shared memory.</summary>
    public bool IsAlone => _regions.All(region => _os.IsAlone(region.File) == Errno.None);

    /// <summary>Connects and asks what the device offers; a connection that failed is closed first. Waits at most for the backend's answers.</summary>
    public bool TryConnect()
    {
        if (IsConnected)
        {
            return true;
        }

        Close();
        VhostUserProtocolFeature wanted = Wanted | (_options.GuestDrops ? VhostUserProtocolFeature.GuestDrops : 0);
        _frontend = VhostUserFrontend.TryConnect(_options.Path, _os, _options.Clock, _options.Timeout, out string? why);
        if (_frontend is null || !_frontend.TryGreet(wanted) || !HasWhatItNeeds(_frontend))
        {
            Failure = why;
            Close();
            return false;
        }

        Volatile.Write(ref _configIsStale, 1);
        return true;
    }

    /// <inheritdoc/>
    public void AddStatus(DeviceStatus bits)
    {
        if ((bits & DeviceStatus.FeaturesOk) != 0 && !Try(frontend => frontend.TrySetFeatures(_features)))
        {
            return;
        }

        if ((bits & DeviceStatus.DriverOk) != 0 && !Try(Begin))
        {
            return;
        }

        Interlocked.Or(ref _status, (int)bits);
    }

    /// <inheritdoc/>
    public void AcceptFeatures(Feature features) => _features = features;

    /// <inheritdoc/>
    public int QueueSizeMax(int queue) => queue < _queues.Length && queue < _frontend?.Queues ? _options.QueueSizeMax : 0;

    /// <inheritdoc/>
    public void SetQueue(int queue, int size, VirtqueueAddresses addresses) => _queues[queue] = (size, addresses);

    /// <inheritdoc/>
    public void Notify(int queue) => _session?.Kick(queue);

    /// <inheritdoc/>
    public uint ReadConfig(int offset)
    {
        lock (_configuring)
        {
            // Before it is read: what changes meanwhile makes it stale anew.
            if (Interlocked.Exchange(ref _configIsStale, 0) != 0)
            {
                Try(frontend => frontend.TryReadConfig(_config));
            }

            return offset + sizeof(uint) <= _config.Length ? BinaryPrimitives.ReadUInt32LittleEndian(_config.AsSpan(offset)) : 0;
        }
    }

    /// <inheritdoc/>
    public void WriteConfig(int offset, uint value)
    {
        lock (_configuring)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(_config.AsSpan(offset), value);
        }

        Try(frontend => frontend.TryWriteConfig(offset, value));
    }

    /// <inheritdoc/>
    public bool TryReset(in Deadline deadline)
    {
        if (_session is null && IsConnected)
        {
            // Nothing was shared over this connection: a device that was not begun is in reset. One of an earlier connection may not be.
            Array.Clear(_queues);
            return TryAcknowledge();
        }

        bool hasParted = _session is not null && _frontend!.TryPart(deadline);
        Close();
        if (hasParted)
        {
            WaitUntilAlone(deadline);
        }

        return TryAcknowledge();
    }

    /// <summary>Closes the connection.</summary>
    public void Dispose() => Close();

    /// <summary>A process that ends closes its socket a moment before the last of its files.</summary>
    private void WaitUntilAlone(in Deadline deadline)
    {
        while (!IsAlone && deadline.Left != TimeSpan.Zero)
        {
            _os.Poll([], LookAgainMilliseconds, out _);
        }
    }

    private bool HasWhatItNeeds(VhostUserFrontend frontend)
    {
        VhostUserProtocolFeature needed = VhostUserProtocolFeature.ReplyAck
            | (_options.ConfigBytes != 0 ? VhostUserProtocolFeature.Config : 0)
            | (_options.GuestDrops ? VhostUserProtocolFeature.GuestDrops : 0);
        VhostUserProtocolFeature missing = needed & ~frontend.ProtocolFeatures;
        return missing == 0 || frontend.Fail($"the backend lacks the protocol features {missing}");
    }

    /// <summary>Shares memory and starts the rings.</summary>
    private bool Begin(VhostUserFrontend frontend)
    {
        _session = VhostUserSession.TryCreate(frontend, _os, _queues.Length, out Errno error);
        if (_session is not VhostUserSession session)
        {
            return frontend.Fail($"no descriptors for the connection: {error}");
        }

        bool hasChannel = (frontend.ProtocolFeatures & VhostUserProtocolFeature.BackendRequests) == 0 || session.TryOpenChannel();
        if (!hasChannel || !TryShare(frontend))
        {
            return false;
        }

        session.Interrupt = queue => QueueInterrupt?.Invoke(queue);
        session.ConfigChanged = OnConfigChanged;
        session.Ended = OnEnded;
        session.Start();
        for (int queue = 0; queue < _queues.Length; queue++)
        {
            if (_queues[queue].Size != 0 && !session.TryStartRing(queue, _queues[queue].Size, Translate(queue)))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Each file goes out as an open file description of its own, and stays open here only until it is sent: what is left of it then is
    /// the backend's.</summary>
    private bool TryShare(VhostUserFrontend frontend)
    {
        List<SharedRegion> lent = [];
        try
        {
            foreach (SharedRegion region in _regions)
            {
                if (_os.Reopen(region.File, out int another) is not Errno.None and Errno error)
                {
                    return frontend.Fail($"the memory's file cannot be opened again through /proc: {error}");
                }

                lent.Add(region with { File = another });
            }

            return frontend.TrySetMemory(lent);
        }
        finally
        {
            lent.ForEach(region => _os.Close(region.File));
        }
    }

    private VhostUserVringAddress Translate(int queue) => new()
    {
        Index = (uint)queue,
        DescUserAddr = Translate(_queues[queue].At.Descriptors),
        AvailUserAddr = Translate(_queues[queue].At.Available),
        UsedUserAddr = Translate(_queues[queue].At.Used),
    };

    private ulong Translate(ulong guest)
    {
        SharedRegion region = _regions.Single(one => guest >= one.GuestAddress && guest - one.GuestAddress < one.Bytes);
        return (ulong)region.Mapping + (guest - region.GuestAddress);
    }

    private bool Try(Func<VhostUserFrontend, bool> act)
    {
        VhostUserFrontend? frontend = _frontend;
        if (frontend is not null && act(frontend))
        {
            return true;
        }

        // What was said over a connection that another thread has closed meanwhile says nothing of the next.
        if (frontend is not null && ReferenceEquals(frontend, _frontend))
        {
            OnEnded();
        }

        return false;
    }

    private void OnConfigChanged()
    {
        Volatile.Write(ref _configIsStale, 1);
        Interlocked.Increment(ref _generation);
        ConfigInterrupt?.Invoke();
    }

    /// <summary>The backend is gone, or of no use: whoever waits for it should not.</summary>
    private void OnEnded()
    {
        _frontend?.Fail("the backend has closed the connection");
        Failure = _frontend?.Failure ?? Failure ?? "there is no connection";
        Interlocked.Or(ref _status, (int)DeviceStatus.NeedsReset);
        ConfigInterrupt?.Invoke();
    }

    private bool TryAcknowledge()
    {
        if (!IsAlone)
        {
            return false;
        }

        Volatile.Write(ref _status, 0);
        return true;
    }

    /// <summary>Closes the connection. A driver that was in service sees until it resets that it is not any more, whatever is connected to next.</summary>
    private void Close()
    {
        Failure = _frontend?.Failure ?? Failure;
        _session?.Dispose();
        _session = null;
        _frontend?.Dispose();
        _frontend = null;
        Array.Clear(_queues);
        if (Status != 0)
        {
            Interlocked.Or(ref _status, (int)DeviceStatus.NeedsReset);
        }
    }
}
