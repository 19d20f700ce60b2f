using System;

namespace LowLevel.Perf;

/// <summary>One side of a boundary, whose counterpart is an input.</summary>
internal interface IFuzzTarget : IDisposable
{
    /// <summary>What the user types, and the name of its corpus.</summary>
    string Name { get; }

    /// <summary>The longest input that it makes use of, in bytes.</summary>
    int InputMax { get; }

    /// <summary>The length that seven of eight made inputs are cut to: short ones are quick, long ones get far.</summary>
    int InputUsual => InputMax;

    /// <summary>Rings after which <see cref="Renew"/> is called; 1: each begins with nothing of those before it.</summary>
    int RingsPerLife => 1;

    /// <summary>Begins a new life: what follows does not depend on anything before.</summary>
    void Renew()
    {
    }

    /// <summary>Plays one ring. Ends within a bound that the input's length sets. Any exception is a finding.</summary>
    /// <param name="input">Every byte of what the counterpart does.</param>
    /// <param name="map">Takes note of what was seen.</param>
    void Run(ReadOnlySpan<byte> input, FuzzMap map);
}
