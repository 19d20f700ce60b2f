using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Net.Sockets;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>Our queue, driver side, under a device that others wrote: the disk of QEMU's storage daemon. It serves many requests at a time, and gives
/// them back as they are done.</summary>
public sealed class StorageDaemonTests
{
    /// <summary>More than the ring's indexes count to.</summary>
    private const int Requests = 70_000;

    [Theory]
    [InlineData((Feature)0)]
    [InlineData(Feature.IndirectDescriptors)]
    [InlineData(Feature.EventIndex)]
    [InlineData(Feature.IndirectDescriptors | Feature.EventIndex)]
    public void What_is_written_is_in_the_file_and_every_request_comes_back_once(Feature features)
    {
        using PeerFolder folder = new();
        string path = folder.PathOf("image");
        using (FileStream image = File.Create(path))
        {
            image.SetLength(Requests * BlockDisk.SectorBytes);
        }

        using Socket listener = folder.Listen("qmp");
        using PeerProcess daemon = new(
            PeerTools.StorageDaemon(), "--chardev", $"socket,id=qmp,path={folder.PathOf("qmp")}", "--monitor", "chardev=qmp");
        using QmpClient monitor = new(daemon.Accept(listener));
        Export(monitor, path, folder.PathOf("disk"));
        Stopwatch time = Stopwatch.StartNew();
        using (BlockDisk disk = new(folder.PathOf("disk"), features))
        {
            Assert.Equal((ulong)Requests, disk.Sectors);
            disk.Write(Requests);
            bool isIndirect = (features & Feature.IndirectDescriptors) != 0;
            Assert.Equal(isIndirect ? BlockDisk.QueueSize : BlockDisk.QueueSize / 3, disk.Depth);
            Assert.Equal(((ushort)(Requests & ushort.MaxValue), (ushort)(Requests & ushort.MaxValue)), (disk.Ring.AvailableIndex, disk.Ring.UsedIndex));
            Assert.NotEqual(0, disk.Overtakers);
            TestContext.Current.TestOutputHelper?.WriteLine($"{time.Elapsed.TotalSeconds:f2} s, {disk.Overtakers} overtook, depth {disk.Depth}");
            Assert.True(disk.TryEnd());
        }

        monitor.Execute("quit");
        Assert.Equal(0, daemon.WaitForExit());
        Check(path);
    }

    private static void Export(QmpClient monitor, string image, string socket)
    {
        monitor.Execute("blockdev-add", new Dictionary<string, string> { ["driver"] = "file", ["node-name"] = "disk", ["filename"] = image });
        monitor.Execute("block-export-add", new Dictionary<string, object>
        {
            ["type"] = "vhost-user-blk",
            ["id"] = "export",
            ["node-name"] = "disk",
            ["writable"] = true,
            ["addr"] = new { type = "unix", path = socket },
        });
    }

    private static void Check(string path)
    {
        byte[] image = File.ReadAllBytes(path);
        Assert.Equal(Requests * BlockDisk.SectorBytes, image.Length);
        Span<byte> expected = new byte[BlockDisk.SectorBytes];
        for (int number = 0; number < Requests; number++)
        {
            BlockDisk.Expect(expected, (ulong)number);
            Assert.True(expected.SequenceEqual(image.AsSpan(number * BlockDisk.SectorBytes, BlockDisk.SectorBytes)), $"sector {number}");
        }
    }
}
