using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>The process that <c>perf confine</c> confines. It does so itself, begins anew, and works. Words to the parent: said text; violation text; end
/// operations rounds.</summary>
internal sealed class ConfinedChildCommand : ICommand
{
    private const ulong DataBytes = 1ul << 30;
    private const ulong AddressSpaceBytes = 8ul << 30;
    private const ulong GroupBytes = 384ul << 20;
    private const int Order = 4;
    private const int BlockBytes = 4096 << Order;

    public string Name => "confined-child";

    public string Summary => "a confined process of confine";

    public int Run(Arguments arguments)
    {
        string name = arguments.Choice("kind", [.. ConfinedKind.All.Select(k => k.Name)]);
        int seconds = arguments.Integer("seconds", 5, 1, 3600);
        int seed = arguments.Integer("seed", 1, 0, int.MaxValue);
        bool inside = arguments.Flag("inside");
        arguments.End();
        ConfinedKind kind = Array.Find(ConfinedKind.All, k => k.Name == name)!;
        if (!inside)
        {
            Confine(kind);
            Confinement.Again("--inside");
        }

        RequireConfined(kind);
        var watch = Stopwatch.StartNew();
        (long operations, int rounds) = kind.Name switch
        {
            "data" => Fill(8ul << 30, null, watch, seconds),
            "cgroup" => Fill(0, GroupBytes, watch, seconds),
            "address-space" => RefuseThenServe(watch, seconds, seed),
            _ => Stress(watch, seconds, seed),
        };
        ChildSide.Say("end", operations, rounds);
        ChildSide.Await("finish");
        return Program.Success;
    }

    private static void Confine(ConfinedKind kind)
    {
        switch (kind.Name)
        {
            case "no-thp": Confinement.DisableHugePages(); break;
            case "data": Confinement.LimitDataBytes(DataBytes); break;
            case "address-space": Confinement.LimitAddressSpaceBytes(AddressSpaceBytes); break;
            case "cgroup": Confinement.EnterGroup(GroupBytes); break;
            case "locked": break; // does not survive a beginning anew
            default: Confinement.Deny(kind.Denied); break;
        }
    }

    /// <summary>A confinement that is not there would prove nothing.</summary>
    private static unsafe void RequireConfined(ConfinedKind kind)
    {
        LinuxSystem os = LinuxSystem.Instance;
        if (kind.Name == "locked")
        {
            Confinement.LockMemory();
        }

        nuint page = (nuint)os.PageSize;
        os.MapAnonymous(page, MemoryProtection.ReadWrite, out nint probe);
        *(byte*)probe = 1; // sound: mapped above
        bool holds = kind.Denied.Length == 0 || Confinement.HasFilter;
        holds &= kind.Name switch
        {
            "process_madvise" => os.AdviseMany([new AddressRange(probe, page)], MemoryAdvice.DontNeed, out _) == Errno.EPERM,
            "madvise" => os.Advise(probe, page, MemoryAdvice.DontNeed) == Errno.EPERM,
            "memfd" => os.CreateMemfd("probe", page, out _) == Errno.EPERM,
            "locked" => os.Advise(probe, page, MemoryAdvice.DontNeed) == Errno.EINVAL,
            "no-thp" => Confinement.HasNoHugePages,
            "data" => os.MapAnonymous((nuint)DataBytes, MemoryProtection.ReadWrite, out _) == Errno.ENOMEM,
            "address-space" => os.MapAnonymous(unchecked((nuint)AddressSpaceBytes), MemoryProtection.None, out _) == Errno.ENOMEM,
            "cgroup" => os.CgroupMemoryLimitBytes == GroupBytes,
            "fallocate" => PunchFails(os, page),
            _ => true, // membarrier is the runtime's own
        };
        os.Unmap(probe, page);
        if (!holds)
        {
            ChildSide.Say("violation", $"{kind.Title}: it is not so, nothing was tried");
        }
    }

    private static bool PunchFails(LinuxSystem os, nuint bytes)
    {
        os.CreateMemfd("probe", bytes, out int file);
        bool fails = os.PunchHole(file, 0, bytes) == Errno.EPERM;
        os.Close(file);
        return fails;
    }

    /// <summary>The rounds of the stress; an arena that cannot be had must say why.</summary>
    private static (long Operations, int Rounds) Stress(Stopwatch watch, int seconds, int seed)
    {
        (long operations, int rounds) = (0, 0);
        do
        {
            var plan = StressPlan.For((ulong)(seed + rounds++));
            try
            {
                StressShared round = new StressRound(plan).Run();
                operations += round.Operations;
                foreach (string violation in round.Violations)
                {
                    ChildSide.Say("violation", violation.ReplaceLineEndings(" | "));
                }
            }
            catch (OutOfMemoryException e) when (e.Message.Contains(nameof(Errno.EPERM), StringComparison.Ordinal))
            {
                ChildSide.Say("said", e.Message.ReplaceLineEndings(" "));
            }
        }
        while (watch.Elapsed < TimeSpan.FromSeconds(seconds));
        return (operations, rounds);
    }

    /// <summary>The default arena, four times the machine's memory, is not to be had; a small one is.</summary>
    private static (long Operations, int Rounds) RefuseThenServe(Stopwatch watch, int seconds, int seed)
    {
        try
        {
            using PageArena arena = PageArena.Create();
            ChildSide.Say("violation", $"an arena of {arena.SizeBytes} bytes was created within {AddressSpaceBytes} bytes of address space");
        }
        catch (OutOfMemoryException e) when (e.Message.Contains(nameof(Errno.ENOMEM), StringComparison.Ordinal))
        {
            ChildSide.Say("said", e.Message.ReplaceLineEndings(" "));
        }

        return Stress(watch, seconds, seed);
    }

    /// <summary>Fills an arena, touching all, until it is refused; gives it back; again. Nobody is killed, and the second time is as good as the first.</summary>
    private static unsafe (long Operations, int Rounds) Fill(ulong sizeBytes, ulong? limitBytes, Stopwatch watch, int seconds)
    {
        using PageArena arena = PageArena.Create(new PageArenaOptions { SizeBytes = (nuint)sizeBytes });
        List<nint> held = [];
        (long operations, int rounds, int least) = (0, 0, int.MaxValue);
        do
        {
            try
            {
                while (true)
                {
                    byte* block = (byte*)arena.AllocatePages(Order);
                    held.Add((nint)block);
                    for (int at = 0; at < BlockBytes; at += 4096)
                    {
                        block[at] = (byte)(held.Count & 0xff); // sound: the block is this long
                    }
                }
            }
            catch (OutOfMemoryException e)
            {
                ChildSide.Say("said", e.Message.ReplaceLineEndings(" ").Split(". ")[0]);
            }

            arena.Verify();
            least = Math.Min(least, held.Count);
            operations += 2 * held.Count;
            if (held.Count < 0.9 * least || held.Count * (long)BlockBytes < 64 << 20)
            {
                ChildSide.Say("violation", $"round {rounds}: {held.Count} blocks were to be had");
            }

            held.ForEach(h => arena.FreePages((void*)h)); // sound: live, and nobody else knows them
            held.Clear();
            arena.Trim();
            arena.Verify();
            rounds++;
            if (limitBytes is ulong limit && MemoryCgroup.OfThisProcess()?.PeakBytes > limit)
            {
                ChildSide.Say("violation", "the charge was above the limit");
            }
        }
        while (watch.Elapsed < TimeSpan.FromSeconds(seconds));
        return (operations, rounds);
    }
}
