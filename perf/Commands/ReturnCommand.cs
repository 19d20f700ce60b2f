using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>How much memory is given back, how soon, and what it costs to give it and to take it again (<see cref="ReturnLoad"/>):
/// the arena with several settings beside other allocators, each in a process and, where the machine lets it, a memory cgroup of
/// its own. Idle times overlap, busy ones never do. Before each allocation a helper outside the contestant's cgroup touches and
/// frees memory (<see cref="HostWarmth"/>). All figures are net of the baseline, which is read after the code was compiled and
/// before the arena or the first block exists.</summary>
internal sealed class ReturnCommand : ICommand
{
    private const long MostBytes = 16L << 30;

    public string Name => "return";

    public string Summary =>
        "nine tenths freed at random: what stays charged, what it costs; --contestants a,b, --rounds 1, --gib 4, --seed 1, --thp madvise|always|never";

    public int Run(Arguments arguments)
    {
        ReturnShape shape = ReturnShape.Read(arguments);
        IReadOnlyList<ReturnContestant> contestants = ReturnContestant.Read(arguments.Text("contestants"));
        int rounds = arguments.Integer("rounds", 1, 1, 99);
        var pace = new ReturnPace(arguments.Number("hurry", 1, 1, 1000));
        string? thp = arguments.Choice("thp", "", "madvise", "always", "never") is { Length: > 0 } mode ? mode : null;
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();
        long room = Room(shape);

        using HugePageSetting? setting = HugePageSetting.Set(thp);
        Introduce(shape, pace, contestants);
        using var schedule = new ReturnSchedule(shape, pace, room);
        ReturnContestant[] present = [.. contestants.Where(c => c.Absence is null)];
        for (int round = 0; round < rounds; round++)
        {
            // Another one begins each time: what drifts with time falls on all.
            int turn = round % Math.Max(1, present.Length);
            schedule.Run(present.Skip(turn).Concat(present.Take(turn)));
        }

        List<ReturnResult> results = [.. contestants.Select(c => ReturnResult.Of(c, schedule.Runs))];
        ReturnTable.Write(Console.Out, results);
        ReturnTargets.Write(Console.Out, results, schedule.Runs);
        foreach (ReturnResult result in results)
        {
            report.Row(ReturnTable.Row(result));
        }

        if (schedule.Runs.Count > 0)
        {
            string picture = Path.Combine("artifacts", "return.png");
            ReturnPicture.Save(picture, [.. schedule.Runs.Take(present.Length).Select(ReturnCurve.Of)]);
            Console.Out.WriteLine($"wrote {picture}");
        }

        report.Save();
        return Program.Success;
    }

    // Two contestants at once at least, never more than the bound, never more than the machine has to spare.
    private static long Room(ReturnShape shape)
    {
        LinuxSystem os = LinuxSystem.Instance;
        ulong most = Math.Min(os.CgroupMemoryLimitBytes ?? ulong.MaxValue, os.PhysicalMemoryBytes) / 4 * 3;
        long room = (long)Math.Min(most, MostBytes);
        return shape.Bytes * 5 / 4 <= room
            ? room
            : throw new UsageException(string.Create(
                CultureInfo.InvariantCulture,
                $"option --gib: {shape.Bytes / (double)(1L << 30):0.##} is more than this machine has room for; allowed here: at most {room * 0.8 / (1L << 30):0.##}"));
    }

    private static void Introduce(ReturnShape shape, ReturnPace pace, IReadOnlyList<ReturnContestant> contestants)
    {
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"return: {shape.Bytes >> 20} MiB in blocks of 64 KiB to 2 MiB, each size as likely, every page touched; {ReturnShape.FreedShare:0 %} of the blocks freed at "
            + $"random; {pace.Instants[^1]:0.##} s idle; {shape.SecondBytes >> 20} MiB more; {pace.Rest:0.##} s idle; seed {shape.Seed}"));
        if (pace.Hurry > 1)
        {
            Console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"--hurry {pace.Hurry:0.#}: every wait is divided by it, whatever the names of the columns say; for trying the command out"));
        }

        foreach (ReturnContestant absent in contestants.Where(c => c.Absence is not null))
        {
            Console.Out.WriteLine($"{absent.Name}: absent, {absent.Absence}");
        }
    }
}
