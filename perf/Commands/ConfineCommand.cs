using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The arena in processes that may not do everything: system calls that a container's seccomp filter refuses, locked memory, no huge pages,
/// limits on data, address space and the memory cgroup. Each does what the stress does; ends well only if nothing was lost and whatever was refused
/// said why.</summary>
internal sealed class ConfineCommand : ICommand
{
    private const string GcLimit = "10000000"; // hexadecimal, 256 MiB: the GC reserves no more than a few times that

    public string Name => "confine";

    public string Summary => "the stress where a container's filter, limits or locked memory take things away; --seconds 5 each, --seed N, --kind NAME";

    public int Run(Arguments arguments)
    {
        int seconds = arguments.Integer("seconds", 5, 1, 3600);
        int seed = arguments.Integer("seed", 1, 0, int.MaxValue);
        string kind = arguments.Choice("kind", ["all", .. ConfinedKind.All.Select(k => k.Name)]);
        var report = new JsonReport(Name, arguments.JsonPath);
        arguments.End();
        Console.Out.WriteLine(Machine.Line());
        Console.Out.WriteLine($"confine: {seconds} s each, seed {seed}");
        int bad = 0;
        foreach (ConfinedKind one in ConfinedKind.All.Where(k => kind is "all" || k.Name == kind))
        {
            bad += Measure(one, seconds, seed, report);
        }

        report.Save();
        return bad == 0 ? Program.Success : Program.Failure;
    }

    private static int Measure(ConfinedKind kind, int seconds, int seed, JsonReport report)
    {
        Dictionary<string, string> environment = kind.IsLimited ? new() { ["DOTNET_GCHeapHardLimit"] = GcLimit } : [];
        using ChildProcess child = ChildProcess.Start(
            kind.Name, ["confined-child", "--kind", kind.Name, "--seconds", $"{seconds}", "--seed", $"{seed}"], environment);
        List<string> violations = [];
        SortedSet<string> said = [];
        Message end = child.WaitFor("end", m => Note(m, violations, said));
        Console.Out.WriteLine($"  {kind.Title,-48} {end.Whole(1),9} operations, {end.Whole(2),4} rounds, {violations.Count} violations");
        foreach (string line in said.Take(3).Concat(violations))
        {
            Console.Out.WriteLine($"      {line}");
        }

        report.Row(
            ("kind", kind.Name), ("operations", end.Whole(1)), ("rounds", end.Whole(2)), ("refusals_with_reason", said.Count), ("violations", violations.Count));
        child.Send("finish");
        return violations.Count;
    }

    private static void Note(Message message, List<string> violations, SortedSet<string> said)
    {
        if (message.Subject == "violation")
        {
            violations.Add(message.Words[1]);
        }
        else if (message.Subject == "said")
        {
            said.Add("said: " + message.Words[1]);
        }
    }
}

/// <summary>One way to be confined.</summary>
/// <param name="Name">As it is typed.</param>
/// <param name="Title">As it is read.</param>
/// <param name="Denied">System calls that fail with EPERM.</param>
internal sealed record ConfinedKind(string Name, string Title, params string[] Denied)
{
    public static ConfinedKind[] All { get; } =
    [
        new("process_madvise", "seccomp: process_madvise fails with EPERM", "process_madvise"),
        new("madvise", "seccomp: madvise and process_madvise fail", "madvise", "process_madvise"),
        new("membarrier", "seccomp: membarrier fails", "membarrier"),
        new("memfd", "seccomp: memfd_create fails", "memfd_create"),
        new("fallocate", "seccomp: fallocate (hole punching) fails", "fallocate"),
        new("locked", "mlockall: what is touched stays"),
        new("no-thp", "no huge pages (PR_SET_THP_DISABLE)"),
        new("data", "RLIMIT_DATA 1 GiB, arena of 8 GiB") { IsLimited = true },
        new("address-space", "RLIMIT_AS 8 GiB") { IsLimited = true },
        new("cgroup", "memory cgroup of 384 MiB, filled to the cap") { IsLimited = true },
    ];

    /// <summary>Whether the GC must be told to be modest.</summary>
    public bool IsLimited { get; init; }
}
