using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Text;

namespace LowLevel.Perf;

/// <summary>Demand curves that nobody recorded: invented shapes, so that nothing is fitted to the one that was recorded. They are
/// files in Demand/ like it; this is what wrote them (<c>demand-files</c>), and a test compares. Only additions and products, no
/// library function whose last bit may differ: the same text everywhere.</summary>
internal static class SyntheticDemand
{
    private const double Gibi = 1L << 30;
    private const double Mebi = 1L << 20;

    // A day in 40 minutes: night, morning, noon, afternoon, evening, night. Seconds and GiB.
    private static readonly (double Seconds, double Level)[] Day =
        [(0, 2.0), (300, 1.6), (700, 4.0), (1100, 9.6), (1300, 10.4), (1550, 7.2), (1800, 8.4), (2100, 4.8), (2400, 2.1)];

    // Built up, held, dropped to a tenth, idle for long, and once more.
    private static readonly (double Seconds, double Level)[] Steps =
    [
        (0, 1.0), (60, 1.0), (600, 13.6), (1020, 14.0), (1044, 1.4), (2040, 1.4),
        (2310, 13.0), (2520, 13.4), (2538, 1.35), (3000, 1.35),
    ];

    public static IReadOnlyList<string> Names => ["batch-waves", "service-day", "step-idle"];

    /// <summary>The file's whole text.</summary>
    public static string Text(string name)
    {
        IEnumerable<DemandStep> steps = name switch
        {
            "batch-waves" => BatchWaves(),
            "service-day" => ServiceDay(),
            "step-idle" => StepIdle(),
            _ => throw new UsageException($"'{name}' is no invented demand; allowed: {string.Join(", ", Names)}"),
        };
        var text = new StringBuilder("seconds,used_bytes,page_cache_bytes\n");
        foreach (DemandStep step in steps)
        {
            text.Append(CultureInfo.InvariantCulture, $"{step.Seconds:0.00},{step.UsedBytes},{step.CacheBytes}\n");
        }

        return text.ToString();
    }

    // 600 steps of 4 s: the swell, 4 % of noise that has a memory, and now and then a burst of requests of 12 to 24 s.
    private static IEnumerable<DemandStep> ServiceDay()
    {
        var random = new SplitMix(2026);
        double noise = 0;
        double burst = 0;
        int left = 0;
        for (int i = 0; i <= 600; i++)
        {
            double seconds = i * 4.0;
            noise = (0.8 * noise) + (0.04 * (random.Fraction() - 0.5));
            if (left == 0 && random.Below(40) == 0)
            {
                left = 3 + random.Below(4);
                burst = 0.4 + (0.8 * random.Fraction());
            }

            double used = (Level(Day, seconds) * (1 + noise)) + (left > 0 ? burst : 0);
            left = Math.Max(0, left - 1);
            double cache = 0.35 + (0.9 * seconds / 2400) + (0.02 * noise);
            yield return Step(seconds, used, cache);
        }
    }

    // 600 steps of 4.5 s. A wave: jobs begin within 20 to 60 s, work for 70 to 160 s (each job's heap is a saw), end within 5 s;
    // then a valley of 45 to 150 s.
    private static IEnumerable<DemandStep> BatchWaves()
    {
        var random = new SplitMix(77);
        double begin = 30;
        double rise = 0;
        double work = 0;
        double valley = 0;
        double top = 0;
        for (int i = 0; i <= 600; i++)
        {
            double seconds = i * 4.5;
            if (top == 0 || seconds >= begin + rise + work + valley)
            {
                begin = top == 0 ? begin : begin + rise + work + valley;
                rise = 20 + random.Below(41);
                work = 70 + random.Below(91);
                valley = 45 + random.Below(106);
                top = 5.0 + (7.0 * random.Fraction());
            }

            double at = seconds - begin;
            double share = at < 0 ? 0 : at < rise ? at / rise : at < rise + work ? 1 : Math.Max(0, 1 - ((at - rise - work) / 5));
            double saw = ((i * 7) % 20 / 20.0) - 0.5;
            double used = 0.8 + (share * top * (1 + (0.12 * saw) + (0.03 * (random.Fraction() - 0.5)))) + (0.01 * random.Fraction());
            yield return Step(seconds, used, 0.3 + (share * 0.9));
        }
    }

    // 500 steps of 6 s; while it idles next to nothing moves.
    private static IEnumerable<DemandStep> StepIdle()
    {
        var random = new SplitMix(5);
        for (int i = 0; i <= 500; i++)
        {
            double seconds = i * 6.0;
            double used = Level(Steps, seconds) * (1 + (0.006 * (random.Fraction() - 0.5)));
            yield return Step(seconds, used, 0.25 + (0.05 * used));
        }
    }

    private static DemandStep Step(double seconds, double used, double cache)
    {
        long bytes = (long)(used * Gibi / Mebi) << 20;
        return new DemandStep(seconds, bytes, Math.Min(bytes / 2, (long)(cache * Gibi / Mebi) << 20));
    }

    // Between two points by the cubic that is level at both.
    private static double Level((double Seconds, double Level)[] points, double seconds)
    {
        int next = Math.Max(1, Array.FindIndex(points, p => p.Seconds >= seconds));
        ((double from, double low), (double to, double high)) = (points[next - 1], points[next]);
        double t = (seconds - from) / (to - from);
        return low + ((high - low) * t * t * (3 - (2 * t)));
    }
}
