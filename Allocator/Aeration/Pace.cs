using System;

namespace LowLevel.Allocator;

/// <summary>How fast free memory goes back.</summary>
/// <param name="Period">The least length of an epoch, and the time between two passes.</param>
/// <param name="RestEpochs">Epochs that must have begun since a block was freed; 0: none, it has rested at once.</param>
/// <param name="KeepsStock">Whether what will be wanted again is kept.</param>
internal readonly record struct Pace(TimeSpan Period, ulong RestEpochs, bool KeepsStock)
{
    /// <summary>A block freed in epoch e has rested when five epochs have begun since: four whole ones, each at least Delay / 4.</summary>
    public const ulong RestingEpochs = 5;

    private static readonly TimeSpan s_idlePeriod = TimeSpan.FromMilliseconds(250);

    private static readonly TimeSpan s_leastPeriod = TimeSpan.FromMilliseconds(1);

    /// <summary>The pace for a delay under a pressure: the whole delay, a quarter of it, or none.</summary>
    public static Pace For(TimeSpan delay, MemoryPressure pressure)
    {
        TimeSpan rest = pressure == MemoryPressure.Some ? delay / 4 : delay;
        TimeSpan period = rest == TimeSpan.Zero ? s_idlePeriod : Later(rest / 4, s_leastPeriod);
        bool rests = rest > TimeSpan.Zero && pressure != MemoryPressure.High;
        return new(rests || period < s_idlePeriod ? period : s_idlePeriod, rests ? RestingEpochs : 0, pressure != MemoryPressure.High);
    }

    private static TimeSpan Later(TimeSpan a, TimeSpan b) => a > b ? a : b;
}
