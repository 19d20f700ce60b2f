using System;
using System.IO;
using System.Net.Sockets;
using LowLevel.Interop.VhostUser;

namespace LowLevel.Interop.Host;

/// <summary>The path on which a host listens.</summary>
internal static class HostSocket
{
    private const int NoSuchDevice = 6; // ENXIO

    /// <summary>Listens. A socket that a host has left behind goes away; one that somebody answers on, and anything that is no socket, stays.</summary>
    /// <exception cref="HostException">The path is not to be had.</exception>
    public static Socket Listen(string path)
    {
        ClearWay(path);
        try
        {
            Socket socket = UnixSockets.Listen(path);
            socket.Blocking = false;
            return socket;
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            throw new HostException($"cannot listen at {path}: {e.Message}", e);
        }
    }

    /// <summary>Removes the path; it may be gone already.</summary>
    public static void Remove(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A socket that nobody answers on: the next host removes it.
        }
    }

    private static void ClearWay(string path)
    {
        if (!Path.Exists(path))
        {
            return;
        }

        if (!IsSocket(path))
        {
            throw new HostException($"cannot listen at {path}: there is something that is no socket");
        }

        using Socket? somebody = UnixSockets.TryConnect(path, out _);
        if (somebody is not null)
        {
            throw new HostException($"cannot listen at {path}: another host answers there");
        }

        Remove(path);
    }

    /// <summary>Nothing but a socket refuses to be opened so (ENXIO). For reading and writing, because to open a pipe waits for neither then.</summary>
    private static bool IsSocket(string path)
    {
        try
        {
            File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite).Dispose();
            return false;
        }
        catch (IOException e)
        {
            return e.HResult == NoSuchDevice;
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }
}
