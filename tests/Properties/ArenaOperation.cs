using System;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Tests.Properties;

/// <summary>What one step of the model does.</summary>
internal enum OperationKind
{
    Allocate,
    Free,
    BadFree,
    Range,
    Isolate,
    Unisolate,
    Pass,
    Trim,
    Device,
    Resize,
    Inflate,
    Deflate,
    Cap,
    Treatment,
    ThreadEnd,
}

/// <summary>One step. The three numbers mean what the kind makes of them, reduced to what exists at that moment, so that any sequence
/// is a valid one and a shrunk one too.</summary>
internal readonly record struct ArenaOperation(OperationKind Kind, int A, int B, int C)
{
    /// <summary>What is drawn for a kind is below this.</summary>
    public const int Draws = 272;

    /// <summary>Out of so many drawn numbers: which kind.</summary>
    public static OperationKind KindOf(int drawn) => drawn switch
    {
        < 88 => OperationKind.Allocate,
        < 96 => OperationKind.Resize,
        < 176 => OperationKind.Free,
        < 192 => OperationKind.BadFree,
        < 204 => OperationKind.Range,
        < 212 => OperationKind.Isolate,
        < 222 => OperationKind.Unisolate,
        < 242 => OperationKind.Pass,
        < 247 => OperationKind.Trim,
        < 256 => OperationKind.Device,
        < 261 => OperationKind.Inflate,
        < 264 => OperationKind.Deflate,
        < 266 => OperationKind.Cap,
        < 269 => OperationKind.Treatment,
        _ => OperationKind.ThreadEnd,
    };

    /// <summary>A step from a fixed-seed source.</summary>
    public static ArenaOperation Next(Random random) =>
        new(KindOf(random.Next(Draws)), random.Next(1 << 20), random.Next(1 << 20), random.Next(1 << 20));

    /// <summary>As it would be typed into a regression test.</summary>
    public override string ToString() => $"new(OperationKind.{Kind}, {A}, {B}, {C})";
}

/// <summary>One way to set up an arena for the model.</summary>
internal sealed record ArenaSetup(int MiB, int Zones)
{
    public ulong? Shuffle { get; init; }

    public bool ThreadPages { get; init; } = true;

    public int? MinimumOrder { get; init; }

    public bool DebugChecks { get; init; }

    public bool ZeroOnFree { get; init; }

    public int? CapMiB { get; init; }

    public bool Treatment { get; init; } = true;

    public uint? Poison { get; init; }

    public AerationContext Context { get; init; }

    public bool NoDelay { get; init; }

    /// <summary>Huge pages, whose pageblocks are dropped in part by the policy.</summary>
    public bool Huge { get; init; }

    public int Capacity { get; init; } = 8;

    /// <summary>The setups of every property: each option in both states, and small enough to verify after each step.</summary>
    public static ArenaSetup[] All { get; } =
    [
        new(16, 1),
        new(24, 2) { Shuffle = 1, MinimumOrder = 0, DebugChecks = true },
        new(16, 1) { ThreadPages = false, MinimumOrder = 5 },
        new(24, 3) { ThreadPages = false, Shuffle = 7, Context = AerationContext.FreeingThread, Capacity = 2 },
        new(20, 1) { CapMiB = 9, MinimumOrder = 7, NoDelay = true },
        new(16, 2) { Treatment = false, DebugChecks = true },
        new(16, 1) { Poison = 0xdead_beef, MinimumOrder = 3 },
        new(48, 3) { Shuffle = 3, CapMiB = 30, Capacity = 4 },
        new(16, 2) { ThreadPages = false, MinimumOrder = 0, Context = AerationContext.FreeingThread, NoDelay = true, Capacity = 3 },
        new(16, 1) { ThreadPages = false, DebugChecks = true, MinimumOrder = 9, Shuffle = 11 },
        new(16, 1) { ThreadPages = false, Huge = true },
        new(24, 2) { Huge = true, Shuffle = 5, Capacity = 3, CapMiB = 20 },
        new(16, 1) { Huge = true, NoDelay = true, DebugChecks = true, Capacity = 5 },
        new(16, 2) { ZeroOnFree = true, Shuffle = 9, MinimumOrder = 2 },
    ];

    public PageArenaOptions Options(TimeProvider clock) => new()
    {
        SizeBytes = (nuint)MiB << 20,
        CapBytes = (nuint)(CapMiB ?? MiB) << 20,
        Zones = Zones,
        ShuffleSeed = Shuffle,
        ThreadPages = ThreadPages,
        DebugChecks = DebugChecks,
        PoisonValue = Poison,
        ZeroOnFree = ZeroOnFree,
        HugePages = Huge ? HugePages.Advise : HugePages.Never,
        Aeration = new AerationOptions
        {
            Enabled = Treatment,
            Clock = clock,
            Context = Context,
            MinimumOrder = MinimumOrder,
            ReactorCapacity = Capacity,
            Delay = NoDelay ? TimeSpan.Zero : TimeSpan.FromSeconds(1),
        },
    };

    /// <summary>A request's flags, mostly none.</summary>
    public static AllocationFlags FlagsOf(int drawn) => (drawn % 16) switch
    {
        0 or 1 or 2 => AllocationFlags.Zeroed,
        3 => AllocationFlags.Atomic,
        4 => AllocationFlags.Atomic | AllocationFlags.Zeroed,
        5 => AllocationFlags.Populate,
        6 => AllocationFlags.Populate | AllocationFlags.Zeroed,
        _ => AllocationFlags.None,
    };

    /// <summary>An order: small ones often, each one possible.</summary>
    public static int OrderOf(int drawn) => (drawn % 64) switch
    {
        < 24 => 0,
        < 34 => 1,
        < 40 => 2,
        < 44 => 3,
        < 47 => 4,
        < 50 => 5,
        < 53 => 6,
        < 56 => 7,
        < 59 => 8,
        < 62 => 9,
        _ => PageblockLimits.MaxOrder,
    };
}
