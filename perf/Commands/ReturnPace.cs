using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>When what is due.</summary>
/// <param name="Hurry">All waits are divided by it; 1 in earnest.</param>
internal readonly record struct ReturnPace(double Hurry)
{
    /// <summary>Named instants after the last free, seconds.</summary>
    private static readonly double[] NamedInstants = [0.1, 1, 2, 5, 30];

    /// <summary>As the fields of a row call them.</summary>
    public static IReadOnlyList<string> InstantNames => ["after_100ms", "after_1s", "after_2s", "after_5s", "after_30s"];

    /// <summary>As the table calls them.</summary>
    public static IReadOnlyList<string> InstantHeadings => ["0.1 s", "1 s", "2 s", "5 s", "30 s"];

    /// <summary>Seconds after the last free at which memory is read.</summary>
    public IReadOnlyList<double> Instants
    {
        get
        {
            double hurry = Hurry;
            return [.. NamedInstants.Select(i => i / hurry)];
        }
    }

    /// <summary>Seconds after the last free in which no other contestant is busy.</summary>
    public double Quiet => 2.1 / Hurry;

    /// <summary>Seconds from the second allocation to the end.</summary>
    public double Rest => 60 / Hurry;

    /// <summary>What the first phases of a contestant are taken to last until one has been through them, seconds.</summary>
    public double FirstPhases => 12 / Hurry;

    /// <summary>Seconds between the samples of a curve, while little happens and while much does.</summary>
    public double Interval(bool isBusy) => isBusy ? 0.04 : 0.25 / Math.Sqrt(Hurry);
}
