using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>An arena's map at a moment.</summary>
/// <param name="Seconds">When.</param>
/// <param name="Letters">The pageblocks, as <see cref="MapText"/> writes them.</param>
internal readonly record struct MapPoint(double Seconds, string Letters);

/// <summary>What a picture of the plant needs of one contestant.</summary>
/// <param name="Contestant">Its name.</param>
/// <param name="Curve">Net of the baseline; seconds from the end of the last burst, so that the idle phases lie upon each other.</param>
/// <param name="Cells">Its line of the table: time, CPU, live, peak, and the multiples at each instant.</param>
/// <param name="Maps">The arena's map over time, seconds as in the curve; none where there is no arena.</param>
internal sealed record PlantSeries(string Contestant, IReadOnlyList<CurvePoint> Curve, IReadOnlyList<string> Cells, IReadOnlyList<MapPoint> Maps)
{
    /// <summary>Headings of <see cref="Cells"/>.</summary>
    public static IReadOnlyList<string> Headings =>
    [
        "bursts, s",
        "CPU, s",
        "live, MiB",
        "peak, MiB (RSS | charge)",
        .. PlantRun.Instants.Select(i => $"idle {i} s (RSS | charge, × live)"),
        "cycles",
        "pages treated",
    ];

    public static PlantSeries Of(PlantRun run)
    {
        double end = run.IdleSince ?? throw new MeasurementException($"{run.Contestant} has no idle phase");
        return new PlantSeries(
            run.Contestant,
            [.. run.Curve.Select(p => p with { Seconds = p.Seconds - end })],
            PlantTable.Cells(run),
            [.. run.Maps.Select(p => p with { Seconds = p.Seconds - end })]);
    }

    /// <summary>Its colour: of eight that the colour-blind tell apart (Okabe and Ito 2008).</summary>
    public string Colour => Contestant switch
    {
        "arena" => "#0072B2",
        "arena-untreated" => "#56B4E9",
        "native-memory" => "#D55E00",
        "array-pool" => "#009E73",
        _ => "#CC79A7",
    };
}
