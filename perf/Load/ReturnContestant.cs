using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>One contestant of <c>perf return</c>: where its blocks come from, and what its process must be started with.</summary>
internal sealed class ReturnContestant
{
    /// <summary>This library as it comes.</summary>
    public const string Ours = "arena";

    /// <summary>The best of the others at giving back, and what the targets are held against.</summary>
    public const string Rival = "jemalloc-tuned";

    private static readonly string[] LibraryFolders =
    [
        "/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib/aarch64-linux-gnu",
        "/usr/lib64", "/lib64", "/usr/local/lib", "/usr/lib",
    ];

    private static readonly string[] Jemalloc = ["libjemalloc.so.2"];

    private static readonly ReturnContestant[] All =
    [
        new(Ours) { Arena = () => new PageArenaOptions() },
        new(Rival) { Sonames = Jemalloc, Tuning = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0" },
        new("arena-worker-order9") { Arena = () => With(new AerationOptions { MinimumOrder = 9 }) },
        new("arena-worker-order0") { Arena = () => With(new AerationOptions { MinimumOrder = 0 }) },
        new("arena-delay-250ms") { Arena = () => With(new AerationOptions { Delay = TimeSpan.FromMilliseconds(250) }) },
        new("arena-untreated") { Arena = () => With(new AerationOptions { Enabled = false }) },
        new("mmap") { Source = () => new MappingSource() },
        new("native-memory"),
        new("array-pool") { Source = () => new ArrayPoolSource() },
        new("mimalloc") { Sonames = ["libmimalloc.so.3", "libmimalloc.so.2"] },
        new("jemalloc") { Sonames = Jemalloc },
        new("tcmalloc") { Sonames = ["libtcmalloc_minimal.so.4", "libtcmalloc.so.4"] },
    ];

    private ReturnContestant(string name) => Name = name;

    public static IReadOnlyList<string> Names { get; } = [.. All.Select(c => c.Name)];

    public string Name { get; }

    private Func<PageArenaOptions>? Arena { get; init; }

    /// <summary>Where there is no arena.</summary>
    private Func<BufferSource> Source { get; init; } = () => new NativeMemorySource();

    /// <summary>Libraries that take the place of malloc, the first one found; null where malloc stays.</summary>
    private IReadOnlyList<string>? Sonames { get; init; }

    /// <summary>jemalloc's MALLOC_CONF.</summary>
    private string Tuning { get; init; } = "";

    /// <summary>Why it cannot take part here; null where it can.</summary>
    public string? Absence => Sonames is not null && Library is null ? $"{string.Join(" or ", Sonames)} is not installed" : null;

    /// <summary>The file that is preloaded; null where none is, or none was found.</summary>
    public string? Library =>
        (from soname in Sonames ?? []
         from folder in LibraryFolders
         let path = Path.Combine(folder, soname)
         where File.Exists(path)
         select path).FirstOrDefault();

    /// <summary>For its process: what is preloaded into this one is not inherited.</summary>
    public IReadOnlyDictionary<string, string> Environment => new Dictionary<string, string>
    {
        ["LD_PRELOAD"] = Library ?? "",
        ["MALLOC_CONF"] = Tuning,
    };

    public static ReturnContestant Find(string name, string option) =>
        Array.Find(All, c => c.Name == name)
        ?? throw new UsageException($"option --{option}: '{name}' is not allowed; allowed: {string.Join(", ", Names)}");

    /// <summary>A list of names with commas between them; null is everybody.</summary>
    public static IReadOnlyList<ReturnContestant> Read(string? names)
    {
        ReturnContestant[] chosen = names is null ? All : [.. names.Split(',').Select(n => Find(n, "contestants"))];
        return chosen.Distinct().Count() == chosen.Length
            ? chosen
            : throw new UsageException($"option --contestants: '{names}' names one twice; allowed: each once");
    }

    public BufferSource Create()
    {
        if (Arena is null)
        {
            return Source();
        }

        return new ArenaSource(Arena());
    }

    /// <summary>What the load's code is compiled on. An arena goes wholly when it is disposed, so it may be the contestant's own kind, at
    /// a delay that lets treatment be compiled too; any other allocator would keep something, so mappings stand in for it.</summary>
    public BufferSource CreateRehearsal()
    {
        if (Arena is null)
        {
            return new MappingSource();
        }

        PageArenaOptions options = Arena();
        options.Aeration.Delay = TimeSpan.FromMilliseconds(10);
        return new ArenaSource(options);
    }

    /// <summary>In the contestant's process: throws where its library was not taken.</summary>
    public void ProveLibrary()
    {
        if (Library is not string library)
        {
            return;
        }

        string file = File.ResolveLinkTarget(library, returnFinalTarget: true)?.Name ?? Path.GetFileName(library);
        if (!File.ReadLines("/proc/self/maps").Any(l => l.EndsWith('/' + file, StringComparison.Ordinal)))
        {
            throw new MeasurementException($"{Name}: {file} was preloaded and is not in the process's map");
        }
    }

    private static PageArenaOptions With(AerationOptions aeration) => new() { Aeration = aeration };
}
