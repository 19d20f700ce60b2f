using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>A Linux guest whose serial console is the standard input and output of its QEMU. Always emulated, never by the processor: so it runs
/// everywhere, and the same everywhere.</summary>
internal static class Guest
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>Starts it.</summary>
    /// <param name="qemu">Which QEMU.</param>
    /// <param name="folder">Where its image goes.</param>
    /// <param name="image">Its user space.</param>
    /// <param name="arguments">Its memory (-m; a memory file: -object memory-backend-memfd,id=ram,share=on,size=... -machine memory-backend=ram)
    /// and its devices.</param>
    public static PeerProcess Start(string qemu, PeerFolder folder, GuestImage image, params IEnumerable<string> arguments)
    {
        string kernel = PeerTools.Kernel();
        string initrd = folder.PathOf("initrd.gz");
        image.WriteTo(initrd);
        return new PeerProcess(
            qemu,
            [
                "-M", "pc", "-accel", "tcg", "-cpu", "max", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
                "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1", .. arguments,
            ]);
    }

    /// <summary>Adds a device to a machine that stands still (-S), over a socket that connects again (reconnect): only over one that has connected can
    /// QEMU make such a device, and the first time is too late for a device of the command line.</summary>
    /// <param name="monitor">The machine's.</param>
    /// <param name="socket">Name of the socket (-chardev).</param>
    /// <param name="driver">The kind of device.</param>
    /// <param name="properties">More of its properties.</param>
    public static void Plug(QmpClient monitor, string socket, string driver, params IEnumerable<(string Name, object Value)> properties)
    {
        bool isOpen = SpinWait.SpinUntil(
            () => monitor.Execute("query-chardev").EnumerateArray().Any(one =>
                one.GetProperty("label").GetString() == socket && !one.GetProperty("filename").GetString()!.StartsWith("disconnected", StringComparison.Ordinal)),
            Patience);
        Assert.True(isOpen, $"the socket {socket} has not connected");
        Dictionary<string, object> arguments = properties.ToDictionary();
        arguments.Add("driver", driver);
        arguments.Add("chardev", socket);
        monitor.Execute("device_add", arguments);
    }
}
