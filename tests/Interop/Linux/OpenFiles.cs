using System;
using System.IO;
using System.Linq;

namespace LowLevel.Tests.Interop.Linux;

/// <summary>What this process has open and mapped, as the kernel lists it; by name, because other tests run beside.</summary>
internal static class OpenFiles
{
    /// <summary>Descriptors of files whose name contains this.</summary>
    public static int Named(string name) => Directory.GetFiles("/proc/self/fd").Count(fd => Link(fd).Contains(name, StringComparison.Ordinal));

    /// <summary>Mappings of files whose name contains this.</summary>
    public static int Mapped(string name) => File.ReadLines("/proc/self/maps").Count(line => line.Contains(name, StringComparison.Ordinal));

    /// <summary>All descriptors. Only where nothing runs beside.</summary>
    public static int All() => Directory.GetFiles("/proc/self/fd").Length;

    private static string Link(string fd)
    {
        try
        {
            return new FileInfo(fd).LinkTarget ?? string.Empty;
        }
        catch (IOException)
        {
            // Closed meanwhile.
            return string.Empty;
        }
    }
}
