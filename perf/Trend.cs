using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>How a value moves along time, by the order of the slopes between all pairs of points (Theil and Sen): a few wild points move it little.</summary>
/// <param name="Slope">Median of the slopes, per second.</param>
/// <param name="Low">Lower end of the interval that holds the true slope with 95 % confidence.</param>
/// <param name="High">Upper end.</param>
internal readonly record struct Trend(double Slope, double Low, double High)
{
    /// <summary>More points than this are thinned out evenly: the pairs grow with the square.</summary>
    private const int PointsMax = 1000;

    /// <param name="points">At least three, at different times.</param>
    public static Trend Of(IReadOnlyList<(double Seconds, double Value)> points)
    {
        if (points.Count < 3)
        {
            throw new ArgumentException($"{points.Count} points; allowed: at least 3", nameof(points));
        }

        (double Seconds, double Value)[] some = [.. Enumerable.Range(0, Math.Min(points.Count, PointsMax))
            .Select(i => points[(int)((long)i * points.Count / Math.Min(points.Count, PointsMax))])];
        List<double> slopes = [];
        for (int i = 0; i < some.Length; i++)
        {
            for (int j = i + 1; j < some.Length; j++)
            {
                slopes.Add((some[j].Value - some[i].Value) / (some[j].Seconds - some[i].Seconds));
            }
        }

        slopes.Sort();

        // Kendall's variance of the number of pairs that agree (Sen 1968), and its normal approximation.
        double n = some.Length;
        double reach = 1.96 * Math.Sqrt(n * (n - 1) * ((2 * n) + 5) / 18);
        int low = (int)Math.Clamp((slopes.Count - reach) / 2, 0, slopes.Count - 1);
        int high = (int)Math.Clamp((slopes.Count + reach) / 2, 0, slopes.Count - 1);
        return new Trend((slopes[(slopes.Count - 1) / 2] + slopes[slopes.Count / 2]) / 2, slopes[low], slopes[high]);
    }
}
