using System;
using System.Globalization;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>What parent and child of a replay agree on.</summary>
internal sealed class ReplayPlan
{
    // Seconds of the trace that the table takes; null without a table.
    private readonly double? _until;

    private ReplayPlan(DemandCurve trace, string path, double? until, double scale, double speed, int threads, ulong seed)
    {
        Trace = trace;
        Path = path;
        _until = until;
        Scale = scale;
        Speed = speed;
        Threads = threads;
        Seed = seed;
        Curve = trace.Scaled(scale, speed);
    }

    /// <summary>As recorded, or its beginning.</summary>
    public DemandCurve Trace { get; }

    /// <summary>As replayed: bytes times scale, time divided by speed.</summary>
    public DemandCurve Curve { get; }

    /// <summary>The same demand in about a second at a hundredth of its size.</summary>
    public DemandCurve Rehearsal => Trace.Scaled(Scale / 100, Math.Max(Speed, Trace.Seconds));

    public string Path { get; }

    public double Scale { get; }

    public double Speed { get; }

    public int Threads { get; }

    public ulong Seed { get; }

    public static ReplayPlan Read(Arguments arguments, double usualScale = 1.0 / 8, int threads = 2)
    {
        string path = DemandFiles.Read(arguments);
        double scale = arguments.Number("scale", usualScale, 1.0 / 1024, 4);
        double speed = arguments.Number("speed", 60, 1, 1000);
        threads = arguments.Integer("threads", threads, 1, 64);
        var seed = (ulong)arguments.Integer("seed", 1, 0, int.MaxValue);
        double until = arguments.Flag("table") ? arguments.Number("table-seconds", 720, 1, 1e8) : double.MaxValue;
        DemandCurve trace = DemandCurve.Load(path).Until(until);
        LinuxSystem os = LinuxSystem.Instance;
        ulong room = Math.Min(os.CgroupMemoryLimitBytes ?? ulong.MaxValue, os.PhysicalMemoryBytes) / 4 * 3;
        if (trace.PeakBytes * scale > room)
        {
            throw new UsageException(string.Create(
                CultureInfo.InvariantCulture,
                $"option --scale: the demand's peak is {trace.PeakBytes >> 20} MiB; allowed here: at most {(double)room / trace.PeakBytes:0.###}"));
        }

        return new ReplayPlan(trace, path, until < double.MaxValue ? until : null, scale, speed, threads, seed);
    }

    /// <summary>For the child's command line.</summary>
    public string[] ToArguments() =>
    [
        "--demand", Path,
        "--scale", Scale.ToString("F12", CultureInfo.InvariantCulture),
        "--speed", Speed.ToString("F12", CultureInfo.InvariantCulture),
        "--threads", Threads.ToString(CultureInfo.InvariantCulture),
        "--seed", Seed.ToString(CultureInfo.InvariantCulture),
        .. _until is double until ? ["--table", "--table-seconds", until.ToString("F3", CultureInfo.InvariantCulture)] : Array.Empty<string>(),
    ];
}
