using System;
using System.Collections.Generic;
using System.IO;
using System.IO.Compression;
using System.Linq;
using System.Text;

namespace LowLevel.Tests.Peers;

/// <summary>The whole user space of a Linux guest: busybox, a few drivers, what a test adds, and a script that runs as the first process. It is
/// unpacked into the guest's memory by its kernel, so the guest needs no disk. When the script ends, so does the machine.</summary>
internal sealed class GuestImage
{
    // The console does not echo, so that a test that types a command does not take its own words for the answer.
    private const string Opening = """
        #!/bin/busybox sh
        /bin/busybox --install -s /bin
        export PATH=/bin
        mount -t proc proc /proc
        mount -t sysfs sysfs /sys
        mount -t devtmpfs devtmpfs /dev
        stty -echo < /dev/console

        """;

    private const string Closing = "\npoweroff -f\n";

    private readonly Dictionary<string, byte[]> _files = new(StringComparer.Ordinal);
    private readonly List<string> _dependencies = [];
    private string _release = "";

    /// <summary>A guest that does nothing but this.</summary>
    /// <param name="script">For busybox's shell; /proc, /sys and /dev are there.</param>
    public GuestImage(string script)
    {
        Add("bin/busybox", File.ReadAllBytes(PeerTools.Busybox()));
        Add("init", Encoding.UTF8.GetBytes(Opening + script + Closing));
    }

    /// <summary>Adds a file; the path has no leading slash.</summary>
    public GuestImage Add(string path, byte[] content)
    {
        _files[path] = content;
        return this;
    }

    /// <summary>Adds drivers, and those that they need, for modprobe.</summary>
    public GuestImage AddModules(params IEnumerable<string> names)
    {
        foreach (string name in names)
        {
            AddModule(name);
        }

        return this;
    }

    /// <summary>Writes it as a kernel takes it (-initrd).</summary>
    public void WriteTo(string path)
    {
        using CpioWriter archive = new(new GZipStream(File.Create(path), CompressionLevel.Fastest));
        foreach (string folder in (string[])["proc", "sys", "dev", "tmp"])
        {
            archive.AddFolder(folder);
        }

        foreach ((string name, byte[] content) in _files)
        {
            archive.AddFile(name, content);
        }

        if (_release.Length > 0)
        {
            archive.AddFile($"lib/modules/{_release}/modules.dep", Encoding.ASCII.GetBytes(string.Concat(_dependencies)));
        }
    }

    /// <summary>A driver says itself what it needs and which kernel it is for.</summary>
    private string[] AddModule(string name)
    {
        byte[] module = File.ReadAllBytes(PeerTools.Module(name));
        _release = Tag(module, "vermagic=").Split(' ')[0];
        string[] needed = Tag(module, "depends=").Split(',', StringSplitOptions.RemoveEmptyEntries);
        string[] all = [.. needed.Concat(needed.SelectMany(AddModule)).Distinct()];
        if (_files.TryAdd($"lib/modules/{_release}/{name}.ko", module))
        {
            _dependencies.Add($"{name}.ko: {string.Join(' ', all.Select(static other => other + ".ko"))}\n");
        }

        return all;
    }

    private static string Tag(ReadOnlySpan<byte> module, string tag)
    {
        ReadOnlySpan<byte> from = module[(module.IndexOf(Encoding.ASCII.GetBytes("\0" + tag)) + 1 + tag.Length)..];
        return Encoding.ASCII.GetString(from[..from.IndexOf((byte)0)]);
    }
}
