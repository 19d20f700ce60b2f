using System;
using System.Collections.Generic;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;

namespace LowLevel.Tests.Peers;

/// <summary>Stands between a QEMU and a host of ours, and connects again when the host is gone. QEMU's frontend for any device (vhost-user-test-device)
/// cannot do that: up to 11.1 it throws away what it knows with the first connection and ends by an assertion at the next. So this does what its other
/// frontends do: it says again what was said, and has each ring go on behind the last request that came back (used.idx).</summary>
internal sealed class VhostUserRelay : IDisposable
{
    private const int PauseMilliseconds = 5;
    private const int Forever = -1;

    private readonly string _hostPath;
    private readonly Socket _listener;
    private readonly LinuxDescriptors _os = LinuxDescriptors.Instance;
    private readonly SharedGuest _memory = new(LinuxSystem.Instance, LinuxDescriptors.Instance);
    private readonly List<Message> _told = [];
    private readonly List<int> _files = [];
    private readonly Thread _thread;
    private readonly int _wake;
    private MessageSocket? _guest;
    private MessageSocket? _host;
    private Message? _question;
    private volatile bool _ends;
    private int _connections;

    /// <param name="path">Where QEMU connects to.</param>
    /// <param name="hostPath">Where the host listens, or will.</param>
    public VhostUserRelay(string path, string hostPath)
    {
        _hostPath = hostPath;
        _listener = UnixSockets.Listen(path);
        if (_os.CreateEvent(out _wake) is not Errno.None and Errno error)
        {
            throw new InvalidOperationException($"no event: {error}");
        }

        _thread = new Thread(Run) { IsBackground = true, Name = "relay" };
        _thread.Start();
    }

    /// <summary>How often it has connected to a host.</summary>
    public int Connections => Volatile.Read(ref _connections);

    /// <summary>Why it ended before it was told to; null while all is well.</summary>
    public string? Failure { get; private set; }

    public void Dispose()
    {
        _ends = true;
        _os.Signal(_wake);
        _thread.Join();
        _guest?.Dispose();
        _host?.Dispose();
        _memory.Dispose();
        _listener.Dispose();
        _files.ForEach(file => _os.Close(file));
        _os.Close(_wake);
    }

    private void Run()
    {
        try
        {
            PollEntry[] first = [new PollEntry(_wake), new PollEntry((int)_listener.Handle)];
            _os.Poll(first, Forever, out _);
            if (!_ends)
            {
                _guest = new MessageSocket(_listener.Accept(), _os);
            }

            while (!_ends)
            {
                Round();
            }
        }
        catch (Exception e)
        {
            Failure = e.ToString();
            _guest?.Dispose();
        }
    }

    private void Round()
    {
        if (_host is null)
        {
            if (UnixSockets.TryConnect(_hostPath, out _) is not Socket socket)
            {
                _os.Poll([new PollEntry(_wake)], PauseMilliseconds, out _);
                return;
            }

            _host = new MessageSocket(socket, _os);
            Interlocked.Increment(ref _connections);
            Repeat();
            return;
        }

        PollEntry[] entries = [new PollEntry(_wake), new PollEntry(_guest!.Descriptor), new PollEntry(_host.Descriptor)];
        _os.Poll(entries, Forever, out _);
        if (entries[1].Ready != PollEvents.None)
        {
            HearGuest();
        }

        if (entries[2].Ready != PollEvents.None)
        {
            HearHost();
        }
    }

    private void HearGuest()
    {
        ReceiveResult result;
        while ((result = _guest!.TryReceive()) == ReceiveResult.Message)
        {
            int[] files = new int[_guest.Files];
            for (int i = 0; i < files.Length; i++)
            {
                files[i] = _guest.TakeFile(i);
            }

            _files.AddRange(files);
            Message message = new((VhostUserRequest)_guest.Request, _guest.Flags, _guest.Payload.ToArray(), files);
            Remember(message);
            _question = message.Asks ? message : _question;
            Send(message, message.Flags);
        }

        _ends |= result != ReceiveResult.More;
    }

    private void HearHost()
    {
        ReceiveResult result = ReceiveResult.More;
        while (_host is not null && (result = _host.TryReceive()) == ReceiveResult.Message)
        {
            _question = null;
            _guest!.Send(_host.Request, _host.Flags, _host.Payload);
        }

        if (result != ReceiveResult.More)
        {
            Part();
        }
    }

    /// <summary>To a host that knows nothing.</summary>
    private void Repeat()
    {
        foreach (Message message in _told)
        {
            bool isBase = message.Request == VhostUserRequest.SetVringBase;
            Send(isBase ? message with { Payload = Bytes(new VhostUserVringState { Index = message.Ring, Num = UsedIndex(message.Ring) }) } : message, 0);
        }

        if (_question is Message question)
        {
            Send(question, question.Flags);
        }
    }

    private void Send(Message message, VhostUserFlags flags)
    {
        if (_host is not null && _host.Send((uint)message.Request, flags, message.Payload, message.Files) != Errno.None)
        {
            Part();
        }
    }

    private void Part()
    {
        _host?.Dispose();
        _host = null;
    }

    private void Remember(Message message)
    {
        switch (message.Request)
        {
            case VhostUserRequest.SetMemoryTable:
                Share(message);
                break;
            case VhostUserRequest.GetVringBase:
                // It has stopped the ring: nothing of it is said again until it starts it anew.
                _told.RemoveAll(one => one.IsOfRing && one.Ring == message.Ring && one.Request != VhostUserRequest.SetVringCall);
                return;
            case VhostUserRequest.SetFeatures or VhostUserRequest.SetProtocolFeatures or VhostUserRequest.SetOwner or VhostUserRequest.SetBackendChannel:
                break;
            default:
                if (!message.IsOfRing)
                {
                    return;
                }

                break;
        }

        _told.RemoveAll(one => one.Request == message.Request && (!one.IsOfRing || one.Ring == message.Ring));
        _told.Add(message);
    }

    private void Share(Message message)
    {
        _memory.Change(static table =>
        {
            table.Dispose();
            return table;
        });
        for (int i = 0; i < message.Files.Length; i++)
        {
            VhostUserMemoryRegion region = MemoryMarshal.Read<VhostUserMemoryRegion>(
                message.Payload.AsSpan(sizeof(ulong) + (i * VhostUserMemoryRegion.SizeInBytes)));
            if (_os.Reopen(message.Files[i], out int file) is not Errno.None and Errno error)
            {
                throw new InvalidOperationException($"the guest's memory cannot be opened: {error}");
            }

            _memory.Change(table => table.With(region, file));
        }
    }

    private unsafe ushort UsedIndex(uint ring)
    {
        Message? address = _told.Find(one => one.Request == VhostUserRequest.SetVringAddress && one.Ring == ring);
        if (address is null)
        {
            return 0;
        }

        ulong user = MemoryMarshal.Read<VhostUserVringAddress>(address.Payload).UsedUserAddr;
        bool isThere = _memory.Table.TryFromUser(user + sizeof(ushort), out ulong guest);
        isThere &= _memory.Table.Memory.TryTranslate(guest, sizeof(ushort), out byte* host);

        // Sound: just translated.
        return isThere ? Volatile.Read(ref *(ushort*)host) : throw new InvalidOperationException($"ring {ring} lies outside memory");
    }

    private static byte[] Bytes<T>(T value)
        where T : unmanaged =>
        MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();

    private sealed record Message(VhostUserRequest Request, VhostUserFlags Flags, byte[] Payload, int[] Files)
    {
        public bool IsOfRing => Request is VhostUserRequest.SetVringNum or VhostUserRequest.SetVringBase or VhostUserRequest.SetVringAddress
            or VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringEnable or VhostUserRequest.GetVringBase;

        public uint Ring => Payload[0];

        /// <summary>An answer is due.</summary>
        public bool Asks => (Flags & VhostUserFlags.NeedReply) != 0 || Request is VhostUserRequest.GetFeatures or VhostUserRequest.GetProtocolFeatures
            or VhostUserRequest.GetQueueNum or VhostUserRequest.GetConfig or VhostUserRequest.GetVringBase or VhostUserRequest.GetMaxMemorySlots;
    }
}
