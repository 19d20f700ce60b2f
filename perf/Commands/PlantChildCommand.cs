using System;
using System.Diagnostics;
using System.Threading;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>One contestant of the plant, in its own process. Words to the parent: warm; burst n; live bytes; idle live seconds;
/// map letters (an arena's pageblocks, twice a second); result cpu cycles pages metadata (-1 where there is no arena).</summary>
internal sealed class PlantChildCommand : ICommand
{
    private static readonly TimeSpan Gap = TimeSpan.FromSeconds(1.5);
    private static readonly TimeSpan LiveInterval = TimeSpan.FromMilliseconds(50);

    private static readonly TimeSpan MapInterval = TimeSpan.FromMilliseconds(500);

    private long _lastLive;

    public string Name => "plant-child";

    public string Summary => "one contestant of the plant";

    public int Run(Arguments arguments)
    {
        using var side = new ChildSide();
        string contestant = arguments.Choice("contestant", BufferSource.Names);
        LoadShape shape = PlantCommand.ReadShape(arguments);
        arguments.End();

        Rehearse(shape);
        using var load = new ServiceLoad(shape);
        HostWarmth.Warm(shape.PeakBytes + (shape.PeakBytes / 4));
        ChildSide.Say("warm");
        ChildSide.Await("go");
        TimeSpan processor = Environment.CpuUsage.TotalTime;
        using var source = BufferSource.Create(contestant);
        using (new Repeated(MapInterval, () => SayMap(source)))
        {
            TimeSpan busy = RunBursts(load, source, shape.Bursts);
            ChildSide.Say("idle", load.LiveBytes, busy.TotalSeconds);
            ChildSide.Await("finish");
        }

        processor = Environment.CpuUsage.TotalTime - processor;
        ArenaStatistics? statistics = source.Statistics;
        source.Verify();
        load.GiveBackAll();
        source.Verify();
        ChildSide.Say(
            "result",
            processor.TotalSeconds,
            statistics?.Cycles ?? -1,
            statistics?.PagesTreated ?? -1,
            statistics?.MetadataBytes ?? -1);
        return Program.Success;
    }

    // Compiles the load's code on buffers that leave nothing behind.
    private static void Rehearse(LoadShape shape)
    {
        using var load = new ServiceLoad(shape with { PeakBytes = Math.Min(shape.PeakBytes, 64 << 20), Bursts = 1 });
        using var source = new MappingSource();
        load.RunBurst(source, () => { });
        load.GiveBackAll();
        GC.Collect();
    }

    private TimeSpan RunBursts(ServiceLoad load, BufferSource source, int bursts)
    {
        TimeSpan busy = TimeSpan.Zero;
        for (int burst = 1; burst <= bursts; burst++)
        {
            ChildSide.Say("burst", burst);
            busy += load.RunBurst(source, () => SayLive(load));
            ChildSide.Say("live", load.LiveBytes);
            if (burst < bursts)
            {
                Thread.Sleep(Gap); // the pause between two bursts is part of the load
            }
        }

        return busy;
    }

    private static void SayMap(BufferSource source)
    {
        if (source.Map is ArenaMap map)
        {
            ChildSide.Say("map", MapText.Of(map));
        }
    }

    private void SayLive(ServiceLoad load)
    {
        if (Stopwatch.GetElapsedTime(_lastLive) >= LiveInterval)
        {
            _lastLive = Stopwatch.GetTimestamp();
            ChildSide.Say("live", load.LiveBytes);
        }
    }

    /// <summary>Does something again and again on a thread of its own until it is disposed.</summary>
    private sealed class Repeated : IDisposable
    {
        private readonly ManualResetEventSlim _end = new();
        private readonly Thread _thread;

        public Repeated(TimeSpan interval, Action action)
        {
            _thread = new Thread(() =>
            {
                do
                {
                    action();
                }
                while (!_end.Wait(interval));
            }) { IsBackground = true };
            _thread.Start();
        }

        public void Dispose()
        {
            _end.Set();
            _thread.Join();
            _end.Dispose();
        }
    }
}
