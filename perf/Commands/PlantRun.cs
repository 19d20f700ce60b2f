using System;
using System.Collections.Generic;
using System.Globalization;

namespace LowLevel.Perf;

/// <summary>One contestant as the parent sees it: its process, its curve, and the instants that were asked for.</summary>
internal sealed class PlantRun : IDisposable
{
    /// <summary>Seconds of idleness after which resident bytes are read exactly.</summary>
    public static readonly IReadOnlyList<int> Instants = [1, 2, 5, 15];

    private readonly ChildProcess _child;
    private readonly List<CurvePoint> _curve = [];
    private readonly List<Usage> _after = [];
    private readonly List<MapPoint> _maps = [];
    private readonly int _bursts;
    private bool _hasBaseline;
    private long _live;

    public PlantRun(string contestant, int bursts, params string[] options)
    {
        Contestant = contestant;
        _bursts = bursts;
        _child = ChildProcess.Start(contestant, ["plant-child", "--contestant", contestant, .. options]);
    }

    public string Contestant { get; }

    public string ChargeSource => _child.ChargeSource;

    public Usage Baseline { get; private set; }

    /// <summary>On the parent's clock; null until the last burst is over.</summary>
    public double? IdleSince { get; private set; }

    public bool IsFinished { get; private set; }

    public long LiveBytes { get; private set; }

    public double Seconds { get; private set; }

    public double CpuSeconds { get; private set; }

    /// <summary>Null where there is no arena.</summary>
    public long? Cycles { get; private set; }

    public long? PagesTreated { get; private set; }

    public long? MetadataBytes { get; private set; }

    /// <summary>What the progress line says.</summary>
    public string Phase { get; private set; } = "warming up";

    /// <summary>Net of the baseline, from the first burst on.</summary>
    public IReadOnlyList<CurvePoint> Curve => _curve;

    /// <summary>The arena's map at sampled moments; none where there is no arena.</summary>
    public IReadOnlyList<MapPoint> Maps => _maps;

    /// <summary>Net of the baseline, one for each of <see cref="Instants"/>.</summary>
    public IReadOnlyList<Usage> After => _after;

    public long PeakRss { get; private set; }

    public long? PeakCharge { get; private set; }

    /// <summary>Reads what the child says, samples it, and takes the exact readings that are due.</summary>
    public void Advance()
    {
        while (!IsFinished && _child.TryRead(out Message message))
        {
            Hear(message);
        }

        if (!_hasBaseline || _after.Count == Instants.Count)
        {
            return;
        }

        Add(_child.Sample());
        if (IdleSince is double since && _after.Count < Instants.Count && ChildProcess.Now - since >= Instants[_after.Count])
        {
            Usage exact = _child.Exact();
            _after.Add(exact.Net(Baseline));
            Add(exact);
            if (_after.Count == Instants.Count)
            {
                _child.Send("finish");
            }
        }
    }

    /// <summary>For the progress line.</summary>
    public string Describe()
    {
        string phase = IdleSince is double since && !IsFinished
            ? string.Create(CultureInfo.InvariantCulture, $"idle {ChildProcess.Now - since:0} s")
            : Phase;
        return _curve.Count == 0
            ? $"{Contestant}: {phase}"
            : string.Create(CultureInfo.InvariantCulture, $"{Contestant}: {phase}, rss {_curve[^1].Usage.Rss >> 20} MiB, live {_live >> 20} MiB");
    }

    public void Dispose() => _child.Dispose();

    private void Hear(Message message)
    {
        switch (message.Subject)
        {
            case "warm":
                Baseline = _child.Exact();
                _hasBaseline = true;
                _child.Send("go");
                break;
            case "burst":
                Phase = $"burst {message.Words[1]} of {_bursts}";
                break;
            case "live":
                _live = message.Whole(1);
                break;
            case "map":
                _maps.Add(new MapPoint(message.Seconds, message.Words.Length > 1 ? message.Words[1] : ""));
                break;
            case "idle":
                IdleSince = message.Seconds;
                _live = LiveBytes = message.Whole(1);
                Seconds = message.Number(2);
                break;
            case "result":
                CpuSeconds = message.Number(1);
                Cycles = OrNull(message.Whole(2));
                PagesTreated = OrNull(message.Whole(3));
                MetadataBytes = OrNull(message.Whole(4));
                IsFinished = true;
                Phase = "finished";
                break;
            default:
                throw new MeasurementException($"{Contestant} said '{message.Subject}', which nobody expects");
        }
    }

    private void Add(Usage usage)
    {
        Usage net = usage.Net(Baseline);
        _curve.Add(new CurvePoint(ChildProcess.Now, net, _live));
        PeakRss = Math.Max(PeakRss, net.Rss);
        PeakCharge = net.Charge is long charge ? Math.Max(PeakCharge ?? 0, charge) : null;
    }

    private static long? OrNull(long value) => value < 0 ? null : value;
}
