using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Net.Sockets;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;

namespace LowLevel.Perf;

/// <summary>What a chain costs on the split ring, beside what the processors take to pass a cache line there and back. Driver and device on two
/// threads, and in two processes; polling, and with notifications.</summary>
internal sealed class RingCommand : ICommand
{
    private static readonly TimeSpan Warmth = TimeSpan.FromMilliseconds(300);

    public string Name => "ring";

    public string Summary => "ns per chain on the ring, two threads and two processes, polling and notified, beside a cache-line exchange; --rounds 9";

    public int Run(Arguments arguments)
    {
        int rounds = arguments.Integer("rounds", 9, 1, 99);
        int milliseconds = arguments.Integer("milliseconds", 200, 10, 10_000);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();

        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"ring: queue of {RingMemory.QueueSize}, {rounds} interleaved rounds of {milliseconds} ms a cell");
        using RingMemory memory = RingMemory.Create();
        string path = Path.Combine(Path.GetTempPath(), $"lowlevel-ring-{Environment.ProcessId}");
        using Socket listener = UnixSockets.Listen(path);
        using ChildProcess child = ChildProcess.Start("ring", "ring-child", "--socket", path);
        Share(memory, listener);
        File.Delete(path);
        RingCell[] cells = [.. Cells()];
        List<double>[] times = [.. cells.Select(_ => new List<double>())];
        foreach (RingCell cell in cells)
        {
            Measure(memory, child, cell, Warmth);
        }

        for (int round = 0; round < rounds; round++)
        {
            foreach (int i in PeersPlan.InTurn([.. Enumerable.Range(0, cells.Length)], round, 0))
            {
                times[i].Add(Measure(memory, child, cells[i], TimeSpan.FromMilliseconds(milliseconds)));
            }
        }

        Write(cells, times, report);
        report.Save();
        return Program.Success;
    }

    private static IEnumerable<RingCell> Cells()
    {
        foreach (bool isAcross in (bool[])[false, true])
        {
            yield return new RingCell(isAcross, RingMode.Exchange, 0, 0);
            foreach (RingMode mode in (RingMode[])[RingMode.Polling, RingMode.Notifications])
            {
                foreach (int chain in (int[])[1, 32])
                {
                    yield return new RingCell(isAcross, mode, chain, 1);
                    yield return new RingCell(isAcross, mode, chain, RingMemory.InFlightMax);
                }
            }
        }
    }

    private static double Measure(RingMemory memory, ChildProcess child, RingCell cell, TimeSpan time)
    {
        memory.MakeDriver(); // clears the ring before the other side looks at it
        Volatile.Write(ref memory.Stop, 0);
        memory.Word(0) = memory.Word(1) = 0;
        if (cell.IsAcross)
        {
            child.Send(cell.Mode.ToString());
            child.WaitFor("ready");
            double across = RingLoops.Driver(memory, cell.Mode, cell.Chain, cell.InFlight, time);
            child.WaitFor("done");
            return across;
        }

        Thread device = new(() => RingLoops.Device(memory, cell.Mode)) { IsBackground = true, Name = "ring device" };
        device.Start();
        double within = RingLoops.Driver(memory, cell.Mode, cell.Chain, cell.InFlight, time);
        device.Join();
        return within;
    }

    private static void Share(RingMemory memory, Socket listener)
    {
        using Socket socket = listener.Accept();
        Errno error = LinuxDescriptors.Instance.Send((int)socket.Handle, [0], memory.Files, out _);
        if (error != Errno.None)
        {
            throw new MeasurementException($"the ring's files could not be sent: {error}");
        }
    }

    private static void Write(RingCell[] cells, List<double>[] times, JsonReport report)
    {
        Console.Out.WriteLine();
        Console.Out.WriteLine("sides          mode           in chain  under way    ns per chain, median (min..max)   descriptors/s   chain / exchange");
        double exchange = 0;
        for (int i = 0; i < cells.Length; i++)
        {
            RingCell cell = cells[i];
            Summary summary = Statistics.Summarise(times[i]);
            exchange = cell.Mode == RingMode.Exchange ? summary.Median : exchange;
            string range = $"{summary.Median:0.0} ({summary.Least:0.0}..{summary.Most:0.0})";
            string rest = cell.Mode == RingMode.Exchange
                ? ""
                : $"{cell.Chain / summary.Median * 1e9,16:0}{summary.Median / exchange,19:0.00}";
            Console.Out.WriteLine($"{cell.Sides,-15}{cell.Mode.ToString().ToLowerInvariant(),-15}{cell.Chain,8}{cell.InFlight,11}{range,36}{rest}");
            report.Row(
                ("sides", cell.Sides), ("mode", cell.Mode.ToString()), ("chain", cell.Chain), ("in_flight", cell.InFlight),
                ("ns_per_chain", summary.Median), ("ns_min", summary.Least), ("ns_max", summary.Most), ("to_exchange", summary.Median / exchange));
        }

        Console.Out.WriteLine();
        Console.Out.WriteLine("exchange: a word to the other side and back; a chain of 32 is one descriptor and an indirect table, as the balloon driver publishes it");
    }

    private sealed record RingCell(bool IsAcross, RingMode Mode, int Chain, int InFlight)
    {
        public string Sides => IsAcross ? "two processes" : "two threads";
    }
}
