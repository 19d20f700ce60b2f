using System;
using System.Diagnostics;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>The guests that other tests run drivers in: they start, do as they are told, and end.</summary>
public sealed class GuestTests
{
    private static readonly string[] Drivers = ["virtio_pci", "virtio_balloon", "virtio-rng"];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_guest_loads_drivers_takes_memory_answers_on_its_console_and_ends(bool next)
    {
        string qemu = next ? PeerTools.QemuNext() : PeerTools.Qemu();
        using PeerFolder folder = new();
        GuestImage image = new GuestImage("""
            echo "guest $(uname -r)"
            read -r word
            modprobe -a virtio_pci virtio_balloon virtio-rng && echo "$word $(cut -d ' ' -f 1 /proc/modules | sort | tr '\n' ' ')"
            dd if=/dev/zero of=/dev/null bs=100M count=1 && echo "taken and freed"
            """).AddModules(Drivers);
        Stopwatch time = Stopwatch.StartNew();
        using PeerProcess guest = Guest.Start(qemu, folder, image, "-m", "256", "-device", "virtio-balloon-pci");
        Assert.StartsWith("guest 6.", guest.WaitForLine("guest"), StringComparison.Ordinal);
        TimeSpan started = time.Elapsed;
        guest.WriteLine("hear");
        Assert.Contains(" virtio_balloon ", guest.WaitForLine("hear"), StringComparison.Ordinal);
        guest.WaitForLine("taken and freed");
        Assert.Equal(0, guest.WaitForExit());
        TestContext.Current.TestOutputHelper?.WriteLine($"first line after {started.TotalSeconds:f2} s, end after {time.Elapsed.TotalSeconds:f2} s");
    }
}
