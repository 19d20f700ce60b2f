using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>A live view of any process that embeds an arena, over its diagnostics port: nothing in the process is prepared for it.
/// In a terminal a frame that is drawn over itself, elsewhere a line a refresh.</summary>
internal sealed class WatchCommand : ICommand
{
    private const string Clear = "\u001b[H\u001b[J";
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    public string Name => "watch";

    public string? Operand => "PID";

    public string Summary => "PID: live view of a process that embeds an arena; --seconds N (until it ends or Control-C)";

    public int Run(Arguments arguments)
    {
        int process = ReadProcess(arguments);
        double seconds = arguments.Number("seconds", 1e9, 0.1, 1e9);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        WatchModel model = new();
        Watch(model, process, seconds);
        foreach (ArenaView arena in model.Arenas.Values)
        {
            report.Row([("arena", arena.Id), ("name", arena.Name), .. arena.Instruments.Select(i => (i, (object?)(long)arena.Value(i)!.Value))]);
        }

        report.Save();
        return model.Arenas.Count > 0 ? Program.Success : throw new MeasurementException($"process {process} told nothing of an arena (meter {WatchSession.Meter})");
    }

    private static void Watch(WatchModel model, int process, double seconds)
    {
        using ManualResetEventSlim end = new();
        ConsoleCancelEventHandler stop = (_, e) =>
        {
            e.Cancel = true;
            end.Set();
        };
        Console.CancelKeyPress += stop;
        try
        {
            using WatchSession session = WatchSession.Attach(process, Interval, model);
            long start = Stopwatch.GetTimestamp();
            bool over = false;
            while (!over)
            {
                TimeSpan left = TimeSpan.FromSeconds(seconds) - Stopwatch.GetElapsedTime(start);
                over = end.Wait(left < Interval ? (left > TimeSpan.Zero ? left : TimeSpan.Zero) : Interval) || left <= Interval || session.HasEnded;
                if (!TryReadResident(process, model))
                {
                    Console.Out.WriteLine($"process {process} has ended");
                    break;
                }

                Draw(model, process, Stopwatch.GetElapsedTime(start));
            }
        }
        finally
        {
            Console.CancelKeyPress -= stop;
        }
    }

    private static int ReadProcess(Arguments arguments)
    {
        string text = arguments.Operand ?? throw new UsageException("PID is missing; allowed: the number of a process, as in: watch 1234");
        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int process) && process > 0
            ? process
            : throw new UsageException($"PID: '{text}' is not allowed; allowed: the number of a process");
    }

    private static bool TryReadResident(int process, WatchModel model)
    {
        try
        {
            model.ResidentBytes = Smaps.StatmResidentBytes(process);
            return true;
        }
        catch (Exception e) when (e is IOException or InvalidDataException)
        {
            return false;
        }
    }

    private static void Draw(WatchModel model, int process, TimeSpan elapsed)
    {
        lock (model)
        {
            if (Console.IsOutputRedirected)
            {
                WatchFrame.Plain(model, elapsed, Interval).ForEach(Console.Out.WriteLine);
            }
            else
            {
                Console.Out.Write(Clear + string.Join('\n', WatchFrame.Lines(model, process, elapsed, Interval)) + "\n");
            }

            model.EndInterval();
        }
    }
}
