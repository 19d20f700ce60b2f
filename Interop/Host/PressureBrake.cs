using System;
using LowLevel.Interop.Linux;

namespace LowLevel.Interop.Host;

/// <summary>Takes a part of the budget away while memory is short for the host itself or for the machine, step by step, and gives it back
/// slowly: what was pressure a moment ago is likely to be so again.
/// <code>
/// share = charge / limit of the host's own memory cgroup (guests' memory is charged to whoever touched it first, often the host)
/// share &gt;= 0.97 or stalls &gt;= 20 %:  part -= 4/64      share &gt;= 0.90 or stalls &gt;= 5 %:  part -= 1/64
/// share &lt;  0.85 and stalls &lt; 2 %:   part += 1/64      else it stays             1/2 &lt;= part &lt;= 1
/// </code></summary>
internal sealed class PressureBrake
{
    private const int Whole = 64;
    private const int Least = Whole / 2;

    private int _part = Whole;

    /// <summary>Whether a part is taken away.</summary>
    public bool IsOn => _part != Whole;

    /// <summary>Judges one reading; what it does not say counts as no pressure.</summary>
    public void Update(in MemoryReading reading)
    {
        double share = reading is { ChargeBytes: ulong charge, ChargeLimitBytes: ulong limit and not 0 } ? (double)charge / limit : 0;
        double stalls = reading.StalledPercent ?? 0;
        int step = share >= 0.97 || stalls >= 20 ? -4
            : share >= 0.90 || stalls >= 5 ? -1
            : share < 0.85 && stalls < 2 ? 1
            : 0;
        _part = Math.Clamp(_part + step, Least, Whole);
    }

    /// <summary>What is left of a budget.</summary>
    public ulong Apply(ulong budget) => (ulong)((UInt128)budget * (uint)_part / Whole);
}
