using System;
using System.Diagnostics.CodeAnalysis;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Interop.VhostUser;

/// <summary>What a look at the socket has found.</summary>
internal enum ReceiveResult
{
    /// <summary>A message is complete.</summary>
    Message,

    /// <summary>Nothing, or not all of a message; wait until the socket is readable.</summary>
    More,

    /// <summary>The other side is gone.</summary>
    Closed,

    /// <summary>The other side does not speak this protocol.</summary>
    Malformed,
}

/// <summary>vhost-user messages over a unix stream socket: a header, a payload, and files that come with the header. Never blocks. Nothing is
/// believed: a message that is too long or of another version ends the conversation, and files that nobody takes are closed. One thread at a
/// time.</summary>
internal sealed class MessageSocket : IDisposable
{
    /// <summary>A call that never blocks is interrupted once in a while and not for ever.</summary>
    private const int InterruptsMax = 100;

    private readonly Socket _socket;
    private readonly IDescriptors _os;
    private readonly byte[] _bytes = new byte[VhostUserHeader.SizeInBytes + VhostUserLimits.PayloadMax];
    private readonly int[] _files = new int[IDescriptors.FilesMax];
    private readonly int[] _arrived = new int[IDescriptors.FilesMax];
    private VhostUserHeader _header;
    private int _filled;
    private int _fileCount;
    private bool _isComplete;

    /// <summary>Takes over a connected socket.</summary>
    public MessageSocket(Socket socket, IDescriptors os)
    {
        ArgumentNullException.ThrowIfNull(socket);
        _socket = socket;
        _os = os;
    }

    /// <summary>Takes over a connected unix stream socket by its descriptor.</summary>
    /// <exception cref="SocketException">It is something else; it was closed.</exception>
    [SuppressMessage("Reliability", "CA2000", Justification = "The message socket owns the socket, which owns the handle.")]
    public static MessageSocket Adopt(int descriptor, IDescriptors os)
    {
        ArgumentNullException.ThrowIfNull(os);
        SafeSocketHandle handle = new(descriptor, ownsHandle: true);
        try
        {
            // The class library takes any descriptor for a socket; whoever asks it about its type is told.
            Socket socket = new(handle);
            object? type = socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.Type);
            return type is (int)SocketType.Stream && socket.AddressFamily == AddressFamily.Unix
                ? new MessageSocket(socket, os)
                : throw new SocketException((int)SocketError.SocketNotSupported);
        }
        catch (SocketException)
        {
            handle.SetHandleAsInvalid();
            os.Close(descriptor);
            throw;
        }
    }

    /// <summary>To wait for.</summary>
    public int Descriptor => (int)_socket.Handle;

    /// <summary>Request of the message.</summary>
    public uint Request => _header.Request;

    /// <summary>Flags of the message, without the version.</summary>
    public VhostUserFlags Flags => (VhostUserFlags)(_header.Flags & ~VhostUserLimits.VersionMask);

    /// <summary>Payload of the message.</summary>
    public ReadOnlySpan<byte> Payload => _bytes.AsSpan(VhostUserHeader.SizeInBytes, (int)_header.Size);

    /// <summary>A part of a message has come, and perhaps files with it, and the rest has not.</summary>
    public bool IsHalf => _filled != 0 && !_isComplete;

    /// <summary>Files that came with the message.</summary>
    public int Files => _fileCount;

    /// <summary>The process at the other end when it connected; 0 where the system does not say.</summary>
    public int PeerProcess
    {
        get
        {
            const int LevelSocket = 1;
            const int PeerCredentials = 17;
            Span<byte> credentials = stackalloc byte[12]; // struct ucred: pid, uid, gid
            try
            {
                return _socket.GetRawSocketOption(LevelSocket, PeerCredentials, credentials) == credentials.Length
                    ? MemoryMarshal.Read<int>(credentials)
                    : 0;
            }
            catch (SocketException)
            {
                return 0;
            }
        }
    }

    /// <summary>Takes what has arrived. The message before it is gone then.</summary>
    public ReceiveResult TryReceive()
    {
        if (_isComplete)
        {
            CloseFiles();
            _filled = 0;
            _isComplete = false;
        }

        while (true)
        {
            int wanted = Wanted();
            if (wanted < 0)
            {
                return ReceiveResult.Malformed;
            }

            if (wanted == 0)
            {
                _isComplete = true;
                return ReceiveResult.Message;
            }

            Errno error = _os.Receive(Descriptor, _bytes.AsSpan(_filled, wanted), _arrived, out int received, out int count);
            if (!Keep(count))
            {
                return ReceiveResult.Malformed;
            }

            if (error is Errno.EAGAIN or Errno.EINTR)
            {
                return ReceiveResult.More;
            }

            if (error != Errno.None || received == 0)
            {
                return ReceiveResult.Closed;
            }

            _filled += received;
        }
    }

    /// <summary>The payload as one struct. False: it has another length.</summary>
    public bool TryRead<T>(out T value)
        where T : unmanaged
    {
        value = default;
        return Payload.Length == Unsafe.SizeOf<T>() && MemoryMarshal.TryRead(Payload, out value);
    }

    /// <summary>Takes a file of the message; it is the caller's from now on.</summary>
    public int TakeFile(int index)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, _fileCount);
        int file = _files[index];
        _files[index] = -1;
        return file;
    }

    /// <summary>Sends a message. Anything but <see cref="Errno.None"/> ends the conversation: a part may have been sent, and a socket that takes
    /// no more belongs to somebody who does not read.</summary>
    public Errno Send(uint request, VhostUserFlags flags, ReadOnlySpan<byte> payload, ReadOnlySpan<int> files = default)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)payload.Length, VhostUserLimits.PayloadMax, nameof(payload));
        VhostUserHeader header = new() { Request = request, Flags = VhostUserLimits.Version | (uint)flags, Size = (uint)payload.Length };
        Span<byte> message = stackalloc byte[VhostUserHeader.SizeInBytes + payload.Length];
        MemoryMarshal.Write(message, header);
        payload.CopyTo(message[VhostUserHeader.SizeInBytes..]);
        Errno error = Errno.None;
        int interrupts = 0;
        while (!message.IsEmpty && (error == Errno.None || (error == Errno.EINTR && interrupts++ < InterruptsMax)))
        {
            error = _os.Send(Descriptor, message, files, out int sent);
            message = message[sent..];
            files = sent == 0 ? files : default;
        }

        return error;
    }

    /// <summary>From now on it is only for sending: the other side can say nothing more. False: it has already, or this is no socket that is
    /// connected.</summary>
    public bool TryOnlySend()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Receive);
        }
        catch (SocketException)
        {
            return false;
        }

        return _os.Receive(Descriptor, _bytes.AsSpan(0, 1), _arrived, out int received, out int count) == Errno.None && Keep(count) && received == 0;
    }

    /// <summary>Whether the other side still takes what is sent.</summary>
    public bool CanSend() => _os.Send(Descriptor, default, default, out _) == Errno.None;

    /// <summary>Nothing more will be sent: the other side reads the end.</summary>
    public void ShutDown()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            // The other side was quicker.
        }
    }

    /// <summary>Closes the socket and every file that nobody took.</summary>
    public void Dispose()
    {
        CloseFiles();
        _socket.Dispose();
    }

    /// <summary>Bytes that are missing of the header, then of the payload; 0: none; negative: this is no message.</summary>
    private int Wanted()
    {
        if (_filled < VhostUserHeader.SizeInBytes)
        {
            return VhostUserHeader.SizeInBytes - _filled;
        }

        _header = MemoryMarshal.Read<VhostUserHeader>(_bytes);
        bool isKnown = (_header.Flags & VhostUserLimits.VersionMask) == VhostUserLimits.Version && _header.Size <= VhostUserLimits.PayloadMax;
        return isKnown ? VhostUserHeader.SizeInBytes + (int)_header.Size - _filled : -1;
    }

    private bool Keep(int count)
    {
        bool fits = _fileCount + count <= _files.Length;
        for (int i = 0; i < count; i++)
        {
            if (fits)
            {
                _files[_fileCount++] = _arrived[i];
            }
            else
            {
                _os.Close(_arrived[i]);
            }
        }

        return fits;
    }

    private void CloseFiles()
    {
        for (int i = 0; i < _fileCount; i++)
        {
            if (_files[i] >= 0)
            {
                _os.Close(_files[i]);
            }
        }

        _fileCount = 0;
    }
}
