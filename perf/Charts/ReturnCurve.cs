using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>A point of a curve in the picture of <c>perf return</c>.</summary>
/// <param name="Seconds">From the instant at which the curve's half of the picture begins.</param>
/// <param name="Multiple">What is charged (RSS where there is no charge), as a multiple of live bytes.</param>
internal readonly record struct MultiplePoint(double Seconds, double Multiple);

/// <summary>One contestant in the picture: its first round.</summary>
/// <param name="Contestant">Its name.</param>
/// <param name="AfterFree">Seconds from its own last free, up to its second allocation.</param>
/// <param name="AfterSecond">Seconds from the end of its own second allocation.</param>
internal sealed record ReturnCurve(string Contestant, IReadOnlyList<MultiplePoint> AfterFree, IReadOnlyList<MultiplePoint> AfterSecond)
{
    public static ReturnCurve Of(ReturnRun run)
    {
        // The idle time may be longer than it must be where another contestant was busy: that part is left out.
        double idle = run.Instants[^1];
        return new ReturnCurve(
            run.Contestant,
            Cut(run.Curve, run.FreedAt, idle, run.LiveBytes),
            Cut(run.Curve, run.SecondAt, double.MaxValue, run.LiveBytesAtEnd));
    }

    private static List<MultiplePoint> Cut(IReadOnlyList<CurvePoint> curve, double zero, double to, long live) =>
    [
        .. curve
            .Select(p => new MultiplePoint(p.Seconds - zero, (double)(p.Usage.Charge ?? p.Usage.Rss) / live))
            .Where(p => p.Seconds >= 0 && p.Seconds <= to),
    ];
}
