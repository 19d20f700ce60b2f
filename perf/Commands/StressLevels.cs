using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>What is resident when a round's arena is gone and the GC has collected, every few seconds: what does not come back shows here, of whatever
/// memory it is.</summary>
/// <param name="taken">Points taken before: seconds since the start, and bytes.</param>
internal sealed class StressLevels(params (double Seconds, double Value)[] taken)
{
    /// <summary>A run of at least so many seconds is judged; what a shorter one shows is compilation and caches that fill.</summary>
    public const double JudgedSeconds = 600;

    private const double Interval = 5;

    /// <summary>The first part of a run fills what is filled once.</summary>
    private const double WarmUpShare = 0.2;

    private readonly Stopwatch watch = Stopwatch.StartNew();
    private readonly List<(double Seconds, double Value)> points = [.. taken];

    /// <summary>Seconds since the start, and bytes.</summary>
    public IReadOnlyList<(double Seconds, double Value)> Points => points;

    /// <summary>Growth that may be noise, bytes an hour.</summary>
    public static double AllowedBytesPerHour => 8 << 20;

    /// <summary>Takes a point if the last is old enough.</summary>
    public void Sample()
    {
        if (points.Count == 0 || watch.Elapsed.TotalSeconds - points[^1].Seconds >= Interval)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            GC.Collect();
            points.Add((watch.Elapsed.TotalSeconds, Smaps.StatmResidentBytes()));
        }
    }

    /// <summary>Slope of the points after the warm-up; null: too few.</summary>
    public Trend? Judge()
    {
        (double Seconds, double Value)[] settled = [.. points.Where(p => p.Seconds >= WarmUpShare * points[^1].Seconds)];
        return settled.Length < 3 ? null : Trend.Of(settled);
    }

    /// <summary>Null, or what grows.</summary>
    public string? FindGrowth()
    {
        if (points.Count == 0 || points[^1].Seconds < JudgedSeconds || Judge() is not Trend trend)
        {
            return null;
        }

        // Growth is what cannot be noise: even the least slope that the points allow is too much.
        return trend.Low * 3600 > AllowedBytesPerHour ? $"what is resident between the rounds grows: {Text(trend)}" : null;
    }

    /// <summary>As it is printed.</summary>
    public static string Text(Trend trend) => string.Create(
        CultureInfo.InvariantCulture,
        $"{trend.Slope * 3600 / (1 << 20):0.00} MiB an hour [{trend.Low * 3600 / (1 << 20):0.00}, {trend.High * 3600 / (1 << 20):0.00}]");
}
