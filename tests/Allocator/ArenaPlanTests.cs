using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>Every option out of its range is an error with its name, its value and what is allowed; nothing is reserved before.</summary>
public sealed class ArenaPlanTests
{
    private static readonly (string Name, Action<PageArenaOptions> Set, object? Value, string Allowed)[] Wrong =
    [
        ("SizeBytes", o => o.SizeBytes = 1, (nuint)1, "4194304 (4 MiB) to 17592186044416 (16 TiB)"),
        ("SizeBytes", o => o.SizeBytes = (4 << 20) - 1, (nuint)(4 << 20) - 1, "4194304"),
        ("SizeBytes", o => o.SizeBytes = ((nuint)1 << 44) + 1, ((nuint)1 << 44) + 1, "16 TiB"),
        ("SizeBytes", o => o.SizeBytes = nuint.MaxValue, nuint.MaxValue, "16 TiB"),
        ("CapBytes", o => o.CapBytes = 4095, 4095ul, "4096 and above"),
        ("CapBytes", o => o.CapBytes = 0, 0ul, "4096 and above"),
        ("MinFreeBytes", o => (o.CapBytes, o.MinFreeBytes) = (1 << 20, (1 << 20) + 1), (nuint)(1 << 20) + 1, "0 to CapBytes"),
        ("CapPolicy", o => o.CapPolicy = (CapPolicy)3, (CapPolicy)3, "Throw, Wait, FallBack"),
        ("CapTimeout", o => o.CapTimeout = TimeSpan.Zero, TimeSpan.Zero, "1 ms to 1 day"),
        ("CapTimeout", o => o.CapTimeout = TimeSpan.MaxValue, TimeSpan.MaxValue, "1 ms to 1 day"),
        ("Zones", o => o.Zones = 0, 0, "1 to 64"),
        ("Zones", o => o.Zones = -1, -1, "1 to 64"),
        ("Zones", o => o.Zones = 65, 65, "1 to 64"),
        ("Zones", o => o.Zones = 5, 5, "one for each 4 MiB"),
        ("HugePages", o => o.HugePages = (HugePages)3, (HugePages)3, "Advise, System, Never"),
        ("Backing", o => o.Backing = (ArenaBacking)(-1), (ArenaBacking)(-1), "Anonymous, Memfd"),
        ("Name", o => o.Name = "", "", "1 to 74 printable characters"),
        ("Name", o => o.Name = new string('a', 75), new string('a', 75), "1 to 74"),
        ("Name", o => o.Name = "a b", "a b", "without spaces"),
        ("Name", o => o.Name = "a]", "a]", "printable"),
        ("Name", o => o.Name = "\u00e9", "\u00e9", "printable"),
        ("Aeration.Context", o => o.Aeration.Context = (AerationContext)2, (AerationContext)2, "Worker, FreeingThread"),
        ("Aeration.Discard", o => o.Aeration.Discard = (DiscardMode)2, (DiscardMode)2, "DontNeed, Free"),
        ("Aeration.Dialect", o => o.Aeration.Dialect = (ReportingDialect)2, (ReportingDialect)2, "Standard, Hints"),
        ("Aeration.MinimumOrder", o => o.Aeration.MinimumOrder = -1, -1, "0 to 10, or null"),
        ("Aeration.MinimumOrder", o => o.Aeration.MinimumOrder = 11, 11, "0 to 10, or null"),
        ("Aeration.ReactorCapacity", o => o.Aeration.ReactorCapacity = 0, 0, "1 to 1024"),
        ("Aeration.ReactorCapacity", o => o.Aeration.ReactorCapacity = 1025, 1025, "1 to 1024"),
        ("Aeration.Delay", o => o.Aeration.Delay = TimeSpan.FromTicks(-1), TimeSpan.FromTicks(-1), "0 to 1 day"),
        ("Aeration.Delay", o => o.Aeration.Delay = TimeSpan.MaxValue, TimeSpan.MaxValue, "0 to 1 day"),
        ("Aeration.HostTimeout", o => o.Aeration.HostTimeout = TimeSpan.Zero, TimeSpan.Zero, "1 ms to 10 minutes"),
        ("Aeration.HostTimeout", o => o.Aeration.HostTimeout = TimeSpan.FromHours(1), TimeSpan.FromHours(1), "1 ms to 10 minutes"),
        ("Host", o => o.Host = "unix:", "unix:", "null, or unix:"),
        ("Host", o => o.Host = "/run/x", "/run/x", "null, or unix:"),
        ("Host", o => o.Host = "unix:" + new string('x', 108), "unix:" + new string('x', 108), "1 to 107 bytes"),
        ("Aeration.Dialect", o => (o.Host, o.Aeration.Dialect) = ("unix:x", ReportingDialect.Hints), ReportingDialect.Hints, "Standard"),
        ("Aeration.Context", o => (o.Host, o.Aeration.Context) = ("unix:x", AerationContext.FreeingThread), AerationContext.FreeingThread, "another process"),
    ];

    public static TheoryData<int> WrongOptions => new(Enumerable.Range(0, Wrong.Length));

    [Theory]
    [MemberData(nameof(WrongOptions))]
    public void An_option_out_of_range_is_named_with_its_value_and_what_is_allowed(int index)
    {
        (string name, Action<PageArenaOptions> set, object? value, string allowed) = Wrong[index];
        PageArenaOptions options = new() { SizeBytes = 16 << 20, CapBytes = 16 << 20, Zones = 1, Aeration = new AerationOptions { Enabled = false } };
        set(options);
        FaultyOperatingSystem os = new();
        var error = Assert.Throws<ArgumentOutOfRangeException>(() => PageArena.CreateOn(os, options));
        Assert.Equal("options." + name, error.ParamName);
        Assert.Equal(value, error.ActualValue);
        Assert.Contains(allowed, error.Message, StringComparison.Ordinal);
        Assert.Empty(os.Calls);
    }

    [Fact]
    public void Missing_parts_are_named()
    {
        Assert.Throws<ArgumentNullException>("options.Aeration", () => PageArena.Create(new PageArenaOptions { Aeration = null! }));
        Assert.Throws<ArgumentNullException>("options.Name", () => PageArena.Create(new PageArenaOptions { Name = null! }));
        Assert.Throws<ArgumentNullException>("options.Aeration.Clock", () => PageArena.Create(new PageArenaOptions { Aeration = new() { Clock = null! } }));
    }

    [Fact]
    public void The_bounds_themselves_are_allowed()
    {
        ArenaPlan plan = Plan(o => (o.SizeBytes, o.CapBytes, o.MinFreeBytes, o.Zones) = (4 << 20, 4096, 4096, 1));
        Assert.Equal(((nuint)4 << 20, 1ul, 1ul), (plan.Bytes, plan.CapPages, plan.Marks.Min));
        plan = Plan(o => (o.SizeBytes, o.Zones, o.Name) = ((nuint)1 << 44, 64, new string('a', 74)));
        Assert.Equal(((nuint)1 << 44, 64), (plan.Bytes, plan.Zones.Length));
        Assert.Equal(1ul << 32, plan.Zones[^1].Start.Value + plan.Zones[^1].Pages);
    }

    [Theory]
    [InlineData(4ul << 30, 16ul << 30)]
    [InlineData(null, 32ul << 30)]
    [InlineData(64ul << 30, 32ul << 30)]
    public void The_default_size_is_four_times_the_cgroup_s_limit_or_else_the_machine_s_memory_and_the_cap_three_quarters_of_it(ulong? limit, ulong size)
    {
        FaultyOperatingSystem os = new() { CgroupMemoryLimitBytes = limit, PhysicalMemoryBytes = 8ul << 30 };
        ArenaPlan plan = ArenaPlan.From(new PageArenaOptions(), os);
        Assert.Equal((size, size / 4 / 4096 * 3 / 4), ((ulong)plan.Bytes, plan.CapPages));
        Assert.True(plan.CapFollowsLimit);
    }

    [Theory]
    [InlineData(0ul, 1ul)]
    [InlineData(4096ul, 1ul)]
    [InlineData(8ul << 20, 1536ul)]
    [InlineData(1ul << 40, 2048ul)]
    [InlineData(null, 2048ul)]
    public void A_cap_that_follows_the_limit_is_three_quarters_of_it_at_least_a_page_and_at_most_the_arena(ulong? limit, ulong pages)
    {
        FaultyOperatingSystem os = new() { CgroupMemoryLimitBytes = 1 << 30, PhysicalMemoryBytes = 8ul << 30 };
        Assert.Equal(pages, ArenaPlan.From(new PageArenaOptions { SizeBytes = 8 << 20, Zones = 1 }, os).CapPagesFor(limit, os));
    }

    [Fact]
    public void Sizes_are_rounded_up_to_4_MiB_and_the_cap_is_at_most_the_size()
    {
        ArenaPlan plan = Plan(o => (o.SizeBytes, o.CapBytes) = ((4 << 20) + 1, 1 << 30));
        Assert.Equal(((nuint)8 << 20, 2048ul), (plan.Bytes, plan.CapPages));
    }

    [Fact]
    public void Zones_begin_at_multiples_of_4_MiB_follow_each_other_and_take_turns_on_the_nodes()
    {
        FaultyOperatingSystem os = new();
        os.SetMemoryNodes(0, 3);
        ArenaPlan plan = ArenaPlan.From(new PageArenaOptions { SizeBytes = 44 << 20, Zones = 3 }, os);
        Assert.Equal(
            [new ZoneSpan(0, 0, new Pfn(0), 3072), new ZoneSpan(1, 3, new Pfn(3072), 3072), new ZoneSpan(2, 0, new Pfn(6144), 5120)],
            plan.Zones);
        Assert.Equal(2, ArenaPlan.From(new PageArenaOptions { SizeBytes = 44 << 20 }, os).Zones.Length);
        Assert.Single(ArenaPlan.From(new PageArenaOptions { SizeBytes = 4 << 20 }, os).Zones); // too small for two
    }

    [Fact]
    public void Another_page_size_is_refused() =>
        Assert.Contains("16384", Assert.Throws<PlatformNotSupportedException>(
            () => PageArena.CreateOn(new FaultyOperatingSystem { PageSize = 16384 }, new PageArenaOptions())).Message, StringComparison.Ordinal);

    private static ArenaPlan Plan(Action<PageArenaOptions> set)
    {
        PageArenaOptions options = new();
        set(options);
        return ArenaPlan.From(options, new FaultyOperatingSystem());
    }
}
