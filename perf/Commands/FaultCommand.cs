using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>What treatment costs where memory is taken, touched and given back without a pause (<see cref="FaultLoop"/>), the kernel
/// list's own measure for this feature. Off and a mode are measured next to each other, in changing order, many times; the figure
/// is the median of the ratios within the pairs, with its 95 % interval. Each slice has a fresh arena: one that was kept would rest,
/// and be treated, while the other is measured, and its next slice would begin by paying for that. The kernel's test maps and
/// unmaps, so that every page is a fault; an arena keeps its memory, so here a page is a fault only after it was treated. A slice
/// is longer than the default delay. In the worker's mode nothing of the loop rests, so what is paid for is the free path's test
/// and the passes; the freeing thread acts at the high-water mark, and its reactor is so small (8) that the loop's free blocks reach
/// it: there each pass over the memory is treated and faulted in again. The last column says how much was treated.</summary>
internal sealed class FaultCommand : ICommand
{
    private const int SmallReactor = 8;

    private static readonly string[] Modes = ["worker", "freeing-thread"];

    public string Name => "fault";

    public string Summary => "will-it-scale's page_fault1 with treatment off, in the worker, in the freeing thread; --pairs 9, --seconds 1.25, --threads n";

    public int Run(Arguments arguments)
    {
        int pairs = arguments.Integer("pairs", 9, 1, 999);
        var slice = TimeSpan.FromSeconds(arguments.Number("seconds", 1.25, 0.01, 60));
        int most = arguments.Integer("threads", Environment.ProcessorCount, 1, 256);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"fault: {pairs} interleaved pairs of {slice.TotalSeconds:0.##} s; one iteration is one page of 4 KiB written"));
        Console.Out.WriteLine($"{"test",-12}{"threads",8}  {"mode",-15}{"iterations/s, median (min..max)",36}   ratio to off, median [95 %]   treated MiB/s");
        foreach ((string test, int order) in new[] { ("page_fault1", 10), ("order0", 0) })
        {
            foreach (int threads in ThreadCounts(most))
            {
                Measure(test, new FaultLoop(order), threads, pairs, slice, report);
            }
        }

        report.Save();
        return Program.Success;
    }

    /// <summary>1, 2, 4, ... and the most.</summary>
    public static IEnumerable<int> ThreadCounts(int most)
    {
        for (int threads = 1; threads < most; threads *= 2)
        {
            yield return threads;
        }

        yield return most;
    }

    private static void Measure(string test, FaultLoop loop, int threads, int pairs, TimeSpan slice, JsonReport report)
    {
        // One slice of each that is not counted: it compiles the code and warms the machine's memory.
        Slice(loop, "off", threads, slice, out _);
        var off = new List<double>();
        var rates = Modes.ToDictionary(m => m, _ => new List<double>());
        var ratios = Modes.ToDictionary(m => m, _ => new List<double>());
        var treated = Modes.ToDictionary(m => m, _ => new List<double>());
        foreach (string mode in Modes)
        {
            Slice(loop, mode, threads, slice, out _);
        }

        for (int pair = 0; pair < pairs; pair++)
        {
            foreach (string mode in Modes)
            {
                bool offFirst = pair % 2 == 0;
                double first = Slice(loop, offFirst ? "off" : mode, threads, slice, out double firstTreated);
                double second = Slice(loop, offFirst ? mode : "off", threads, slice, out double secondTreated);
                (double without, double with) = offFirst ? (first, second) : (second, first);
                off.Add(without);
                rates[mode].Add(with);
                ratios[mode].Add(with / without);
                treated[mode].Add(firstTreated + secondTreated); // one of the two is off, and treats nothing
            }
        }

        Row(test, "off", threads, Statistics.Summarise(off), null, 0, report);
        foreach (string mode in Modes)
        {
            Row(test, mode, threads, Statistics.Summarise(rates[mode]), Statistics.Summarise(ratios[mode]), treated[mode].Average(), report);
        }
    }

    private static double Slice(FaultLoop loop, string mode, int threads, TimeSpan slice, out double treatedMibPerSecond)
    {
        var aeration = new AerationOptions
        {
            Enabled = mode != "off",
            Context = mode == "freeing-thread" ? AerationContext.FreeingThread : AerationContext.Worker,
        };
        if (mode == "freeing-thread")
        {
            aeration.ReactorCapacity = SmallReactor;
        }

        using PageArena arena = PageArena.Create(new PageArenaOptions { Aeration = aeration });
        double rate = loop.Measure(arena, threads, slice);
        treatedMibPerSecond = arena.Aerator.PagesTreated / 256.0 / slice.TotalSeconds;
        return rate;
    }

    private static void Row(string test, string mode, int threads, Summary rate, Summary? ratio, double treated, JsonReport report)
    {
        string rates = string.Create(CultureInfo.InvariantCulture, $"{rate.Median:0} ({rate.Least:0}..{rate.Most:0})");
        string ratios = ratio is Summary r ? string.Create(CultureInfo.InvariantCulture, $"{r.Median:0.000} [{r.Low:0.000}, {r.High:0.000}]") : "1";
        Console.Out.WriteLine($"{test,-12}{threads,8}  {mode,-15}{rates,36}   {ratios,-29}{treated.ToString("0", CultureInfo.InvariantCulture),12}");
        report.Row(
            ("test", test),
            ("mode", mode),
            ("threads", threads),
            ("iterations_per_second", rate.Median),
            ("ratio_to_off", ratio?.Median ?? 1.0),
            ("ratio_low", ratio?.Low ?? 1.0),
            ("ratio_high", ratio?.High ?? 1.0),
            ("treated_mib_per_second", treated));
    }
}
