using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Metrics;

/// <summary>Runs in a child before its Main (DOTNET_STARTUP_HOOKS): publishes a meter of the allocator's name with an arena of the number 77 whose
/// figures a test knows, beside whatever the child's own arenas tell, and instruments that nobody has heard of.</summary>
[SuppressMessage("Design", "CA1050:Declare types in namespaces", Justification = "The runtime looks for this name, in no namespace.")]
internal static class StartupHook
{
    private static readonly Meter Meter = new("LowLevel.Allocator", "1.0");
    private static long cycles;

    private static KeyValuePair<string, object?>[] Arena => [new("lowlevel.arena.name", "known"), new("lowlevel.arena.id", 77)];

    public static void Initialize()
    {
        Bytes("reserved", 4096);
        Bytes("allocated", 512);
        Bytes("cached", 64);
        Bytes("raw", 256);
        Bytes("in_reactor", 2);
        Bytes("treated", 1024);
        Bytes("quarantined", 0);
        Bytes("of_tomorrow", 1);
        Meter.CreateObservableCounter("lowlevel.arena.cycles", () => new Measurement<long>(cycles += 3, Arena));
        Meter.CreateObservableGauge("lowlevel.arena.resident", () => new Measurement<long>(800L << 20, Arena), "By");
        Meter.CreateObservableUpDownCounter("lowlevel.arena.free_blocks", () => (Measurement<long>[])
        [
            Free(0, "raw", "unmovable", 11), Free(0, "raw", "movable", 22), Free(0, "treated", "unmovable", 44), Free(10, "treated", "unmovable", 55),
        ]);
        Meter.CreateObservableGauge("somebody.else", () => 1);
    }

    private static void Bytes(string name, long mebibytes) =>
        Meter.CreateObservableUpDownCounter("lowlevel.arena." + name, () => new Measurement<long>(mebibytes << 20, Arena), "By");

    private static Measurement<long> Free(int order, string state, string type, long blocks) =>
        new(blocks, [.. Arena, new("lowlevel.order", order), new("lowlevel.migrate_type", type), new("lowlevel.state", state)]);
}
