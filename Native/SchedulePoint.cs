using System;
using System.Diagnostics;

namespace LowLevel.Native;

/// <summary>The middle of plain work that one thread at a time may be at. The program that explores schedules (tests/Schedules) lets another
/// thread go on there; nothing else is compiled with the calls.</summary>
internal static class SchedulePoint
{
    /// <summary>What happens at each.</summary>
    public static Action? Reached { get; set; }

    /// <summary>One of them.</summary>
    [Conditional("LOWLEVEL_SCHEDULES")]
    public static void Here() => Reached?.Invoke();
}
