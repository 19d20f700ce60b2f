using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>How near treatment comes to its limit: bytes of resident free blocks of 2 MiB treated per second of this process's CPU time,
/// against a bare loop of the same calls on the same ranges. What is between the two is the arena's own: lists, locks, ring, gate, wake-ups.
/// Not for BenchmarkDotNet: the memory has to be touched again before each call, and time on two threads counts, not time on the wall.
/// Arena and loop take turns, in changing order, on memory that was touched just before.</summary>
internal static class BenchLimit
{
    private const int Order = 9;
    private const int BlockBytes = 4096 << Order;
    private const int RangesPerCall = 32;
    private const int WarmRounds = 2;
    private const int WarmBlocks = 4;
    private static readonly TimeSpan s_warmUp = TimeSpan.FromMilliseconds(200);

    private const string Tiering = "DOTNET_TieredCompilation";

    private static readonly string[] Modes = ["madvise", "process_madvise"];

    /// <summary>Measures in a process that compiles each method once and for good: the thread that compiles in the background is on this
    /// process's bill too, and works for a long time.</summary>
    public static int RunCompiled(int blocks, int rounds, int capacity, JsonReport report, string? json)
    {
        if (Environment.GetEnvironmentVariable(Tiering) == "0")
        {
            Run(blocks, rounds, capacity, report);
            report.Save();
            return Program.Success;
        }

        var start = new ProcessStartInfo(Environment.ProcessPath ?? "dotnet") { Environment = { [Tiering] = "0" } };
        if (Path.GetFileNameWithoutExtension(start.FileName) == "dotnet")
        {
            start.ArgumentList.Add(typeof(BenchLimit).Assembly.Location);
        }

        string[] options = ["bench", "--limit", "--blocks", $"{blocks}", "--rounds", $"{rounds}", "--capacity", $"{capacity}"];
        foreach (string option in json is null ? options : [.. options, "--json", json])
        {
            start.ArgumentList.Add(option);
        }

        using Process child = Process.Start(start) ?? throw new MeasurementException("limit: the process did not start");
        child.WaitForExit();
        return child.ExitCode;
    }

    private static void Run(int blocks, int rounds, int capacity, JsonReport report)
    {
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"limit: {blocks} free blocks of 2 MiB, all touched, batches of {capacity}, {rounds} interleaved rounds; bytes per second of CPU time");
        Console.Out.WriteLine($"{"mode",-18}{"arena, GiB/s",14}{"bare loop, GiB/s",18}   ratio, median (min..max)");
        Side[] sides = [.. Modes.Select(mode => new Side(mode, blocks, capacity))];
        try
        {
            foreach (Side side in sides.Where(s => s.IsPossible))
            {
                side.WarmUp();
            }

            for (int round = -WarmRounds; round < rounds; round++)
            {
                foreach (Side side in sides.Where(s => s.IsPossible))
                {
                    side.Round(arenaFirst: round % 2 == 0, counts: round >= 0);
                }
            }

            Array.ForEach(sides, side => side.Tell(report));
        }
        finally
        {
            Array.ForEach(sides, side => side.Dispose());
        }
    }

    /// <summary>One mode: an arena whose host makes these calls, and its blocks.</summary>
    private sealed class Side : IDisposable
    {
        private readonly string _mode;
        private readonly PageArena _arena;
        private readonly nint[] _blocks;
        private readonly List<double> _arenaRates = [];
        private readonly List<double> _bareRates = [];
        private readonly List<double> _ratios = [];

        /// <summary>Takes pairs of blocks and works with the first of each: its buddy stays taken, so that it does not merge.</summary>
        public unsafe Side(string mode, int blocks, int capacity)
        {
            _mode = mode;
            _arena = BenchArena.Create(AerationContext.Worker, Order, capacity, oneRangePerCall: mode == Modes[0]);
            nint[] all = [.. Enumerable.Range(0, 2 * blocks).Select(_ => (nint)_arena.AllocatePages(Order)).Order()];
            _blocks = [.. all.Where((_, i) => i % 2 == 0)];
            IsPossible = mode == Modes[0] || Call(_blocks.AsSpan(0, 1)) == Errno.None;
        }

        /// <summary>Whether the kernel takes such calls.</summary>
        public bool IsPossible { get; }

        /// <summary>Everything has run, and is compiled.</summary>
        public void WarmUp()
        {
            for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < s_warmUp;)
            {
                Span<nint> few = _blocks.AsSpan(0, Math.Min(WarmBlocks, _blocks.Length));
                Touch(few);
                Bare(few);
                ByArena(few);
            }
        }

        public void Round(bool arenaFirst, bool counts)
        {
            double first = Rate(arenaFirst);
            double second = Rate(!arenaFirst);
            if (counts)
            {
                (double arena, double bare) = arenaFirst ? (first, second) : (second, first);
                _arenaRates.Add(arena);
                _bareRates.Add(bare);
                _ratios.Add(arena / bare);
            }
        }

        public void Tell(JsonReport report)
        {
            if (!IsPossible)
            {
                Console.Out.WriteLine($"{_mode,-18}this kernel, or the container, does not take it");
                return;
            }

            Summary arena = Statistics.Summarise(_arenaRates);
            Summary bare = Statistics.Summarise(_bareRates);
            Summary ratio = Statistics.Summarise(_ratios);
            Console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{_mode,-18}{arena.Median / (1 << 30),14:0.0}{bare.Median / (1 << 30),18:0.0}   {ratio.Median:0.000} ({ratio.Least:0.000}..{ratio.Most:0.000})"));
            report.Row(
                ("row", "limit"),
                ("mode", _mode),
                ("bytes_per_cpu_second", arena.Median),
                ("bytes_per_cpu_second_bare", bare.Median),
                ("ratio", ratio.Median),
                ("min", ratio.Least),
                ("max", ratio.Most));
        }

        public void Dispose() => _arena.Dispose();

        private double Rate(bool byArena)
        {
            Touch(_blocks);
            double seconds = byArena ? ByArena(_blocks) : Bare(_blocks);
            return (double)_blocks.Length * BlockBytes / seconds;
        }

        private static unsafe void Touch(ReadOnlySpan<nint> blocks)
        {
            foreach (nint block in blocks)
            {
                // Sound: taken by this object, and 2 MiB long.
                for (int offset = 0; offset < BlockBytes; offset += 4096)
                {
                    ((byte*)block)[offset] = 1;
                }
            }
        }

        private double Bare(ReadOnlySpan<nint> blocks)
        {
            TimeSpan before = Environment.CpuUsage.TotalTime;
            Errno error = Call(blocks);
            double seconds = (Environment.CpuUsage.TotalTime - before).TotalSeconds;
            return error == Errno.None ? seconds : throw new MeasurementException($"the bare loop of {_mode}: {error}");
        }

        private Errno Call(ReadOnlySpan<nint> blocks)
        {
            LinuxSystem os = LinuxSystem.Instance;
            Span<AddressRange> vector = stackalloc AddressRange[RangesPerCall];
            Errno error = Errno.None;
            for (int i = 0; i < blocks.Length && error == Errno.None; i += RangesPerCall)
            {
                int count = Math.Min(RangesPerCall, blocks.Length - i);
                for (int k = 0; k < count; k++)
                {
                    vector[k] = new AddressRange(blocks[i + k], BlockBytes);
                }

                if (_mode == Modes[1])
                {
                    error = os.AdviseMany(vector[..count], MemoryAdvice.DontNeed, out nuint done);
                    error = error == Errno.None && done != (nuint)count * BlockBytes ? Errno.EAGAIN : error;
                    continue;
                }

                for (int k = 0; k < count && error == Errno.None; k++)
                {
                    error = os.Advise(vector[k].Address, vector[k].Bytes, MemoryAdvice.DontNeed);
                }
            }

            return error;
        }

        private unsafe double ByArena(Span<nint> blocks)
        {
            foreach (nint block in blocks)
            {
                // Sound: taken by this object; taken again below.
                _arena.FreePages((void*)block);
            }

            long treated = _arena.Aerator.PagesTreated;
            TimeSpan before = Environment.CpuUsage.TotalTime;
            _arena.Trim();
            double seconds = (Environment.CpuUsage.TotalTime - before).TotalSeconds;
            treated = _arena.Aerator.PagesTreated - treated;
            for (int i = 0; i < blocks.Length; i++)
            {
                blocks[i] = (nint)_arena.AllocatePages(Order);
            }

            blocks.Sort();
            return treated == (long)blocks.Length << Order
                ? seconds
                : throw new MeasurementException($"{treated} pages were treated, of {(long)blocks.Length << Order}; {_arena.Aerator.LostBatches} batches were lost");
        }
    }
}
