using System;
using System.Globalization;
using System.Net.Sockets;
using System.Numerics;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>A device for one frontend, a virtual machine or a process, over a unix socket: the vhost-user backend. <see cref="Run"/> works in one
/// thread that alone talks, touches guest memory and serves the queues; others may only ask it for something. It ends when the frontend is gone,
/// lies, or is told to, and then has let go of everything, the guest's memory before the socket.</summary>
internal sealed partial class VhostUserBackend : IDisposable
{
    /// <summary>Stands for negotiation of protocol features in the device's own word (vhost-user, "Communication").</summary>
    public const Feature ProtocolFeaturesBit = (Feature)(1ul << 30);

    /// <summary>What this backend offers. Not memory slots: a frontend that has taken them tells only of changes, and
    /// one that comes back without negotiating anew (QEMU 7.2) would share nothing with a host that has begun anew.</summary>
    public const VhostUserProtocolFeature Offered = VhostUserProtocolFeature.MultiQueue | VhostUserProtocolFeature.ReplyAck
        | VhostUserProtocolFeature.BackendRequests | VhostUserProtocolFeature.Config | VhostUserProtocolFeature.ResetDevice
        | VhostUserProtocolFeature.GuestDrops;

    private const int AtOnce = 0;
    private const int PolledMilliseconds = 1;
    private const int NeverMilliseconds = -1;
    private const int StepMilliseconds = 1000;
    private const int FixedEntries = 2;

    /// <summary>Messages, and requests of one ring, of one round: a frontend that always has one more keeps nothing else waiting.</summary>
    private const int PerRoundMax = 256;

    /// <summary>A message that has begun ends within this time. With files that came with its beginning the frontend might keep its own end of the
    /// connection open, and would never be seen to leave.</summary>
    private static readonly TimeSpan s_messageTime = TimeSpan.FromSeconds(10);

    private readonly MessageSocket _socket;
    private readonly VirtioDevice _device;
    private readonly SharedGuest _guest;
    private readonly IDescriptors _os;
    private readonly TimeProvider _clock;
    private readonly Vring[] _rings;
    private readonly PollEntry[] _entries;
    private readonly int[] _ringOfEntry;
    private readonly int _wake;
    private readonly Lock _waking = new();
    private MessageSocket? _channel;
    private Feature _features;
    private bool _isBegun;
    private Deadline? _messageEnds;
    private int _asked;
    private int _askedQueues;
    private volatile bool _ends;
    private bool _isDisposed; // by _waking

    /// <summary>A backend that has not begun.</summary>
    /// <param name="socket">The connection, taken over.</param>
    /// <param name="device">The device, of this backend alone.</param>
    /// <param name="guest">Receives the guest's memory.</param>
    /// <param name="os">Descriptors.</param>
    /// <param name="clock">The clock of what a frontend may take its time for; null: the system's.</param>
    /// <exception cref="InvalidOperationException">No descriptor is to be had; the connection is closed.</exception>
    public VhostUserBackend(Socket socket, VirtioDevice device, SharedGuest guest, IDescriptors os, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(os);
        _socket = new MessageSocket(socket, os);
        _device = device;
        _guest = guest;
        _os = os;
        _clock = clock ?? TimeProvider.System;
        _rings = new Vring[device.Queues];
        for (int i = 0; i < _rings.Length; i++)
        {
            _rings[i] = new Vring(os);
        }

        _entries = new PollEntry[FixedEntries + _rings.Length];
        _ringOfEntry = new int[_entries.Length];
        device.RequestsPerService = PerRoundMax;
        device.QueueInterrupt = queue => _rings[queue].Interrupt();
        device.ConfigInterrupt = AnnounceConfig;
        Errno error = os.CreateEvent(out _wake);
        if (error != Errno.None)
        {
            _socket.Dispose();
            throw new InvalidOperationException($"no event for a guest: {error}");
        }
    }

    /// <summary>What was negotiated beside the device's features.</summary>
    public VhostUserProtocolFeature ProtocolFeatures { get; private set; }

    /// <summary>The process at the other end; 0 where unknown.</summary>
    public int PeerProcess => _socket.PeerProcess;

    /// <summary>Rings that run. A hint for other threads.</summary>
    public int RunningRings { get; private set; }

    /// <summary>Why it ended; null while it runs.</summary>
    public string? EndReason { get; private set; }

    /// <summary>Whether it ended because the frontend broke the protocol.</summary>
    public bool WasCutOff { get; private set; }

    /// <summary>Called in the serving thread when the frontend has said which protocol features it takes, before anything is done by them.</summary>
    public Action<VhostUserProtocolFeature>? ProtocolFeaturesSet { get; set; }

    /// <summary>Called in the serving thread after each round of work: whoever wants may look at the device there, and throw
    /// <see cref="ProtocolViolationException"/> to cut the guest off.</summary>
    public Action? AfterRound { get; set; }

    /// <summary>Tells the driver that the configuration has changed, where there is a way to. Any thread.</summary>
    public void AnnounceConfig()
    {
        Volatile.Write(ref _asked, 1);
        Wake();
    }

    /// <summary>Has a queue served although nobody has kicked it. Any thread.</summary>
    public void AskFor(int queue)
    {
        Interlocked.Or(ref _askedQueues, 1 << queue);
        Wake();
    }

    /// <summary>Ends <see cref="Run"/> soon, whatever the frontend does to keep it busy. Any thread.</summary>
    public void Stop()
    {
        _ends = true;
        _device.Halt();
        Wake();
    }

    /// <summary>Serves the frontend until the end.</summary>
    public void Run()
    {
        try
        {
            while (EndReason is null)
            {
                Round();
            }
        }
        catch (ProtocolViolationException e)
        {
            WasCutOff = true;
            EndReason = e.Message;
        }
        finally
        {
            LetGo();
        }
    }

    /// <summary>Closes everything; not while <see cref="Run"/> runs.</summary>
    public void Dispose()
    {
        LetGo();
        lock (_waking)
        {
            if (!_isDisposed)
            {
                _isDisposed = true;
                _os.Close(_wake);
            }
        }
    }

    private void Wake()
    {
        // The number of a closed descriptor may be somebody else's file by now.
        lock (_waking)
        {
            if (!_isDisposed)
            {
                _os.Signal(_wake);
            }
        }
    }

    private void Round()
    {
        int count = FillEntries(out bool polls);
        int wait = Volatile.Read(ref _askedQueues) != 0 ? AtOnce : polls ? PolledMilliseconds : MillisecondsOfMessage();
        Errno error = _os.Poll(_entries.AsSpan(0, count), wait, out _);
        if (error is not (Errno.None or Errno.EINTR))
        {
            throw new ProtocolViolationException($"poll of the guest's descriptors failed: {error}");
        }

        if (_entries[1].Ready != PollEvents.None)
        {
            _os.Drain(_wake);
        }

        if (_ends)
        {
            EndReason ??= "this host ends";
            return;
        }

        DoAsked();
        ServeRings(count);
        Judge();
        if (_entries[0].Ready != PollEvents.None)
        {
            Converse();
        }
        else if (_messageEnds is Deadline end && end.Left == TimeSpan.Zero)
        {
            throw new ProtocolViolationException("a message has begun and does not end");
        }

        _messageEnds = _socket.IsHalf ? _messageEnds ?? new Deadline(_clock, s_messageTime) : null;

        Judge();
        AfterRound?.Invoke();
    }

    /// <summary>For ever, or until the message that has begun must have ended; in steps of a second, for a clock that is moved.</summary>
    private int MillisecondsOfMessage() =>
        _messageEnds is Deadline end ? (int)Math.Ceiling(Math.Min(end.Left.TotalMilliseconds, StepMilliseconds)) : NeverMilliseconds;

    private int FillEntries(out bool polls)
    {
        polls = false;
        _entries[0] = new PollEntry(_socket.Descriptor);
        _entries[1] = new PollEntry(_wake);
        int count = FixedEntries;
        for (int ring = 0; ring < _rings.Length; ring++)
        {
            if (_rings[ring].IsRunning)
            {
                polls |= _rings[ring].IsPolled;
                _ringOfEntry[count] = ring;
                _entries[count++] = new PollEntry(_rings[ring].Kick);
            }
        }

        return count;
    }

    private void DoAsked()
    {
        if (Interlocked.Exchange(ref _asked, 0) != 0 && _channel is not null)
        {
            // Where there is no room it has hundreds of the same still to read; where there is nobody, its own socket will tell.
            _channel.Send((uint)VhostUserBackendRequest.ConfigChanged, 0, default);
        }

        for (uint queues = (uint)Interlocked.Exchange(ref _askedQueues, 0); queues != 0; queues &= queues - 1)
        {
            Serve(BitOperations.TrailingZeroCount(queues));
        }
    }

    private void ServeRings(int count)
    {
        for (int i = FixedEntries; i < count; i++)
        {
            Vring ring = _rings[_ringOfEntry[i]];
            if ((_entries[i].Ready & PollEvents.Readable) != 0)
            {
                ring.Drain();
            }

            if (ring.IsPolled || _entries[i].Ready != PollEvents.None)
            {
                Serve(_ringOfEntry[i]);
            }
        }
    }

    private void Serve(int queue)
    {
        if (queue < _rings.Length && _rings[queue].IsRunning && _device.Serve(queue))
        {
            Interlocked.Or(ref _askedQueues, 1 << queue);
        }
    }

    /// <summary>A driver that broke the rules of the ring gets no other device than this one, which has stopped: it is cut off.</summary>
    private void Judge()
    {
        if ((_device.Status & DeviceStatus.NeedsReset) != 0)
        {
            throw new ProtocolViolationException(_device.Fault == ProtocolFault.Chain
                ? $"a chain on a ring: {_device.ChainFault}"
                : $"the driver broke the protocol: {_device.Fault}");
        }
    }

    private void Converse()
    {
        for (int i = 0; i < PerRoundMax && EndReason is null && !_ends; i++)
        {
            switch (_socket.TryReceive())
            {
                case ReceiveResult.Message:
                    Answer();
                    break;
                case ReceiveResult.More:
                    return;
                case ReceiveResult.Malformed:
                    throw new ProtocolViolationException("what came over the socket is no vhost-user message of version 1");
                default:
                    EndReason = "the guest has closed the connection";
                    break;
            }
        }
    }

    /// <summary>One message. Where the frontend wants to know how it went, it is told, also when it is cut off for it, and also where it has not
    /// negotiated that here: one that comes back to a host that began anew may go on by what it agreed on with the one before (QEMU 7.2 does).</summary>
    private void Answer()
    {
        bool mustSay = (_socket.Flags & VhostUserFlags.NeedReply) != 0;
        try
        {
            bool hasReplied = Handle((VhostUserRequest)_socket.Request);
            if (mustSay && !hasReplied)
            {
                Reply(0ul);
            }
        }
        catch (ProtocolViolationException) when (mustSay)
        {
            Reply(1ul);
            throw;
        }
    }

    /// <summary>Rings before memory before the socket: a frontend that sees the socket closed may take its memory for its own again.</summary>
    private void LetGo()
    {
        for (int i = 0; i < _rings.Length; i++)
        {
            _device.StopQueue(i);
            _rings[i].Clear();
        }

        RunningRings = 0;
        _device.SetMemory(new GuestMemory());
        _guest.Dispose();
        _channel?.Dispose();
        _socket.Dispose();
    }

    private static ProtocolViolationException Violation(FormattableString text) => new(text.ToString(CultureInfo.InvariantCulture));
}
