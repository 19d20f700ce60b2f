using System;
using System.Collections.Generic;
using System.Globalization;
using System.Threading.Tasks;

namespace LowLevel.Perf;

/// <summary>Where a contestant is.</summary>
internal enum ReturnPhase
{
    Starting,
    Warming,
    Allocating,
    Freeing,
    Idle,
    Due,
    SecondWarming,
    SecondAllocating,
    Resting,
    Rested,
    Closing,
    Finished,
}

/// <summary>One contestant as the parent sees it: its process, its curve, and the figures. It is busy, and then no other may be,
/// from its start until two seconds after its last free, during its second allocation, and while it ends; the scheduler
/// (<see cref="ReturnSchedule"/>) gives the word for each of the three.</summary>
internal sealed class ReturnRun : IDisposable
{
    private readonly ReturnShape _shape;
    private readonly ReturnPace _pace;
    private readonly ChildProcess _child;
    private readonly List<CurvePoint> _curve = [];
    private readonly List<Usage> _after = [];
    private readonly double _started = ChildProcess.Now;
    private Task? _helper;
    private double _lastSample;
    private double _secondSince;

    public ReturnRun(ReturnContestant contestant, ReturnShape shape, ReturnPace pace)
    {
        Contestant = contestant.Name;
        _shape = shape;
        _pace = pace;
        string[] arguments =
        [
            "return-child",
            "--contestant", contestant.Name,
            "--gib", (shape.Bytes / (double)(1L << 30)).ToString("F12", CultureInfo.InvariantCulture),
            "--seed", shape.Seed.ToString(CultureInfo.InvariantCulture),
        ];
        _child = ChildProcess.Start(contestant.Name, arguments, contestant.Environment);
    }

    public string Contestant { get; }

    public ReturnPhase Phase { get; private set; }

    /// <summary>On the parent's clock; meaningful once <see cref="Phase"/> is Idle.</summary>
    public double FreedAt { get; private set; }

    /// <summary>When the second allocation was over, on the parent's clock.</summary>
    public double SecondAt => _secondSince;

    /// <summary>Seconds after the last free at which memory is read.</summary>
    public IReadOnlyList<double> Instants => _pace.Instants;

    /// <summary>Nothing else may be busy.</summary>
    public bool IsBusy => Phase is < ReturnPhase.Idle or ReturnPhase.SecondWarming or ReturnPhase.SecondAllocating or ReturnPhase.Closing
        || (Phase == ReturnPhase.Idle && ChildProcess.Now - FreedAt < _pace.Quiet);

    /// <summary>When it will want its second allocation; null before and after.</summary>
    public double? SecondDue => Phase is ReturnPhase.Idle or ReturnPhase.Due ? FreedAt + _pace.Instants[^1] : null;

    /// <summary>What it has, and may still take.</summary>
    public long ClaimedBytes => Phase == ReturnPhase.Finished ? 0
        : Phase < ReturnPhase.Freeing ? _shape.Bytes * 5 / 4
        : (_curve.Count == 0 ? 0 : _curve[^1].Usage.Rss) + (Phase < ReturnPhase.Resting ? _shape.SecondBytes : 0);

    public string ChargeSource => _child.ChargeSource;

    public Usage Baseline { get; private set; }

    public long LiveBytes { get; private set; }

    public long LiveBytesAtEnd { get; private set; }

    /// <summary>Net of the baseline, from the first allocation on.</summary>
    public IReadOnlyList<CurvePoint> Curve => _curve;

    /// <summary>Net of the baseline: one for each of <see cref="ReturnPace.Instants"/>, one right after the second allocation, one at the end.</summary>
    public IReadOnlyList<Usage> After => _after;

    public double AllocationSeconds { get; private set; }

    public double FreeSeconds { get; private set; }

    public double CpuSeconds { get; private set; }

    public double SecondSeconds { get; private set; }

    /// <summary>Null where there is no arena.</summary>
    public long? MetadataBytes { get; private set; }

    /// <summary>How long the first phases took.</summary>
    public double FirstPhasesSeconds => FreedAt + _pace.Quiet - _started;

    /// <summary>Reads what the child says, samples it, and takes the readings that are due.</summary>
    public void Advance()
    {
        while (Phase < ReturnPhase.Closing && _child.TryRead(out Message message))
        {
            Hear(message);
        }

        Close();
        if (Phase is ReturnPhase.Starting or >= ReturnPhase.Rested)
        {
            return;
        }

        AdvanceHelper();
        double now = ChildProcess.Now;
        if (now - _lastSample >= _pace.Interval(IsBusy || now - FreedAt < _pace.Instants[^2]))
        {
            Add(_child.Sample());
        }

        if (Phase == ReturnPhase.Idle && now - FreedAt >= _pace.Instants[_after.Count])
        {
            TakeExact();
            if (_after.Count == _pace.Instants.Count)
            {
                Phase = ReturnPhase.Due;
                _child.Send("idled");
            }
        }
        else if (Phase == ReturnPhase.Resting && now - _secondSince >= _pace.Rest)
        {
            TakeExact();
            Phase = ReturnPhase.Rested;
        }
    }

    /// <summary>The word for the second allocation, which a helper's touching and freeing precedes.</summary>
    public void BeginSecond()
    {
        Phase = ReturnPhase.SecondWarming;
        _helper = Task.Run(() => HostWarmth.Warm(_shape.SecondWarmth));
    }

    /// <summary>The word to check the survivors and end.</summary>
    public void BeginEnd()
    {
        Phase = ReturnPhase.Closing;
        _child.Send("finish");
        _helper = Task.Run(() => _ = _child.WaitFor("checked"));
    }

    /// <summary>For the progress line.</summary>
    public string Describe()
    {
        string phase = Phase.ToString().ToLowerInvariant();
        return _curve.Count == 0
            ? $"{Contestant}: {phase}"
            : $"{Contestant}: {phase}, charge {Math.Max(0, _curve[^1].Usage.Charge ?? _curve[^1].Usage.Rss) >> 20} MiB, live {_curve[^1].Live >> 20} MiB";
    }

    public void Dispose()
    {
        if (Phase != ReturnPhase.Finished)
        {
            _child.Dispose();
        }
    }

    private void Hear(Message message)
    {
        switch (message.Subject)
        {
            case "warm":
                Baseline = _child.Exact();
                Phase = ReturnPhase.Warming;
                _helper = Task.Run(() => HostWarmth.Warm(_shape.FirstWarmth));
                break;
            case "allocated":
                AllocationSeconds = message.Number(2);
                LiveBytes = message.Whole(1);
                Add(_child.Sample());
                Phase = ReturnPhase.Freeing;
                _child.Send("free");
                break;
            case "freed":
                FreedAt = message.Seconds;
                LiveBytes = LiveBytesAtEnd = message.Whole(1);
                FreeSeconds = message.Number(2);
                Phase = ReturnPhase.Idle;
                break;
            case "idled":
                CpuSeconds = message.Number(1);
                MetadataBytes = message.Whole(2) < 0 ? null : message.Whole(2);
                break;
            case "second":
                _secondSince = message.Seconds;
                LiveBytesAtEnd = message.Whole(1);
                SecondSeconds = message.Number(2);
                Phase = ReturnPhase.Resting;
                TakeExact();
                break;
            default:
                throw new MeasurementException($"{Contestant} said '{message.Subject}', which nobody expects");
        }
    }

    // The helper is a thread of the parent: outside the child's cgroup, and the sampling goes on meanwhile.
    private void AdvanceHelper()
    {
        if (_helper is { IsCompleted: true })
        {
            _helper.GetAwaiter().GetResult();
            _helper = null;
            bool first = Phase == ReturnPhase.Warming;
            Phase = first ? ReturnPhase.Allocating : ReturnPhase.SecondAllocating;
            _child.Send(first ? "allocate" : "second");
        }
    }

    private void Close()
    {
        if (Phase == ReturnPhase.Closing && _helper!.IsCompleted)
        {
            _helper.GetAwaiter().GetResult();
            _child.Dispose();
            Phase = ReturnPhase.Finished;
        }
    }

    private void TakeExact()
    {
        Usage exact = _child.Exact();
        _after.Add(exact.Net(Baseline));
        Add(exact);
    }

    private void Add(Usage usage)
    {
        _lastSample = ChildProcess.Now;
        _curve.Add(new CurvePoint(_lastSample, usage.Net(Baseline), LiveBytesAtEnd == 0 ? LiveBytes : LiveBytesAtEnd));
    }
}
