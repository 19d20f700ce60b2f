using System.Collections.Generic;

namespace LowLevel.Tests.Peers;

/// <summary>A Linux guest whose serial console is the standard input and output of its QEMU. Always emulated, never by the processor: so it runs
/// everywhere, and the same everywhere.</summary>
internal static class Guest
{
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
}
