using System;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The contestants of <c>perf peers</c>, by name.</summary>
internal static class PeersContestants
{
    public const string Ours = "arena";

    /// <summary>Listed beside the others; takes no part in "best peer".</summary>
    public const string OursAheadOfTime = "arena-aot";

    /// <summary>Ours in <c>perf heap</c>.</summary>
    public const string OursHeap = "heap";

    /// <summary>In the order of the columns of <c>perf heap</c>.</summary>
    public static string[] HeapNames => [OursHeap, "glibc", "jemalloc", "mimalloc", "tcmalloc"];

    /// <summary>In the order of the tables' columns.</summary>
    public static string[] Names =>
        [Ours, OursAheadOfTime, "glibc", "jemalloc", "mimalloc", "tcmalloc", "aligned-alloc", "array-pool", "gc-pinned", "mmap"];

    public static bool IsPeer(string name) => name is not (Ours or OursAheadOfTime or OursHeap);

    /// <summary>Without it there is nothing to compare.</summary>
    public static bool MustTakePart(string name) => name is Ours or OursHeap;

    /// <summary>The contestant in a child of this program. The build ahead of time is a program of its own.</summary>
    public static PeerLoad Create(string name) => name switch
    {
        Ours => new ArenaLoad(),
        OursHeap => new HeapLoad(),
        "glibc" or "jemalloc" or "mimalloc" or "tcmalloc" => new MallocLoad(),
        "aligned-alloc" => new AlignedLoad(),
        "array-pool" => new ArrayPoolLoad(),
        "gc-pinned" => new PinnedLoad(),
        "mmap" => new MmapLoad(),
        _ => throw new UsageException(
            $"option --contestant: '{name}' is not allowed; allowed: {string.Join(", ", Names.Where(n => n != OursAheadOfTime).Append(OursHeap))}"),
    };

    /// <summary>How a C# program calls it.</summary>
    public static string Call(string name) => name switch
    {
        Ours => "PageArena with default options",
        OursHeap => "NativeHeap on a PageArena with default options",
        OursAheadOfTime => "the same, compiled ahead of time (NativeAOT)",
        "aligned-alloc" => "NativeMemory.AlignedAlloc, alignment 4096",
        "array-pool" => "ArrayPool<byte>.Shared",
        "gc-pinned" => "GC.AllocateUninitializedArray, pinned",
        "mmap" => "mmap and munmap",
        _ => "NativeMemory.Alloc and Free",
    };

    /// <summary>Why a library that should be in is not; null where all is as it should be.</summary>
    /// <param name="name">The contestant.</param>
    /// <param name="loaded">What <see cref="PeerLibrary.Loaded"/> gave in its process.</param>
    public static string? Misfit(string name, string[] loaded)
    {
        string[] foreign = [.. loaded.Where(l => !l.StartsWith("libc.so", StringComparison.Ordinal))];
        return PeerLibrary.SonamesOf(name) is { Length: > 0 }
            ? Array.Exists(foreign, l => l.Contains(name, StringComparison.Ordinal)) ? null : "absent: /proc/self/maps does not show it in its process"
            : foreign.Length == 0 ? null : $"absent: {string.Join(", ", foreign)} in its process where the C library's malloc belongs";
    }
}
