using System;
using System.Globalization;
using System.IO;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>What parent and child of a replay agree on.</summary>
internal sealed class ReplayPlan
{
    private ReplayPlan(DemandCurve trace, string path, double scale, double speed, int threads, ulong seed)
    {
        Trace = trace;
        Path = path;
        Scale = scale;
        Speed = speed;
        Threads = threads;
        Seed = seed;
        Curve = trace.Scaled(scale, speed);
    }

    /// <summary>As recorded.</summary>
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

    /// <summary>The delay before treatment runs on the trace's clock too: one second there is this long here.</summary>
    public TimeSpan Delay => new AerationOptions().Delay / Speed;

    public static ReplayPlan Read(Arguments arguments)
    {
        string path = arguments.InputFile("demand", System.IO.Path.Combine(AppContext.BaseDirectory, "Demand", "clang-build.csv"));
        double scale = arguments.Number("scale", 1.0 / 8, 1.0 / 1024, 4);
        double speed = arguments.Number("speed", 60, 1, 1000);
        int threads = arguments.Integer("threads", 2, 1, 64);
        var seed = (ulong)arguments.Integer("seed", 1, 0, int.MaxValue);
        DemandCurve trace = DemandCurve.Load(path);
        LinuxSystem os = LinuxSystem.Instance;
        ulong room = Math.Min(os.CgroupMemoryLimitBytes ?? ulong.MaxValue, os.PhysicalMemoryBytes) / 4 * 3;
        if (trace.PeakBytes * scale > room)
        {
            throw new UsageException(string.Create(
                CultureInfo.InvariantCulture,
                $"option --scale: the demand's peak is {trace.PeakBytes >> 20} MiB; allowed here: at most {(double)room / trace.PeakBytes:0.###}"));
        }

        return new ReplayPlan(trace, path, scale, speed, threads, seed);
    }

    /// <summary>For the child's command line.</summary>
    public string[] ToArguments() =>
    [
        "--demand", Path,
        "--scale", Scale.ToString("F12", CultureInfo.InvariantCulture),
        "--speed", Speed.ToString("F12", CultureInfo.InvariantCulture),
        "--threads", Threads.ToString(CultureInfo.InvariantCulture),
        "--seed", Seed.ToString(CultureInfo.InvariantCulture),
    ];

    public PageArenaOptions Options(bool treated) => new() { Aeration = new AerationOptions { Enabled = treated, Delay = Delay } };
}
