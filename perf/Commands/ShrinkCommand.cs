using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Host;

namespace LowLevel.Perf;

/// <summary>How fast free memory goes back when it is asked for: from the request to the cgroup's charge gone. In process the request is
/// <c>Trim</c>; across processes a host wants it in the balloon. Beside the bare loop of madvise calls on as much memory.</summary>
internal sealed class ShrinkCommand : ICommand
{
    private const int BlockMebibytes = 4;
    private const int PagesPerBlock = BlockMebibytes * 256;

    public string Name => "shrink";

    public string Summary => "GiB/s from the request to the charge gone: bare loop, in process, under a host both ways, 1 and 4 guests; --gib 8, --rounds 3";

    public int Run(Arguments arguments)
    {
        int gibibytes = arguments.Integer("gib", 8, 1, 1024);
        int rounds = arguments.Integer("rounds", 3, 1, 99);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"shrink: {gibibytes} GiB touched and freed as blocks of {BlockMebibytes} MiB, {rounds} interleaved rounds");
        ShrinkCell[] cells =
        [
            new("bare", 1, false), new("arena", 1, false), new("own", 1, true), new("own", 4, true), new("memfd", 1, true), new("memfd", 4, true),
        ];
        List<ShrinkRun>[] runs = [.. cells.Select(_ => new List<ShrinkRun>())];
        for (int round = 0; round < rounds; round++)
        {
            foreach (int i in PeersPlan.InTurn([.. Enumerable.Range(0, cells.Length)], round, 0))
            {
                runs[i].Add(ShrinkRun.Measure(cells[i], gibibytes * 1024 / BlockMebibytes, PagesPerBlock));
                Console.Out.WriteLine($"  {cells[i].Title}, {cells[i].Guests} guests: {gibibytes / runs[i][^1].Seconds:0.0} GiB/s");
            }
        }

        Write(cells, runs, gibibytes, report);
        report.Save();
        return Program.Success;
    }

    private static void Write(ShrinkCell[] cells, List<ShrinkRun>[] runs, int gibibytes, JsonReport report)
    {
        Console.Out.WriteLine();
        Console.Out.WriteLine("who drops                       guests      GiB/s, median (min..max)   to bare loop    charge left, MiB");
        double bare = Statistics.Summarise([.. runs[0].Select(r => gibibytes / r.Seconds)]).Median;
        for (int i = 0; i < cells.Length; i++)
        {
            Summary speed = Statistics.Summarise([.. runs[i].Select(r => gibibytes / r.Seconds)]);
            long left = runs[i].Max(r => r.LeftBytes);
            string range = $"{speed.Median:0.0} ({speed.Least:0.0}..{speed.Most:0.0})";
            Console.Out.WriteLine($"{cells[i].Title,-32}{cells[i].Guests,6}{range,30}{speed.Median / bare,15:0.00}{left >> 20,20}");
            report.Row(
                ("contestant", cells[i].Kind), ("guests", cells[i].Guests), ("gib_per_second", speed.Median), ("gib_per_second_min", speed.Least),
                ("gib_per_second_max", speed.Most), ("to_bare", speed.Median / bare), ("left_bytes", left));
        }

        Console.Out.WriteLine();
        Console.Out.WriteLine("published (HyperAlloc, EuroSys'25, another machine): HyperAlloc 314, balloon with huge pages 121, virtio-mem 31, balloon 0.86 GiB/s");
    }
}

/// <summary>A contestant of shrink.</summary>
internal sealed record ShrinkCell(string Kind, int Guests, bool HasHost)
{
    public string Title => Kind switch
    {
        "bare" => "bare loop of madvise",
        "arena" => "in process, Trim",
        "own" => "anonymous, the guest drops",
        _ => "memfd, the host punches",
    };
}

/// <summary>One run.</summary>
/// <param name="Seconds">From the request to the charge gone.</param>
/// <param name="LeftBytes">Charge of all guests afterwards, net of their baseline.</param>
internal sealed record ShrinkRun(double Seconds, long LeftBytes)
{
    /// <summary>The guest's cap is so much above what it takes, as a share of that.</summary>
    public const int Margin = 32;

    private const double ChargeGone = 0.02;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    public static ShrinkRun Measure(ShrinkCell cell, int blocks, int pagesPerBlock)
    {
        string path = Path.Combine(Path.GetTempPath(), $"lowlevel-shrink-{Environment.ProcessId}");
        using HostServer? host = cell.HasHost ? Host(path) : null;
        int each = blocks / cell.Guests;
        string[] where = cell.HasHost ? ["--host", path] : [];
        ChildProcess[] children = new ChildProcess[cell.Guests];
        try
        {
            for (int i = 0; i < children.Length; i++)
            {
                children[i] = ChildProcess.Start(cell.Kind, ["shrink-child", "--kind", cell.Kind, "--blocks", $"{each}", .. where]);
            }

            long[] bases = [.. children.Select(c => Wait(c, "base"))];
            Tell(children, "fill");
            Array.ForEach(children, c => c.WaitFor("full"));
            Tell(children, "free");
            Array.ForEach(children, c => c.WaitFor("free"));
            double seconds = cell.HasHost
                ? Deflate(host!, children, bases, each * pagesPerBlock)
                : Trim(children[0]);
            long left = children.Zip(bases, (c, b) => Charge(c) - b).Sum();
            Tell(children, "finish");
            return new ShrinkRun(seconds, left);
        }
        finally
        {
            Array.ForEach(children, c => c?.Dispose());
        }
    }

    private static HostServer Host(string path)
    {
        File.Delete(path);
        HostServer host = new(new HostOptions { Path = path, BudgetBytes = 1ul << 50, Interval = TimeSpan.FromSeconds(5) });
        host.Start();
        return host;
    }

    private static long Wait(ChildProcess child, string word)
    {
        child.WaitFor(word);
        return Charge(child);
    }

    private static void Tell(ChildProcess[] children, string word) => Array.ForEach(children, c => c.Send(word));

    private static long Charge(ChildProcess child)
    {
        Usage usage = child.Exact();
        return usage.Charge ?? usage.Rss;
    }

    private static double Trim(ChildProcess child)
    {
        child.Send("trim");
        return child.WaitFor("trimmed").Number(1);
    }

    /// <summary>The host wants all that the guests have; the kernel's word on the charge is the end.</summary>
    private static double Deflate(HostServer host, ChildProcess[] children, long[] bases, int pages)
    {
        var guests = host.Guests;
        if (guests.Count != children.Length)
        {
            throw new MeasurementException($"{guests.Count} guests have come to the host instead of {children.Length}");
        }

        Stopwatch watch = Stopwatch.StartNew();
        foreach (GuestStatus guest in guests)
        {
            host.SetTarget(guest.Id, (uint)(pages + (pages / Margin)));
        }

        host.Wake();
        bool isGone = false;
        while (!isGone && watch.Elapsed < Patience)
        {
            Thread.Sleep(TimeSpan.FromMilliseconds(0.5)); // looks must not take the processor from those who are looked at
            isGone = children.Zip(bases, (c, b) => Charge(c) - b).Sum() < ChargeGone * 4096.0 * pages * children.Length;
        }

        return isGone
            ? watch.Elapsed.TotalSeconds
            : throw new MeasurementException($"the guests did not give their memory in two minutes: {string.Join("; ", host.Guests)}");
    }
}
