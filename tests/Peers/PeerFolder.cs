using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;

namespace LowLevel.Tests.Peers;

/// <summary>A folder for the sockets and images of one test. Its path is short: a unix socket's must fit into 107 bytes.</summary>
internal sealed class PeerFolder : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("lowlevel-peer-");
    private readonly List<Socket> _listeners = [];

    /// <summary>The path of a file in it.</summary>
    public string PathOf(string name) => Path.Combine(_folder.FullName, name);

    /// <summary>A socket in it that listens already when this returns, so that who is told its path need not try twice.</summary>
    public Socket Listen(string name)
    {
        Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _listeners.Add(listener);
        listener.Bind(new UnixDomainSocketEndPoint(PathOf(name)));
        listener.Listen();
        return listener;
    }

    public void Dispose()
    {
        _listeners.ForEach(static listener => listener.Dispose());
        _folder.Delete(recursive: true);
    }
}
