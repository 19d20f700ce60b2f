using System;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using System.Net.Sockets;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>Our queue, device side, under a driver that others wrote: Linux's for entropy, through the vhost-user frontend of Debian 12's QEMU.</summary>
public sealed class EntropyDeviceTests
{
    private const int Samples = 8;
    private const int Deaths = 5;
    private const int SampleBytes = 64; // what Linux 6.1 asks for at a time: a chain

    // QEMU takes these for granted: it has the driver accept them whatever a backend of this device offers. So the device offers them.
    private const Feature Ring = Feature.IndirectDescriptors | Feature.EventIndex;

    /// <summary>With the first number the 16 bits of the ring's indexes wrap; the second run has the plain ring, where flags silence either side.</summary>
    [Theory]
    [InlineData(70_000, true)]
    [InlineData(7_000, false)]
    public void Linux_reads_what_our_device_writes(int chains, bool isFull)
    {
        string qemu = PeerTools.Qemu();
        using PeerFolder folder = new();
        GuestImage image = new GuestImage(Script(chains)).AddModules("virtio_pci", "virtio-rng");
        using Socket listener = folder.Listen("rng");
        string ring = isFull ? "" : ",indirect_desc=off,event_idx=off";
        using PeerProcess guest = Guest.Start(
            qemu, folder, image, "-m", "128", "-object", "memory-backend-memfd,id=ram,share=on,size=128M", "-machine", "memory-backend=ram",
            "-chardev", $"socket,id=rng,path={folder.PathOf("rng")}", "-device", $"vhost-user-rng-pci,chardev=rng{ring}");
        EntropyDevice device = new(Ring | Feature.Version1, 64);
        Server server = new(guest, listener, device);
        Assert.EndsWith(" virtio_rng.0", guest.WaitForLine("source"), StringComparison.Ordinal);
        Assert.Equal(isFull ? Ring | Feature.Version1 : Feature.Version1, device.Features);
        for (int i = 0; i < Samples; i++)
        {
            byte[] sample = Convert.FromHexString(guest.WaitForLine("sample").Split(' ')[1]);
            Assert.Equal(SampleBytes, sample.Length);
            Assert.True(device.HasServed(sample), $"the guest has read {Convert.ToHexString(sample)}, and nobody wrote that");
        }

        Stopwatch time = Stopwatch.StartNew();
        Assert.Equal($"hwrng gave {((long)chains * SampleBytes).ToString(CultureInfo.InvariantCulture)}", guest.WaitForLine("hwrng gave"));
        TestContext.Current.TestOutputHelper?.WriteLine($"{device.Chains} chains, {time.Elapsed.TotalSeconds:f1} s");
        Assert.Equal(0, guest.WaitForExit());
        server.Join();
        Assert.Equal((ProtocolFault.None, ChainFault.None), (device.Fault, device.ChainFault));
        Assert.InRange(device.Chains, chains, chains + 1000);
        Assert.Equal(device.Chains * SampleBytes, device.Bytes);
    }

    /// <summary>QEMU connects again and goes on by what it negotiated with the first device; the request that was under way is done again.</summary>
    [Fact]
    public void Linux_reads_on_after_our_device_has_died_in_the_middle_of_a_request()
    {
        string qemu = PeerTools.Qemu();
        using PeerFolder folder = new();
        GuestImage image = new GuestImage(Script(7_000)).AddModules("virtio_pci", "virtio-rng");
        using Socket listener = folder.Listen("rng");
        using Socket qmp = folder.Listen("qmp");
        using PeerProcess guest = Guest.Start(
            qemu, folder, image, "-m", "128", "-object", "memory-backend-memfd,id=ram,share=on,size=128M", "-machine", "memory-backend=ram",
            "-chardev", $"socket,id=rng,path={folder.PathOf("rng")},reconnect=1", "-S", "-qmp", $"unix:{folder.PathOf("qmp")}");
        using QmpClient monitor = new(guest.Accept(qmp));
        EntropyDevice[] lives = [.. Enumerable.Range(0, Deaths + 1).Select(static life =>
            new EntropyDevice(Ring | Feature.Version1, 64) { DiesAt = life < Deaths ? 500 + life : long.MaxValue })];
        Server server = new(guest, listener, lives);
        Guest.Plug(monitor, "rng", "vhost-user-rng-pci");
        monitor.Execute("cont");
        Assert.Equal($"hwrng gave {7_000 * SampleBytes}", guest.WaitForLine("hwrng gave"));
        Assert.Equal(0, guest.WaitForExit());
        server.Join();
        Assert.All(lives, static life => Assert.Equal((ProtocolFault.None, ChainFault.None), (life.Fault, life.ChainFault)));
        Assert.All(lives[..Deaths], static life => Assert.Equal(life.DiesAt, life.Chains));
        Assert.InRange(lives.Sum(static life => life.Chains), 7_000 + Deaths, 8_000);
    }

    private static string Script(int chains) => $"""
        modprobe -a virtio_pci virtio-rng
        echo "source $(cat /sys/class/misc/hw_random/rng_current)"
        i=0
        while [ $((i += 1)) -le {Samples} ]; do echo "sample $(dd if=/dev/hwrng bs={SampleBytes} count=1 2> /dev/null | xxd -p -c {SampleBytes})"; done
        echo "hwrng gave $(dd if=/dev/hwrng bs={1000 * SampleBytes} count={chains / 1000} 2> /dev/null | wc -c)"
        """;

    /// <summary>Serves each connection that the guest makes with the next device.</summary>
    private sealed class Server
    {
        private readonly PeerProcess _guest;
        private readonly Socket _listener;
        private readonly Thread _thread;
        private Exception? _failure;

        public Server(PeerProcess guest, Socket listener, params EntropyDevice[] devices)
        {
            _guest = guest;
            _listener = listener;
            _thread = new Thread(() => Run(devices)) { IsBackground = true, Name = "entropy" };
            _thread.Start();
        }

        /// <summary>Waits for the end of the last connection.</summary>
        public void Join()
        {
            _thread.Join();
            Assert.Null(_failure);
        }

        private void Run(EntropyDevice[] devices)
        {
            try
            {
                Array.ForEach(devices, Serve);
            }
            catch (Exception e)
            {
                _failure = e;
            }
        }

        private void Serve(EntropyDevice device)
        {
            using SharedGuest memory = new(LinuxSystem.Instance, LinuxDescriptors.Instance);
            using VhostUserBackend backend = new(_guest.Accept(_listener), device, memory, LinuxDescriptors.Instance);
            try
            {
                backend.Run();
                Assert.Equal(("the guest has closed the connection", false), (backend.EndReason, backend.WasCutOff));
            }
            catch (InvalidOperationException)
            {
                // It has died, and, as a process that ends would, let go of everything.
            }
        }
    }
}
