using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;

namespace LowLevel.Perf;

/// <summary>The C library's malloc and those that are preloaded in its place.</summary>
internal static class PeerLibrary
{
    // MALLCTL_ARENAS_ALL
    private const string JemallocPurge = "arena.4096.purge";

    /// <summary>Where distributions put shared libraries; the multiarch folder first.</summary>
    private static string[] Folders
    {
        get
        {
            string triplet = RuntimeInformation.ProcessArchitecture switch
            {
                Architecture.X64 => "x86_64-linux-gnu",
                Architecture.Arm64 => "aarch64-linux-gnu",
                _ => "linux-gnu",
            };
            return ["/usr/local/lib", $"/usr/lib/{triplet}", $"/lib/{triplet}", "/usr/lib64", "/lib64", "/usr/lib", "/lib"];
        }
    }

    /// <summary>Names that the loader would know the contestant's library by, the preferred first; empty for contestants without one.</summary>
    public static string[] SonamesOf(string contestant) => contestant switch
    {
        "jemalloc" => ["libjemalloc.so.2"],
        "mimalloc" => ["libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so.2.0"],
        "tcmalloc" => ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"],
        _ => [],
    };

    /// <summary>The library's file; null where it is not installed.</summary>
    public static string? Find(string contestant) =>
        (from soname in SonamesOf(contestant) from folder in Folders select Path.Combine(folder, soname)).FirstOrDefault(File.Exists);

    /// <summary>File names of the memory allocators that /proc/self/maps shows in this process: the C library's first, if it is there.</summary>
    public static string[] Loaded() => InMaps(File.ReadAllText("/proc/self/maps"));

    /// <summary>Those that a text of that form shows.</summary>
    public static string[] InMaps(string maps) =>
    [
        .. from line in maps.Split('\n')
           let name = Path.GetFileName(line)
           where name.StartsWith("libc.so", StringComparison.Ordinal) || name.Contains("malloc", StringComparison.Ordinal)
           orderby name.StartsWith("libc.so", StringComparison.Ordinal) ? 0 : 1, name
           group name by name into names
           select names.Key,
    ];

    /// <summary>Makes the malloc that is in give back what it holds free, each by its own call.</summary>
    public static unsafe void Release()
    {
        // Sound: each function is called only where it is exported, with the arguments of its documentation.
        nint program = NativeLibrary.GetMainProgramHandle();
        if (NativeLibrary.TryGetExport(program, "mi_collect", out nint collect))
        {
            ((delegate* unmanaged<byte, void>)collect)(1);
        }
        else if (NativeLibrary.TryGetExport(program, "MallocExtension_ReleaseFreeMemory", out nint release))
        {
            ((delegate* unmanaged<void>)release)();
        }
        else if (NativeLibrary.TryGetExport(program, "mallctl", out nint control))
        {
            fixed (byte* name = Encoding.UTF8.GetBytes(JemallocPurge + "\0"))
            {
                _ = ((delegate* unmanaged<byte*, void*, nuint*, void*, nuint, int>)control)(name, null, null, null, 0);
            }
        }
        else if (NativeLibrary.TryGetExport(program, "malloc_trim", out nint trim))
        {
            _ = ((delegate* unmanaged<nuint, int>)trim)(0);
        }
    }
}
