using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;

namespace LowLevel.Interop.Linux;

/// <summary>A memory control group, version 1 or 2: what it is charged, its limit, and children of it to measure in. The charge
/// is what a container is killed for; RSS is not (a huge page that was dropped in part stays charged whole until it is split).
/// Sources: Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst, proc(5) for cgroup and mountinfo.</summary>
internal sealed class MemoryCgroup
{
    private readonly string _root;

    private MemoryCgroup(int version, string folder, string root)
    {
        Version = version;
        Folder = folder;
        _root = root;
    }

    /// <summary>1 or 2.</summary>
    public int Version { get; }

    /// <summary>The group's folder.</summary>
    public string Folder { get; }

    /// <summary>Bytes charged to the group and its children now (memory.current, memory.usage_in_bytes); null where not told.</summary>
    public ulong? ChargeBytes => ReadNumber(Folder, ChargeFile);

    /// <summary>The highest charge so far (memory.peak, Linux 5.19; memory.max_usage_in_bytes).</summary>
    public ulong? PeakBytes => ReadNumber(Folder, Version == 2 ? "memory.peak" : "memory.max_usage_in_bytes");

    /// <summary>The folders of the group and the groups above it, as far as they can be seen.</summary>
    public IEnumerable<string> FoldersUpward
    {
        get
        {
            for (string? folder = Folder; folder is not null && IsInside(folder, _root); folder = Path.GetDirectoryName(folder))
            {
                yield return folder;
            }
        }
    }

    /// <summary>The group that this process is in; null where there is no memory controller or it cannot be seen.</summary>
    public static MemoryCgroup? OfThisProcess()
    {
        try
        {
            MemoryCgroup? found = Locate(File.ReadAllText("/proc/self/cgroup"), File.ReadAllText("/proc/self/mountinfo"));
            return found is not null && Directory.Exists(found.Folder) ? found : null;
        }
        catch (IOException)
        {
            return null;
        }
        catch (UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>A group by its folder, as a parent process knows it from its child.</summary>
    public static MemoryCgroup At(int version, string folder) => new(version, folder, folder);

    /// <summary>Finds the group from the two texts of /proc. Version 1's memory controller, where mounted, is the one that counts; a
    /// process inside a cgroup namespace sees paths from the namespace's root, and the mount's root says how much of them to drop.</summary>
    internal static MemoryCgroup? Locate(string cgroupText, string mountText)
    {
        string? version1 = null;
        string? version2 = null;
        foreach (string line in Lines(cgroupText))
        {
            string[] parts = line.Split(':', 3);
            if (parts.Length == 3 && Array.IndexOf(parts[1].Split(','), "memory") >= 0)
            {
                version1 = parts[2];
            }
            else if (parts is ["0", "", _])
            {
                version2 = parts[2];
            }
        }

        return (version1 is null ? null : FindMount(mountText, 1, version1)) ?? (version2 is null ? null : FindMount(mountText, 2, version2));
    }

    /// <summary>Makes a group to measure in. In version 1 it is a child of this one; version 2 gives a group with processes no
    /// children, so it is a sibling, under the same parent's limit. Null where the machine does not permit it; then nothing
    /// is left behind.</summary>
    public MemoryCgroup? TryCreate(string name)
    {
        string parent = Version == 1 || Folder == _root ? Folder : Path.GetDirectoryName(Folder)!;
        string folder = Path.Combine(parent, name);
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (IOException)
        {
            return null;
        }
        catch (UnauthorizedAccessException)
        {
            return null;
        }

        var made = new MemoryCgroup(Version, folder, _root);
        if (made.ChargeBytes is not null)
        {
            return made;
        }

        made.TryRemove();
        return null;
    }

    /// <summary>Moves this process, all threads, into the group. What it was charged for before stays where it is.</summary>
    public bool TryEnter()
    {
        try
        {
            File.WriteAllText(Path.Combine(Folder, "cgroup.procs"), Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
            return true;
        }
        catch (IOException)
        {
            return false;
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Removes the group; false while a process is in it. Its files are the kernel's and go with the folder.</summary>
    public bool TryRemove()
    {
        try
        {
            Directory.Delete(Folder);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
        catch (UnauthorizedAccessException)
        {
            return false;
        }
    }

    private string ChargeFile => Version == 2 ? "memory.current" : "memory.usage_in_bytes";

    private static MemoryCgroup? FindMount(string mountText, int version, string path)
    {
        foreach (string line in Lines(mountText))
        {
            string[] halves = line.Split(" - ", 2);
            string[] mount = halves[0].Split(' ');
            string[] source = halves.Length == 2 ? halves[1].Split(' ') : [];
            if (mount.Length < 5 || source.Length < 3)
            {
                continue;
            }

            bool matches = version == 2
                ? source[0] == "cgroup2"
                : source[0] == "cgroup" && Array.IndexOf(source[2].Split(','), "memory") >= 0;
            if (matches)
            {
                string mountRoot = Unescape(mount[3]);
                string mountPoint = Unescape(mount[4]);
                return new MemoryCgroup(version, Below(mountPoint, mountRoot, path), mountPoint);
            }
        }

        return null;
    }

    private static string Below(string mountPoint, string mountRoot, string path)
    {
        if (!path.Contains("/..", StringComparison.Ordinal) && IsInside(path, mountRoot))
        {
            string rest = path[(mountRoot == "/" ? 0 : mountRoot.Length)..].Trim('/');
            return rest.Length == 0 ? mountPoint : Path.Combine(mountPoint, rest);
        }

        // Mounted from another namespace: what is visible at the mount point is the best that can be said.
        return mountPoint;
    }

    private static bool IsInside(string path, string above) =>
        above == "/" || path == above || path.StartsWith(above + "/", StringComparison.Ordinal);

    // mountinfo writes space, tab, newline and backslash as three octal digits.
    private static string Unescape(string text)
    {
        var result = new StringBuilder();
        for (int i = 0; i < text.Length; i++)
        {
            bool escape = text[i] == '\\' && i + 3 < text.Length && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) && IsOctal(text[i + 3]);
            result.Append(escape ? (char)(((text[i + 1] - '0') * 64) + ((text[i + 2] - '0') * 8) + (text[i + 3] - '0')) : text[i]);
            i += escape ? 3 : 0;
        }

        return result.ToString();
    }

    private static bool IsOctal(char digit) => digit is >= '0' and <= '7';

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static ulong? ReadNumber(string folder, string file) => ReadText(folder, file) is string text ? ParseNumber(text) : null;

    private static ulong? ParseNumber(ReadOnlySpan<char> text) =>
        ulong.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out ulong value) ? value : null;

    private static string? ReadText(string folder, string file)
    {
        try
        {
            return File.ReadAllText(Path.Combine(folder, file));
        }
        catch (IOException)
        {
            return null;
        }
        catch (UnauthorizedAccessException)
        {
            return null;
        }
    }
}
