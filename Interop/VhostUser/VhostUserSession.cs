using System;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>The moving parts of one connection at the driver's end: the events of each ring, the channel on which the backend speaks, and the
/// thread that waits for them. Callbacks come on that thread.</summary>
internal sealed class VhostUserSession : IDisposable
{
    private const int FixedEntries = 3;
    private const int Forever = -1;

    /// <summary>Messages between two looks at everything else: a backend that always has one more keeps nothing waiting.</summary>
    private const int MessagesMax = 64;

    private readonly VhostUserFrontend _frontend;
    private readonly IDescriptors _os;
    private readonly int[] _kicks;
    private readonly int[] _calls;
    private readonly int _wake;
    private readonly Thread _thread;
    private readonly Lock _kicking = new();
    private MessageSocket? _channel;
    private volatile bool _ends;
    private bool _isStarted;
    private bool _isDisposed;

    private VhostUserSession(VhostUserFrontend frontend, IDescriptors os, int[] events)
    {
        _frontend = frontend;
        _os = os;
        _wake = events[0];
        int queues = (events.Length - 1) / 2;
        _kicks = events[1..(queues + 1)];
        _calls = events[(queues + 1)..];
        _thread = new Thread(Run) { IsBackground = true, Name = "LowLevel balloon interrupts" };
    }

    /// <summary>The device has used buffers of a queue.</summary>
    public Action<int>? Interrupt { get; set; }

    /// <summary>The device has changed its configuration.</summary>
    public Action? ConfigChanged { get; set; }

    /// <summary>The backend is gone.</summary>
    public Action? Ended { get; set; }

    /// <summary>A session with an event for each direction of each queue; null where the system has none left.</summary>
    public static VhostUserSession? TryCreate(VhostUserFrontend frontend, IDescriptors os, int queues, out Errno error)
    {
        int[] events = new int[1 + (2 * queues)];
        for (int i = 0; i < events.Length; i++)
        {
            error = os.CreateEvent(out events[i]);
            if (error != Errno.None)
            {
                Array.ForEach(events[..i], fd => os.Close(fd));
                return null;
            }
        }

        error = Errno.None;
        return new VhostUserSession(frontend, os, events);
    }

    /// <summary>Gives the backend a socket to speak on.</summary>
    public bool TryOpenChannel()
    {
        if (_os.CreateSocketPair(out int ours, out int theirs) != Errno.None)
        {
            return false;
        }

        _channel = MessageSocket.Adopt(ours, _os);
        bool isTaken = _frontend.TrySetChannel(theirs);
        _os.Close(theirs);
        return isTaken;
    }

    /// <summary>Begins to wait.</summary>
    public void Start()
    {
        _isStarted = true;
        _thread.Start();
    }

    /// <summary>Describes a ring to the backend and starts it.</summary>
    public bool TryStartRing(int queue, int size, in VhostUserVringAddress at) =>
        _frontend.TryStartRing(queue, size, at, _kicks[queue], _calls[queue]);

    /// <summary>Tells the device that a queue has buffers.</summary>
    public void Kick(int queue)
    {
        // The number of a closed descriptor may be somebody else's file by now.
        lock (_kicking)
        {
            if (!_isDisposed)
            {
                _os.Signal(_kicks[queue]);
            }
        }
    }

    /// <summary>Ends the waiting and closes the events. Not from a callback.</summary>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _ends = true;
        _os.Signal(_wake);
        if (_isStarted)
        {
            _thread.Join();
        }

        lock (_kicking)
        {
            if (_isDisposed)
            {
                return;
            }

            _isDisposed = true;
            Array.ForEach(_kicks, fd => _os.Close(fd));
        }

        _channel?.Dispose();
        _os.Close(_wake);
        Array.ForEach(_calls, fd => _os.Close(fd));
    }

    private void Run()
    {
        PollEntry[] entries = new PollEntry[FixedEntries + _calls.Length];
        entries[0] = new PollEntry(_wake);

        // Only its end: what else comes on this socket answers a question, and whoever asked it reads it.
        entries[1] = new PollEntry(_frontend.Descriptor, PollEvents.None);
        entries[2] = new PollEntry(_channel?.Descriptor ?? -1);
        for (int i = 0; i < _calls.Length; i++)
        {
            entries[FixedEntries + i] = new PollEntry(_calls[i]);
        }

        while (!_ends)
        {
            Errno error = _os.Poll(entries, Forever, out _);
            if (_ends)
            {
                break;
            }

            if (error is not (Errno.None or Errno.EINTR))
            {
                // Nobody hears interrupts any more.
                Ended?.Invoke();
                break;
            }

            for (int i = FixedEntries; i < entries.Length; i++)
            {
                if (entries[i].Ready != PollEvents.None)
                {
                    _os.Drain(entries[i].Fd);
                    Interrupt?.Invoke(i - FixedEntries);
                }
            }

            if (entries[2].Ready != PollEvents.None && !Listen())
            {
                entries[2].Fd = -1;
            }

            if (entries[1].Ready != PollEvents.None)
            {
                Ended?.Invoke();
                break;
            }
        }
    }

    private static bool Acknowledge(MessageSocket channel)
    {
        ulong done = 0;
        return channel.Send(channel.Request, VhostUserFlags.Reply, MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in done))) == Errno.None;
    }

    /// <summary>What the backend says unasked. False: it has nothing more to say.</summary>
    private bool Listen()
    {
        bool isChanged = false;
        ReceiveResult result = ReceiveResult.Message;
        for (int i = 0; i < MessagesMax && (result = _channel!.TryReceive()) == ReceiveResult.Message; i++)
        {
            isChanged |= _channel.Request == (uint)VhostUserBackendRequest.ConfigChanged;
            if ((_channel.Flags & VhostUserFlags.NeedReply) != 0 && !Acknowledge(_channel))
            {
                return false;
            }
        }

        if (isChanged)
        {
            ConfigChanged?.Invoke();
        }

        return result is ReceiveResult.More or ReceiveResult.Message;
    }
}
