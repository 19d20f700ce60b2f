using System;
using System.Net.Sockets;

namespace LowLevel.Interop.VhostUser;

/// <summary>Unix stream sockets by path.</summary>
internal static class UnixSockets
{
    private const int Waiting = 128;

    /// <summary>Connects, or does not: a listener whose queue is full is as good as none. Never blocks.</summary>
    /// <param name="path">Path of the socket.</param>
    /// <param name="why">What went wrong.</param>
    public static Socket? TryConnect(string path, out string? why)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Blocking = false;
            socket.Connect(new UnixDomainSocketEndPoint(path));
            why = null;
            return socket;
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            socket.Dispose();
            why = $"cannot connect to {path}: {e.Message}";
            return null;
        }
    }

    /// <summary>Listens at a path where nothing is.</summary>
    /// <exception cref="SocketException">The path is taken, or not to be had.</exception>
    public static Socket Listen(string path)
    {
        Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Bind(new UnixDomainSocketEndPoint(path));
            socket.Listen(Waiting);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
