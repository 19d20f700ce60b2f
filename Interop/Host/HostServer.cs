using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Linq;
using System.Net.Sockets;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;

namespace LowLevel.Interop.Host;

/// <summary>One host for many guests, from one budget. A thread accepts, a thread for each guest serves it, a thread divides the budget each
/// interval, and at once when a guest comes, goes, or takes memory out of its balloon. Thread-safe.</summary>
internal sealed partial class HostServer : IDisposable
{
    private const int EndedMax = 64;
    private const int PauseMilliseconds = 100;

    private readonly HostOptions _options;
    private readonly Lock _guard = new();
    private readonly List<GuestSession> _sessions = [];
    private readonly Queue<EndedGuest> _ended = new();
    private readonly Signal _wake = new();
    private readonly Signal _ending = new();
    private readonly Thread _accepting;
    private readonly Thread _dividing;
    private Socket? _listener;
    private int _stop = -1;
    private int _lastId;
    private volatile bool _ends;
    private bool _isDisposed;

    /// <summary>A host that does not listen yet.</summary>
    public HostServer(HostOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _accepting = new Thread(Accept) { IsBackground = true, Name = "LowLevel host accepts" };
        _dividing = new Thread(Divide) { IsBackground = true, Name = "LowLevel host divides" };
    }

    /// <summary>The guests as they are now, by number.</summary>
    public IReadOnlyList<GuestStatus> Guests => [.. Sessions().Select(static session => session.Status())];

    /// <summary>The last ones that went, oldest first.</summary>
    public IReadOnlyList<EndedGuest> Ended
    {
        get
        {
            lock (_guard)
            {
                return [.. _ended];
            }
        }
    }

    /// <summary>Listens, and begins to serve.</summary>
    /// <exception cref="HostException">The path is not to be had.</exception>
    public void Start()
    {
        Errno error = _options.Descriptors.CreateEvent(out _stop);
        if (error != Errno.None)
        {
            throw new HostException($"no event for the end of the host: {error}");
        }

        _listener = HostSocket.Listen(_options.Path);
        _accepting.Start();
        _dividing.Start();
    }

    /// <summary>Fixes what the host wants in a guest's balloon; null: it follows the budget again. False: there is no such guest.</summary>
    public bool SetTarget(int guestId, uint? pages)
    {
        GuestSession? session = Sessions().FirstOrDefault(one => one.Id == guestId);
        session?.Fix(pages);
        return session is not null;
    }

    /// <summary>Divides at once.</summary>
    public void Wake() => _wake.Set();

    /// <summary>Ends: lets go of every guest and removes the socket. Waits at most for <see cref="HostOptions.EndTimeout"/>.</summary>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        Deadline deadline = new(TimeProvider.System, _options.EndTimeout);
        _ends = true;
        _wake.Set();
        _ending.Set();
        if (_listener is not null)
        {
            _options.Descriptors.Signal(_stop);
            _accepting.Join(deadline.Left);
            _dividing.Join(deadline.Left);
            _listener.Dispose();
            HostSocket.Remove(_options.Path);
        }

        GuestSession[] sessions = Sessions();
        Array.ForEach(sessions, static session => session.Stop());
        Array.ForEach(sessions, session => session.Join(deadline.Left));
        if (_stop >= 0)
        {
            _options.Descriptors.Close(_stop);
            _stop = -1;
        }
    }

    private GuestSession[] Sessions()
    {
        lock (_guard)
        {
            return [.. _sessions];
        }
    }

    private void Accept()
    {
        PollEntry[] entries = [new PollEntry(_stop), new PollEntry((int)_listener!.Handle)];
        while (!_ends)
        {
            if (_options.Descriptors.Poll(entries, -1, out _) is not (Errno.None or Errno.EINTR))
            {
                // The kernel has no memory for it just now. Who stopped listening for that would turn away everybody for ever.
                _ending.Wait(new Deadline(TimeProvider.System, TimeSpan.FromMilliseconds(PauseMilliseconds)));
                continue;
            }

            if (!_ends && entries[1].Ready != PollEvents.None && !TryAccept())
            {
                // Out of descriptors: whoever waits at the door is still there in a while.
                _options.Descriptors.Poll(entries.AsSpan(0, 1), PauseMilliseconds, out _);
            }
        }
    }

    /// <summary>False: the system has no room for another.</summary>
    [SuppressMessage("Reliability", "CA2000", Justification = "Its own thread closes the session.")]
    private bool TryAccept()
    {
        GuestSession session;
        try
        {
            session = new GuestSession(++_lastId, _listener!.Accept(), _options);
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode is SocketError.WouldBlock or SocketError.ConnectionAborted;
        }
        catch (InvalidOperationException)
        {
            return false;
        }

        session.NeedsAttention = _wake.Set;
        session.Ended = OnEnded;
        if (!TryServe(session, out string reason))
        {
            session.Dispose();
            Remember(session.End! with { Reason = "turned away: " + reason });
        }

        return true;
    }

    private bool TryServe(GuestSession session, out string reason)
    {
        lock (_guard)
        {
            reason = string.Create(CultureInfo.InvariantCulture, $"{_options.GuestsMax} guests are served already");
            if (_sessions.Count >= _options.GuestsMax)
            {
                return false;
            }

            try
            {
                session.Start();
            }
            catch (OutOfMemoryException)
            {
                reason = "the system has no thread for it";
                return false;
            }

            _sessions.Add(session);
            return true;
        }
    }

    private void OnEnded(GuestSession session)
    {
        lock (_guard)
        {
            _sessions.Remove(session);
            Remember(session.End!);
        }

        _wake.Set();
    }

    private void Remember(EndedGuest guest)
    {
        lock (_guard)
        {
            _ended.Enqueue(guest);
            if (_ended.Count > EndedMax)
            {
                _ended.Dequeue();
            }
        }
    }
}
