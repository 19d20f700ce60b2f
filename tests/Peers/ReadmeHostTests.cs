using System;
using System.Linq;
using System.Text.Json;
using System.Text.RegularExpressions;
using LowLevel.Allocator;
using LowLevel.Tests.House;
using LowLevel.Tests.Interop.Host;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>The README's lines that put a .NET service and a virtual machine under one host, run as they stand there: only the socket's path is
/// another, and the guest gets a kernel.</summary>
public sealed class ReadmeHostTests
{
    private const string Socket = "/run/lowlevel.sock";

    private static string Section
    {
        get
        {
            string readme = Repository.Read("README.md");
            int start = readme.IndexOf("## Under a host", StringComparison.Ordinal);
            return readme[start..readme.IndexOf("\n## ", start, StringComparison.Ordinal)];
        }
    }

    [Fact]
    public void A_service_and_a_virtual_machine_come_under_the_same_host_by_the_lines_of_the_README()
    {
        string qemu = PeerTools.QemuNext();
        string[] commands = [.. Regex.Matches(Section, "^```sh\n(.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline).Select(m => m.Groups[1].Value)];
        Assert.Equal(2, commands.Length);
        using PeerFolder folder = new();
        string path = folder.PathOf("host.sock");

        string[] host = Words(commands[0], path);
        string[] options = host[(Array.IndexOf(host, "--") + 1)..];
        Assert.Equal(["dotnet", "run", "-c", "Release", "--project", "Interop/Host"], host[..6]);
        using HostProcess program = new([.. options, "--interval", "200ms"]);

        Assert.Contains($"Host = \"unix:{Socket}\"", Section, StringComparison.Ordinal);
        using PageArena service = PageArena.Create(new PageArenaOptions { Host = "unix:" + path, CapBytes = (nuint)2 << 30 });
        Assert.True(service.Aerator.IsHostConnected, service.Aerator.HostFailure);

        string[] machine = Words(commands[1], path);
        Assert.Equal("qemu-system-x86_64", machine[0]);
        GuestImage image = new GuestImage("modprobe -a virtio_pci virtio_balloon\necho ready\nread -r word\n").AddModules("virtio_pci", "virtio_balloon");
        using PeerProcess guest = Guest.Start(qemu, folder, image, machine[1..]);
        guest.WaitForLine("ready");

        JsonElement status = program.Until(static one => one.GetProperty("guests").EnumerateArray()
            .Count(static g => g.GetProperty("state").GetString() == "running") == 2);
        Assert.Equal(["memfd", "own"], status.GetProperty("guests").EnumerateArray().Select(static g => g.GetProperty("kind").GetString()!).Order());
        guest.WriteLine("end");
        Assert.Equal(0, guest.WaitForExit());
        program.End("TERM");
    }

    private static string[] Words(string command, string path) =>
        command.Replace("\\\n", " ", StringComparison.Ordinal).Replace(Socket, path, StringComparison.Ordinal)
            .Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries);
}
