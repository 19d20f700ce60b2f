using System;
using System.Collections.Generic;

namespace LowLevel.Perf;

/// <summary>Spans counted into equal parts of a recording.</summary>
internal static class TraceBins
{
    /// <summary>The share of each part that the spans fill; more than 1 where they overlap.</summary>
    public static double[] Busy(IEnumerable<TraceSpan> spans, double end, int bins)
    {
        double[] busy = new double[bins];
        double width = end / bins;
        foreach (TraceSpan span in spans)
        {
            double from = Math.Max(0, span.Seconds - (span.Microseconds / 1e6));
            double to = Math.Min(end, span.Seconds);
            for (int bin = Bin(from, width, bins); bin < bins && bin * width < to; bin++)
            {
                busy[bin] += Math.Max(0, Math.Min(to, (bin + 1) * width) - Math.Max(from, bin * width)) / width;
            }
        }

        return busy;
    }

    /// <summary>The sum, for each part, over the spans that ended in it.</summary>
    public static double[] Sum(IEnumerable<TraceSpan> spans, double end, int bins, Func<TraceSpan, double> value)
    {
        double[] sums = new double[bins];
        foreach (TraceSpan span in spans)
        {
            sums[Bin(span.Seconds, end / bins, bins)] += value(span);
        }

        return sums;
    }

    private static int Bin(double seconds, double width, int bins) => Math.Clamp((int)(seconds / width), 0, bins - 1);
}
