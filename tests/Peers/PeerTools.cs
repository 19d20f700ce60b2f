using System;
using System.Globalization;
using System.IO;
using System.Linq;
using LowLevel.Tests.House;
using LowLevel.Tests.Packages;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>What tests/Peers/install.sh has put on this machine. Whoever asks for something that is not there ends the test as skipped, with the
/// reason.</summary>
internal static class PeerTools
{
    /// <summary>Where it is: a folder of this tree that no clone brings along, or one that several trees share.</summary>
    public static string Folder { get; } = Environment.GetEnvironmentVariable("LOWLEVEL_PEERS") is { Length: > 0 } shared
        ? Path.GetFullPath(shared)
        : Repository.Full("artifacts/peers");

    private static readonly Lazy<int> s_nextMajor = new(() => MajorVersion(Path.Combine(Folder, "qemu-next")));

    /// <summary>qemu-system-x86_64 of Debian 12: 7.2.</summary>
    public static string Qemu() => Find("qemu", "QEMU 7.2");

    /// <summary>qemu-system-x86_64, 11 or later: the first that makes any virtio device over vhost-user (vhost-user-test-device-pci).</summary>
    public static string QemuNext()
    {
        string program = Find("qemu-next", "QEMU 11 or later");
        Assert.SkipUnless(s_nextMajor.Value >= 11, $"This needs QEMU 11 or later; {program} is {s_nextMajor.Value}.");
        return program;
    }

    /// <summary>qemu-storage-daemon of Debian 12: 7.2.</summary>
    public static string StorageDaemon() => Find("qemu-storage-daemon", "QEMU's storage daemon");

    /// <summary>The bzImage of Debian 12's cloud kernel, 6.1.</summary>
    public static string Kernel() => Find("vmlinuz", "a Linux kernel");

    /// <summary>A static busybox.</summary>
    public static string Busybox() => Find("busybox", "a static busybox");

    /// <summary>A driver of that kernel by its name, with - or _ as the file has it.</summary>
    public static string Module(string name) => Find(Path.Combine("modules", name + ".ko"), $"the kernel's {name}");

    /// <summary>The model checker spin: the system's, else the one that was unpacked.</summary>
    public static string Spin() => Dotnet.Find("spin") ?? Find("spin", "the model checker spin");

    private static string Find(string file, string what)
    {
        string path = Path.Combine(Folder, file);
        Assert.SkipUnless(File.Exists(path), $"This needs {what}, which is not in {Folder}: tests/Peers/install.sh puts it there.");
        return path;
    }

    /// <summary>Of "QEMU emulator version 11.1.3 (Debian ...)".</summary>
    private static int MajorVersion(string program)
    {
        using PeerProcess process = new(program, "--version");
        string line = process.WaitForLine("version");
        string number = line.Split(' ').First(static word => word.Length > 0 && char.IsAsciiDigit(word[0]));
        return int.Parse(number.Split('.')[0], CultureInfo.InvariantCulture);
    }
}
