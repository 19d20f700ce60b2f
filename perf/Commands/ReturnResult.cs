using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>What one contestant comes to over the rounds: each figure is the median of its own.</summary>
internal sealed class ReturnResult
{
    private readonly IReadOnlyList<ReturnRun> _runs;

    private ReturnResult(ReturnContestant contestant, IReadOnlyList<ReturnRun> runs)
    {
        Contestant = contestant.Name;
        Absence = contestant.Absence;
        _runs = runs;
    }

    public string Contestant { get; }

    /// <summary>Why there are no figures; null where there are.</summary>
    public string? Absence { get; }

    public int Rounds => _runs.Count;

    public long? LiveBytes => Whole(r => r.LiveBytes);

    public long? LiveBytesAtEnd => Whole(r => r.LiveBytesAtEnd);

    public double? AllocationSeconds => Median(r => r.AllocationSeconds);

    public double? FreeSeconds => Median(r => r.FreeSeconds);

    public double? CpuSeconds => Median(r => r.CpuSeconds);

    public double? SecondSeconds => Median(r => r.SecondSeconds);

    public long? MetadataBytes => Whole(r => r.MetadataBytes);

    public long? BaselineRss => Whole(r => r.Baseline.Rss);

    public long? BaselineCharge => Whole(r => r.Baseline.Charge);

    public string ChargeSource => _runs.Count > 0 ? _runs[0].ChargeSource : "absent";

    public static ReturnResult Of(ReturnContestant contestant, IEnumerable<ReturnRun> runs) =>
        new(contestant, [.. runs.Where(r => r.Contestant == contestant.Name)]);

    /// <summary>One of <see cref="ReturnRun.After"/>; null where there is none.</summary>
    public long? Charge(int instant) => Whole(r => r.After[instant].Charge);

    public long? Rss(int instant) => Whole(r => r.After[instant].Rss);

    private long? Whole(Func<ReturnRun, long?> figure) => (long?)Median(r => figure(r));

    private double? Median(Func<ReturnRun, double?> figure)
    {
        double[] figures = [.. _runs.Select(figure).OfType<double>()];
        return figures.Length == 0 ? null : Statistics.Summarise(figures).Median;
    }
}
