using System;
using System.Collections.Generic;
using System.IO;
using System.Net.Sockets;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>Children that are waited for: what they say, where they connect to and listen, how they end.</summary>
public sealed class PeerProcessTests
{
    [Fact]
    public void A_peer_that_fails_is_told_with_what_it_said()
    {
        using PeerProcess process = new("sh", "-c", "echo ready; echo to no avail >&2; exit 3");
        process.WaitForLine("ready");
        string message = Assert.Throws<InvalidOperationException>(() => process.WaitForLine("never")).Message;
        Assert.Equal(3, process.WaitForExit());
        Assert.Contains("to no avail", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_peer_that_nobody_waits_for_ends_with_its_object()
    {
        using PeerProcess process = new("sh", "-c", "echo ready; read -r line; echo \"heard $line\"; read -r line");
        process.WaitForLine("ready");
        process.WriteLine("something");
        Assert.Equal("heard something", process.WaitForLine("heard"));
        process.Kill();
        Assert.True(process.HasExited);
        Assert.Equal("ready\nheard something", process.Output);
    }

    [Fact]
    public void The_storage_daemon_offers_a_disk_as_it_is_told()
    {
        using PeerFolder folder = new();
        using Socket listener = folder.Listen("qmp");
        File.WriteAllBytes(folder.PathOf("disk"), new byte[1 << 20]);
        using PeerProcess daemon = new(
            PeerTools.StorageDaemon(), "--chardev", $"socket,id=qmp,path={folder.PathOf("qmp")}", "--monitor", "chardev=qmp");
        using QmpClient monitor = new(daemon.Accept(listener));
        monitor.Execute("blockdev-add", new Dictionary<string, string> { ["driver"] = "file", ["node-name"] = "disk", ["filename"] = folder.PathOf("disk") });
        monitor.Execute("block-export-add", new Dictionary<string, object>
        {
            ["type"] = "vhost-user-blk",
            ["id"] = "export",
            ["node-name"] = "disk",
            ["addr"] = new { type = "unix", path = folder.PathOf("export") },
        });
        using Socket export = daemon.Connect(folder.PathOf("export"));
        Assert.True(export.Connected);
        monitor.Execute("quit");
        Assert.Equal(0, daemon.WaitForExit());
    }
}
