using System;
using System.IO;
using System.Net.Sockets;
using LowLevel.Interop.VhostUser;

namespace LowLevel.Tests.Peers;

/// <summary>A folder for the sockets and images of one test. Its path is short: a unix socket's must fit into 107 bytes.</summary>
internal sealed class PeerFolder : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("lowlevel-peer-");

    /// <summary>The path of a file in it.</summary>
    public string PathOf(string name) => Path.Combine(_folder.FullName, name);

    /// <summary>A socket in it that listens already when this returns, so that who is told its path need not try twice. The caller's.</summary>
    public Socket Listen(string name) => UnixSockets.Listen(PathOf(name));

    public void Dispose() => _folder.Delete(recursive: true);
}
