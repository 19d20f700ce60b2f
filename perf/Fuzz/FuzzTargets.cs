using System;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>All targets by name.</summary>
internal static class FuzzTargets
{
    /// <summary>What <c>--target</c> takes for all of them.</summary>
    public const string All = "all";

    private static readonly (string Name, Func<IFuzzTarget> Make, double Share)[] s_targets =
    [
        ("device-queue", static () => new DeviceQueueTarget(), 0.35),
        ("driver-queue", static () => new DriverQueueTarget(), 0.25),
        ("balloon-device", static () => new BalloonDeviceTarget(), 0.12),
        ("balloon-driver", static () => new BalloonDriverTarget(), 0.16),
        ("vhost-user", static () => new VhostUserTarget(), 0.12),
    ];

    /// <summary>Their names.</summary>
    public static string[] Names => [.. s_targets.Select(static one => one.Name)];

    /// <summary>The part of the time that a target gets when all of them run.</summary>
    public static double Share(string name) => Array.Find(s_targets, one => one.Name == name).Share;

    /// <summary>Makes one.</summary>
    public static IFuzzTarget Make(string name) => Array.Find(s_targets, one => one.Name == name).Make();
}
