using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>From this second on so much is used, until the next step.</summary>
/// <param name="Seconds">From the trace's start.</param>
/// <param name="UsedBytes">In all.</param>
/// <param name="CacheBytes">Of that, page cache.</param>
internal readonly record struct DemandStep(double Seconds, long UsedBytes, long CacheBytes)
{
    /// <summary>Used and not page cache.</summary>
    public long JobBytes => UsedBytes - CacheBytes;
}

/// <summary>A demand for memory over time, a step curve.</summary>
internal sealed class DemandCurve
{
    private const string Header = "seconds,used_bytes,page_cache_bytes";
    private const long MostBytes = 1L << 50;
    private const double MostSeconds = 1e8;

    private DemandCurve(IReadOnlyList<DemandStep> steps) => Steps = steps;

    /// <summary>At least two, seconds ascending, the first at 0.</summary>
    public IReadOnlyList<DemandStep> Steps { get; }

    /// <summary>From the first step to the last; the last one's demand lasts no time.</summary>
    public double Seconds => Steps[^1].Seconds;

    public long PeakBytes => Steps.Max(s => s.UsedBytes);

    /// <summary>Byte-seconds used.</summary>
    public double UsedIntegral
    {
        get
        {
            double sum = 0;
            for (int i = 1; i < Steps.Count; i++)
            {
                sum += Steps[i - 1].UsedBytes * (Steps[i].Seconds - Steps[i - 1].Seconds);
            }

            return sum;
        }
    }

    public static DemandCurve Load(string path)
    {
        try
        {
            using var reader = new StreamReader(path);
            return Parse(reader);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"option --demand: '{path}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads the text; any line that is no demand ends it, with its number.</summary>
    public static DemandCurve Parse(TextReader text)
    {
        if (text.ReadLine() is not string head || head.Trim() != Header)
        {
            throw new UsageException($"option --demand: line 1 is no heading; allowed: {Header}");
        }

        var steps = new List<DemandStep>();
        for (int number = 2; text.ReadLine() is string line; number++)
        {
            string[] fields = line.Split(',');
            bool good = fields.Length == 3
                & TryNumber(fields, 0, MostSeconds, out double seconds)
                & TryNumber(fields, 1, MostBytes, out double used)
                & TryNumber(fields, 2, used, out double cache);
            if (!good || (steps.Count > 0 && seconds <= steps[^1].Seconds))
            {
                string shown = line.Length > 60 ? line[..60] + "..." : line;
                throw new UsageException(
                    $"option --demand: line {number} '{shown}' is no demand; allowed: {Header}, seconds ascending, page cache at most what is used");
            }

            steps.Add(new DemandStep(seconds, (long)used, (long)cache));
        }

        if (steps.Count < 2)
        {
            throw new UsageException($"option --demand: {steps.Count + 1} lines; allowed: a heading and at least two lines of demand");
        }

        double start = steps[0].Seconds;
        return new DemandCurve(steps.ConvertAll(s => s with { Seconds = s.Seconds - start }));
    }

    /// <summary>The same curve with bytes times <paramref name="scale"/> and time divided by <paramref name="speed"/>.</summary>
    public DemandCurve Scaled(double scale, double speed) =>
        new([.. Steps.Select(s => new DemandStep(s.Seconds / speed, (long)(s.UsedBytes * scale), (long)(s.CacheBytes * scale)))]);

    /// <summary>The same curve begun at a share of its length, 0 to 1, and gone on with at its start: another program with the same demand at other
    /// times.</summary>
    public DemandCurve Shifted(double share)
    {
        double from = share * Seconds;
        int next = 0;
        while (next < Steps.Count - 1 && Steps[next].Seconds < from)
        {
            next++;
        }

        if (next == 0)
        {
            return this;
        }

        // The last step lasts no time; in its place stands what the curve begins with.
        List<DemandStep> steps = [Steps[next - 1] with { Seconds = 0 }];
        steps.AddRange(Steps.Skip(next).Take(Steps.Count - 1 - next).Where(s => s.Seconds > from).Select(s => s with { Seconds = s.Seconds - from }));
        steps.AddRange(Steps.Take(next).Select(s => s with { Seconds = s.Seconds + Seconds - from }));
        steps.Add(steps[^1] with { Seconds = Seconds });
        return new DemandCurve([.. steps.DistinctBy(s => s.Seconds)]);
    }

    /// <summary>What is used at a second of the curve.</summary>
    public long UsedAt(double seconds) => Steps.LastOrDefault(s => s.Seconds <= seconds).UsedBytes;

    /// <summary>Its beginning: what is in use at that second ends it.</summary>
    public DemandCurve Until(double seconds)
    {
        if (seconds >= Seconds)
        {
            return this;
        }

        List<DemandStep> steps = [.. Steps.Where(s => s.Seconds < seconds)];
        steps.Add(steps[^1] with { Seconds = seconds });
        return new DemandCurve(steps);
    }

    private static bool TryNumber(string[] fields, int index, double most, out double value)
    {
        value = 0;
        return index < fields.Length
            && double.TryParse(fields[index], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out value)
            && value >= 0
            && value <= most;
    }
}
