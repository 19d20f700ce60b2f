using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>How one burst looks.</summary>
/// <param name="Connections">At one time.</param>
/// <param name="BurstSeconds">How long they ask.</param>
/// <param name="IdleSeconds">How long the server is watched afterwards.</param>
/// <param name="Seed">Of sizes and contents.</param>
/// <param name="BlockBytes">The least buffer of our pool.</param>
internal sealed record KestrelShape(int Connections, double BurstSeconds, double IdleSeconds, int Seed, int BlockBytes);

/// <summary>What the load generator measured of one burst.</summary>
internal sealed record KestrelBurst(long Requests, long Bytes, double Seconds, double P50, double P99)
{
    public double RequestsPerSecond => Requests / Seconds;
}

/// <summary>One server through one burst and the idle time behind it: its process, its load's process, its curve.</summary>
internal sealed class KestrelRun : IDisposable
{
    /// <summary>From the warm-up to the baseline: what the warm-up took has gone back by then, where it goes back.</summary>
    private const double SettlingSeconds = 3;
    private const double WholeIdleSeconds = 60;
    private static readonly double[] WholeInstants = [2, 10, WholeIdleSeconds];

    private readonly ChildProcess _server;
    private readonly List<CurvePoint> _curve = [];
    private readonly List<Usage> _after = [];
    private readonly KestrelShape _shape;

    public KestrelRun(string pool, int round, KestrelShape shape)
    {
        Pool = pool;
        Round = round;
        _shape = shape;

        // Server garbage collection is what the Web SDK builds services with.
        var environment = new Dictionary<string, string> { ["DOTNET_gcServer"] = "1" };
        _server = ChildProcess.Start(pool, ["kestrel-server", "--pool", pool, "--block-bytes", Text(shape.BlockBytes)], environment);
    }

    /// <summary>Seconds of idleness after which resident bytes are read exactly; another idle time than 60 s moves them all.</summary>
    public IReadOnlyList<double> Instants => [.. WholeInstants.Select(i => i * _shape.IdleSeconds / WholeIdleSeconds)];

    public string Pool { get; }

    public int Round { get; }

    public string ChargeSource => _server.ChargeSource;

    /// <summary>After a warm-up with few connections and small bodies.</summary>
    public Usage Baseline { get; private set; }

    /// <summary>On the parent's clock, the end of the burst.</summary>
    public double IdleSince { get; private set; }

    public KestrelBurst? Burst { get; private set; }

    public double CpuSeconds { get; private set; }

    /// <summary>Null where there is no arena.</summary>
    public long? PagesTreated { get; private set; }

    public bool IsFinished { get; private set; }

    /// <summary>Net of the baseline, from the burst's start on; no live bytes.</summary>
    public IReadOnlyList<CurvePoint> Curve => _curve;

    /// <summary>Net of the baseline, one for each of <see cref="Instants"/>.</summary>
    public IReadOnlyList<Usage> After => _after;

    public long PeakRss { get; private set; }

    public long? PeakCharge { get; private set; }

    /// <summary>Warms up, takes the baseline and lets the burst run to its end; <paramref name="watch"/> is called between samples.</summary>
    public void RunBurst(Action watch)
    {
        int port = (int)_server.WaitFor("port").Whole(1);
        Load(port, _shape with { Connections = 8, BurstSeconds = Math.Min(2, _shape.BurstSeconds) }, 65536, watch);
        double settled = ChildProcess.Now + Math.Min(SettlingSeconds, _shape.IdleSeconds / 10);
        while (ChildProcess.Now < settled)
        {
            watch();
        }

        Baseline = _server.Exact();
        _server.Send("begin");
        Burst = Load(port, _shape, KestrelBody.LargestBytes, () =>
        {
            Add(_server.Sample());
            watch();
        });
        IdleSince = ChildProcess.Now;
    }

    /// <summary>Samples the idle server and takes the exact readings that are due.</summary>
    public void Advance()
    {
        if (Burst is null || IsFinished)
        {
            return;
        }

        Add(_server.Sample());
        if (_after.Count < WholeInstants.Length && ChildProcess.Now - IdleSince >= Instants[_after.Count])
        {
            Usage exact = _server.Exact();
            _after.Add(exact.Net(Baseline));
            Add(exact);
        }

        if (_after.Count == WholeInstants.Length)
        {
            _server.Send("finish");
            Message result = _server.WaitFor("result");
            CpuSeconds = result.Number(1);
            PagesTreated = result.Whole(3) < 0 ? null : result.Whole(3);
            if (result.Whole(4) > 0)
            {
                throw new MeasurementException($"{Pool}: {result.Whole(4)} bytes of the arena are still taken in an idle server");
            }

            IsFinished = true;
        }
    }

    public void Dispose() => _server.Dispose();

    private static KestrelBurst Load(int port, KestrelShape shape, int largest, Action watch)
    {
        using ChildProcess load = ChildProcess.Start(
            "load",
            "kestrel-load", "--port", Text(port), "--connections", Text(shape.Connections), "--seconds", Text(shape.BurstSeconds),
            "--largest", Text(largest), "--seed", Text(shape.Seed));
        load.WaitFor("connected");
        load.Send("go");
        Message message;
        while (!load.TryRead(out message))
        {
            watch();
        }

        return new KestrelBurst(message.Whole(1), message.Whole(2), message.Number(3), message.Number(4), message.Number(5));
    }

    private static string Text(IFormattable number) => number.ToString(null, CultureInfo.InvariantCulture);

    private void Add(Usage usage)
    {
        Usage net = usage.Net(Baseline);
        _curve.Add(new CurvePoint(ChildProcess.Now, net, 0));
        PeakRss = Math.Max(PeakRss, net.Rss);
        PeakCharge = net.Charge is long charge ? Math.Max(PeakCharge ?? 0, charge) : null;
    }
}
