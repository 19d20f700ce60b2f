using System;
using System.Globalization;
using System.Text;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The options of an arena, checked and made exact.</summary>
internal sealed record ArenaPlan
{
    private const ulong MaxBytes = 1ul << 44; // 2^32 pages: a pfn has 32 bits on the wire of the series' hints and in the threads' pages
    private const int MaxZones = 64;

    /// <summary>Address space, a multiple of 4 MiB.</summary>
    public required nuint Bytes { get; init; }

    /// <summary>The bound on pages taken.</summary>
    public required ulong CapPages { get; init; }

    /// <summary>Whether the cap is a share of the limit, and follows it.</summary>
    public required bool CapFollowsLimit { get; init; }

    /// <summary>The arena's watermarks.</summary>
    public required Watermarks Marks { get; init; }

    /// <summary>Its zones.</summary>
    public required ZoneSpan[] Zones { get; init; }

    /// <summary>The least order treated.</summary>
    public required Order MinimumOrder { get; init; }

    /// <summary>Whether the policy decides below <see cref="MinimumOrder"/>: the holes of mixed pageblocks are treated, and what comes back again
    /// and again is kept.</summary>
    public required bool ByPolicy { get; init; }

    /// <summary>Checks and completes options; nothing is reserved yet.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public static ArenaPlan From(PageArenaOptions options, IOperatingSystem os)
    {
        ArgumentNullException.ThrowIfNull(options.Aeration, "options.Aeration");
        ulong limit = LimitOf(os.CgroupMemoryLimitBytes, os);
        nuint block = Order.Max.Bytes;
        ulong size = options.SizeBytes == 0 ? Math.Min(limit, MaxBytes / 4) * 4 : options.SizeBytes;
        Check(
            options.SizeBytes == 0 || (size >= block && size <= MaxBytes), "SizeBytes", options.SizeBytes,
            "0 (automatic), or 4194304 (4 MiB) to 17592186044416 (16 TiB)");
        size = Math.Max((size + block - 1) & ~((ulong)block - 1), block);
        ulong cap = options.CapBytes ?? ShareOf(limit);
        Check(cap >= PageblockLimits.PageSize, "CapBytes", cap, "4096 and above");
        ulong capPages = Math.Min(cap, size) >> PageblockLimits.PageShift;
        Check(options.MinFreeBytes is not nuint given || given <= cap, "MinFreeBytes", options.MinFreeBytes ?? 0, "0 to CapBytes");
        ulong? minPages = options.MinFreeBytes is nuint bytes ? bytes >> PageblockLimits.PageShift : null;
        CheckEnums(options);
        Check(options.CapTimeout >= TimeSpan.FromMilliseconds(1) && options.CapTimeout <= TimeSpan.FromDays(1), "CapTimeout", options.CapTimeout, "1 ms to 1 day");
        CheckName(options.Name);
        CheckCare(options, cap);
        CheckAeration(options);
        return new ArenaPlan
        {
            Bytes = (nuint)size,
            CapPages = capPages,
            CapFollowsLimit = options.CapBytes is null,
            Marks = Watermarks.For(capPages, minPages),
            Zones = Cut(size >> PageblockLimits.PageShift, options.Zones, os),
            MinimumOrder = new Order(options.Aeration.MinimumOrder ?? PageblockLimits.PageblockOrder),
            ByPolicy = options.Aeration.MinimumOrder is null,
        };
    }

    /// <summary>The cap for a cgroup limit that has been read just now: never more than the arena has, at least a page.</summary>
    public ulong CapPagesFor(ulong? cgroupLimit, IOperatingSystem os) =>
        Math.Min(ShareOf(LimitOf(cgroupLimit, os)), Bytes) >> PageblockLimits.PageShift;

    private static ulong LimitOf(ulong? cgroupLimit, IOperatingSystem os) => Math.Min(cgroupLimit ?? ulong.MaxValue, os.PhysicalMemoryBytes);

    /// <summary>Three quarters: the rest is for the GC's heap, which has no part in this arena, for stacks and code.</summary>
    private static ulong ShareOf(ulong limit) => Math.Max(limit - (limit / 4), PageblockLimits.PageSize);

    private static ZoneSpan[] Cut(ulong pages, int? wanted, IOperatingSystem os)
    {
        ReadOnlySpan<int> nodes = os.MemoryNodes;
        int count = wanted ?? Math.Min(nodes.Length, (int)Math.Min(pages / PageblockLimits.PagesPerMaxBlock, MaxZones));
        Check(count is >= 1 and <= MaxZones, "Zones", count, "1 to 64");
        ulong each = pages / (ulong)count & ~(ulong)(PageblockLimits.PagesPerMaxBlock - 1);
        Check(each != 0, "Zones", count, "at most one for each 4 MiB of SizeBytes");
        ZoneSpan[] zones = new ZoneSpan[count];
        for (int i = 0; i < count; i++)
        {
            ulong start = each * (ulong)i;
            zones[i] = new ZoneSpan(i, nodes[i % nodes.Length], new Pfn((uint)start), i == count - 1 ? pages - start : each);
        }

        return zones;
    }

    private static void CheckEnums(PageArenaOptions options)
    {
        Check(Enum.IsDefined(options.HugePages), "HugePages", options.HugePages, "Advise, System, Never");
        Check(Enum.IsDefined(options.Backing), "Backing", options.Backing, "Anonymous, Memfd");
        Check(Enum.IsDefined(options.CapPolicy), "CapPolicy", options.CapPolicy, "Throw, Wait, FallBack");
        Check(Enum.IsDefined(options.Aeration.Context), "Aeration.Context", options.Aeration.Context, "Worker, FreeingThread");
        Check(Enum.IsDefined(options.Aeration.Discard), "Aeration.Discard", options.Aeration.Discard, "DontNeed, Free");
        Check(Enum.IsDefined(options.Aeration.Dialect), "Aeration.Dialect", options.Aeration.Dialect, "Standard, Hints");
    }

    private static void CheckCare(PageArenaOptions options, ulong cap)
    {
        Check(options.QuarantineBytes is not nuint held || held <= cap, "QuarantineBytes", options.QuarantineBytes ?? 0, "0 to CapBytes, or null");
        bool zeroes = options.ZeroOnFree || options.Isolated;
        Check(!zeroes || options.PoisonValue is null or 0, "PoisonValue", options.PoisonValue ?? 0, "null or 0 with ZeroOnFree or Isolated, which write zeros");
        Check(!options.Isolated || options.CapPolicy != CapPolicy.FallBack, "CapPolicy", options.CapPolicy, "Throw or Wait with Isolated: nothing of it lies elsewhere");
        Check(
            !options.Isolated || options.Host is null || options.Backing == ArenaBacking.Anonymous, "Backing", options.Backing,
            "Anonymous with Isolated and a Host: the host would have the memory");
    }

    private static void CheckAeration(PageArenaOptions options)
    {
        AerationOptions aeration = options.Aeration;
        Check(
            aeration.MinimumOrder is null or (>= 0 and <= PageblockLimits.MaxOrder),
            "Aeration.MinimumOrder", aeration.MinimumOrder ?? 0, "0 to 10, or null");
        Check(aeration.ReactorCapacity is >= 1 and <= 1024, "Aeration.ReactorCapacity", aeration.ReactorCapacity, "1 to 1024");
        Check(aeration.Delay >= TimeSpan.Zero && aeration.Delay <= TimeSpan.FromDays(1), "Aeration.Delay", aeration.Delay, "0 to 1 day");
        Check(
            aeration.HostTimeout >= TimeSpan.FromMilliseconds(1) && aeration.HostTimeout <= TimeSpan.FromMinutes(10),
            "Aeration.HostTimeout", aeration.HostTimeout, "1 ms to 10 minutes");
        ArgumentNullException.ThrowIfNull(aeration.Clock, "options.Aeration.Clock");
        if (options.Host is not null)
        {
            Check(
                aeration.Context != AerationContext.FreeingThread, "Aeration.Context", aeration.Context,
                "Worker: a host in another process cannot be serviced by the freeing thread");
            Check(
                options.Host.StartsWith(HostLink.UnixScheme, StringComparison.Ordinal)
                    && Encoding.UTF8.GetByteCount(options.Host.AsSpan(HostLink.UnixScheme.Length)) is >= 1 and <= HostLink.PathBytesMax,
                "Host", options.Host, "null, or unix: and the path of the host's socket, 1 to 107 bytes");
            Check(aeration.Dialect == ReportingDialect.Standard, "Aeration.Dialect", aeration.Dialect, "Standard: the series' own dialect is on no wire");
        }
    }

    private static void CheckName(string name)
    {
        ArgumentNullException.ThrowIfNull(name, "options.Name");
        bool fine = name.Length is >= 1 and <= 74;
        foreach (char c in name)
        {
            fine &= c is > ' ' and < '\x7f' && !@"[]\$`".Contains(c, StringComparison.Ordinal);
        }

        Check(fine, "Name", name, @"1 to 74 printable characters without spaces and []\$`");
    }

    private static void Check(bool fine, string option, object value, string allowed)
    {
        if (!fine)
        {
            string message = string.Create(CultureInfo.InvariantCulture, $"{option} is out of range; allowed: {allowed}.");
            throw new ArgumentOutOfRangeException("options." + option, value, message);
        }
    }
}
