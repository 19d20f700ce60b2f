using System;

namespace LowLevel.Allocator;

/// <summary>How short memory is, for the cgroup or the machine, and so how soon free memory goes back.</summary>
public enum MemoryPressure
{
    /// <summary>Not short, or nothing says so: after <see cref="AerationOptions.Delay"/>.</summary>
    None,

    /// <summary>After a quarter of it.</summary>
    Some,

    /// <summary>At once (at the high-water mark, else by the next pass, at most 250 ms later), and nothing is kept for reuse.</summary>
    High,
}

/// <summary>Judges readings. A level begins at its threshold and ends only clearly below it, so that a reading that trembles at the
/// threshold does not change the pace every second.
/// <code>
/// share   = charge / limit        Some from 0.90, until below 0.85      High from 0.97, until below 0.94
/// stalled = PSI some avg10, %     Some from 5,    until below 2         High from 20,   until below 10
/// level   = the higher of the two
/// </code></summary>
internal sealed class PressureGauge
{
    private MemoryPressure _byShare;
    private MemoryPressure _byStalls;

    /// <summary>The last judgement.</summary>
    public MemoryPressure Level => (MemoryPressure)Math.Max((int)_byShare, (int)_byStalls);

    /// <summary>Judges what was read; null says nothing and counts as no pressure.</summary>
    /// <param name="charge">Bytes charged.</param>
    /// <param name="limit">Bytes allowed.</param>
    /// <param name="stalledPercent">0 to 100.</param>
    public MemoryPressure Update(ulong? charge, ulong? limit, double? stalledPercent)
    {
        double share = charge is ulong used && limit is ulong most ? (used >= most ? 1 : (double)used / most) : 0;
        _byShare = Judge(_byShare, share, new(0.90, 0.85), new(0.97, 0.94));
        _byStalls = Judge(_byStalls, stalledPercent ?? 0, new(5, 2), new(20, 10));
        return Level;
    }

    private static MemoryPressure Judge(MemoryPressure before, double value, Threshold some, Threshold high) =>
        value >= high.Begin || (before == MemoryPressure.High && value >= high.End) ? MemoryPressure.High
        : value >= some.Begin || (before != MemoryPressure.None && value >= some.End) ? MemoryPressure.Some
        : MemoryPressure.None;

    private readonly record struct Threshold(double Begin, double End);
}
