using System;
using System.Globalization;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>What varies from one round of the stress to the next; all of it follows from the round's seed.</summary>
internal sealed record StressPlan(ulong Seed)
{
    public required PageArenaOptions Options { get; init; }

    /// <summary>More than the cores, so that threads are interrupted at every point.</summary>
    public required int Threads { get; init; }

    /// <summary>Operations of one thread between two quiescences.</summary>
    public required int Operations { get; init; }

    /// <summary>How many times a slot's thread exits, with its caches full, and another takes its place.</summary>
    public required int Generations { get; init; }

    /// <summary>Bytes that one thread holds at most; all together more than the cap, now and then.</summary>
    public required long HeldBytesMax { get; init; }

    /// <summary>Whether the threads also take objects of any size, from a heap on the arena.</summary>
    public required bool HasHeap { get; init; }

    /// <summary>Whether memory is divided by a host in another process, which is killed and started again meanwhile.</summary>
    public bool IsHosted => Options.Host is not null;

    /// <summary>The plan of a round.</summary>
    /// <param name="seed">All of it follows from this.</param>
    /// <param name="host">Where a host listens, for some of the rounds; null: none does.</param>
    public static StressPlan For(ulong seed, string? host = null)
    {
        var random = new SplitMix(seed);
        nuint size = (nuint)(4 << random.Below(6)) << 20;
        int threads = 1 + random.Below((2 * Environment.ProcessorCount) + 6);
        bool treated = random.Below(8) != 0;
        var options = new PageArenaOptions
        {
            SizeBytes = size,
            CapBytes = random.Below(3) == 0 ? size / 2 : size,
            MinFreeBytes = random.Below(3) == 0 ? 0 : null,
            HugePages = (HugePages)random.Below(3),
            Backing = (ArenaBacking)random.Below(2),
            Zones = 1 + random.Below((int)Math.Min(4, size >> 22)),
            DebugChecks = random.Below(4) == 0,
            ShuffleSeed = random.Below(2) == 0 ? random.Next() : null,
            PoisonValue = random.Below(4) switch { 0 => 0u, 1 => 0xdead_beefu, _ => null },
            ThreadPages = random.Below(4) != 0,
            Aeration = Treatment(ref random, treated),
        };
        if (random.Below(4) == 0 && host is not null)
        {
            PutUnder(host, options);
        }

        return new StressPlan(seed)
        {
            Options = options,
            HasHeap = random.Below(2) == 0,
            Threads = threads,
            Operations = 200 + random.Below(2000),
            Generations = 1 + random.Below(3),
            HeldBytesMax = Math.Max(1 << 20, (long)size * (1 + random.Below(3)) / (2 * threads)),
        };
    }

    public override string ToString()
    {
        AerationOptions a = Options.Aeration;
        string treatment = a.Enabled
            ? $"{a.Context}, order >= {a.MinimumOrder?.ToString(CultureInfo.InvariantCulture) ?? "default"}, capacity {a.ReactorCapacity}, " +
              $"delay {a.Delay.TotalMilliseconds} ms, {a.Discard}, {a.Dialect}"
            : "off";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{Options.SizeBytes >> 20} MiB (cap {Options.CapBytes >> 20}, {(Options.MinFreeBytes is null ? "default reserve" : "no reserve")}), {Options.Backing}, ") +
            $"huge pages {Options.HugePages}, {Options.Zones} zones, thread pages {Options.ThreadPages}, shuffle {Options.ShuffleSeed is not null}, " +
            $"{(HasHeap ? "heap, " : "")}{(IsHosted ? "host elsewhere, " : "")}poison {Options.PoisonValue?.ToString("x8", CultureInfo.InvariantCulture) ?? "none"}, " +
            $"debug {Options.DebugChecks}, treatment {treatment}; " +
            $"{Threads} threads x {Generations} generations x {Operations} operations";
    }

    /// <summary>What a host elsewhere does not serve is left out, and it is not waited for long.</summary>
    private static void PutUnder(string host, PageArenaOptions options)
    {
        options.Host = "unix:" + host;
        options.PoisonValue = null;
        options.Aeration.Enabled = true;
        options.Aeration.Context = AerationContext.Worker;
        options.Aeration.Dialect = ReportingDialect.Standard;
        options.Aeration.HostTimeout = TimeSpan.FromMilliseconds(300);
    }

    private static AerationOptions Treatment(ref SplitMix random, bool enabled) => new()
    {
        Enabled = enabled,
        Context = (AerationContext)random.Below(2),
        MinimumOrder = random.Below(3) == 0 ? null : random.Below(11),
        ReactorCapacity = 1 << random.Below(8),
        Delay = TimeSpan.FromMilliseconds(random.Below(3) switch { 0 => 0, 1 => 1 + random.Below(20), _ => 200 }),
        Discard = (DiscardMode)random.Below(2),
        Dialect = (ReportingDialect)random.Below(2),
    };
}
