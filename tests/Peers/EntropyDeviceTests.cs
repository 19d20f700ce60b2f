using System;
using System.Diagnostics;
using System.Globalization;
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
        using VhostUserBackend backend = new(
            guest.Accept(listener), device, new SharedGuest(LinuxSystem.Instance, LinuxDescriptors.Instance), LinuxDescriptors.Instance);
        Thread thread = new(backend.Run) { IsBackground = true, Name = "entropy" };
        thread.Start();

        Assert.EndsWith(" virtio_rng.0", guest.WaitForLine("source"), StringComparison.Ordinal);
        Assert.Equal(isFull ? Ring | Feature.Version1 : Feature.Version1, device.Features);
        for (int i = 0; i < Samples; i++)
        {
            byte[] sample = Convert.FromHexString(guest.WaitForLine("sample").Split(' ')[1]);
            Assert.Equal(SampleBytes, sample.Length);
            Assert.True(device.HasServed(sample), $"the guest has read {Convert.ToHexString(sample)}, and nobody wrote that");
        }

        Stopwatch time = Stopwatch.StartNew();
        Assert.Equal($"read {((long)chains * SampleBytes).ToString(CultureInfo.InvariantCulture)}", guest.WaitForLine("read"));
        TestContext.Current.TestOutputHelper?.WriteLine($"{device.Chains} chains, {time.Elapsed.TotalSeconds:f1} s");
        Assert.Equal(0, guest.WaitForExit());
        thread.Join();
        Assert.Equal((ProtocolFault.None, ChainFault.None), (device.Fault, device.ChainFault));
        Assert.Equal(("the guest has closed the connection", false), (backend.EndReason, backend.WasCutOff));
        Assert.InRange(device.Chains, chains, chains + 1000);
        Assert.Equal(device.Chains * SampleBytes, device.Bytes);
    }

    [Fact]
    public void Linux_reads_on_after_our_device_has_died_in_the_middle_of_a_request()
    {
        string qemu = PeerTools.Qemu();
        using PeerFolder folder = new();
        GuestImage image = new GuestImage(Script(7000)).AddModules("virtio_pci", "virtio-rng");
        using Socket listener = folder.Listen("rng");
        using Socket qmp = folder.Listen("qmp");
        using PeerProcess guest = Guest.Start(
            qemu, folder, image, "-m", "128", "-object", "memory-backend-memfd,id=ram,share=on,size=128M", "-machine", "memory-backend=ram",
            "-chardev", $"socket,id=rng,path={folder.PathOf("rng")},reconnect=1", "-S", "-qmp", $"unix:{folder.PathOf("qmp")}");
        using QmpClient monitor = new(guest.Accept(qmp));
        EntropyDevice first = new(Ring | Feature.Version1, 64) { DiesAt = 20 };
        Thread thread = new(() => Serve(guest.Accept(listener), first)) { IsBackground = true, Name = "entropy" };
        thread.Start();
        Guest.Plug(monitor, "rng", "vhost-user-rng-pci");
        monitor.Execute("cont");
        for (int i = 0; i < 5; i++)
        {
            thread.Join();
            Console.WriteLine("died");
            EntropyDevice next = new(Ring | Feature.Version1, 64) { DiesAt = i == 4 ? long.MaxValue : 500 };
            Socket socket = guest.Accept(listener);
            Console.WriteLine("accepted");
            thread = new(() => Serve(socket, next)) { IsBackground = true, Name = "entropy" };
            thread.Start();
        }

        try { Console.WriteLine(guest.WaitForLine("read", TimeSpan.FromSeconds(20))); }
        finally { Console.WriteLine(guest.Output); }
        Assert.Equal(0, guest.WaitForExit());
        thread.Join();
    }

    private static void Serve(Socket socket, EntropyDevice device)
    {
        using VhostUserBackend backend = new(
            socket, device, new SharedGuest(LinuxSystem.Instance, LinuxDescriptors.Instance), LinuxDescriptors.Instance);
        try
        {
            backend.Run();
        }
        catch (InvalidOperationException)
        {
            // As a process that ends would, it has let go of everything.
        }
        Console.WriteLine($"{backend.EndReason} {device.Chains} {backend.ProtocolFeatures} {device.Features}");
    }

    private static string Script(int chains) => $"""
        modprobe -a virtio_pci virtio-rng
        echo "source $(cat /sys/class/misc/hw_random/rng_current)"
        i=0
        while [ $((i += 1)) -le {Samples} ]; do echo "sample $(dd if=/dev/hwrng bs={SampleBytes} count=1 2> /dev/null | xxd -p -c {SampleBytes})"; done
        echo "read $(dd if=/dev/hwrng bs={1000 * SampleBytes} count={chains / 1000} 2> /dev/null | wc -c)"
        """;
}
