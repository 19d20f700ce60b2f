using System;
using System.Diagnostics;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>A guest of <c>perf shrink</c>: takes memory, touches all of it, frees it, keeps it, and waits to be asked for it. Words to the parent:
/// base; full; trimmed seconds.</summary>
internal sealed class ShrinkChildCommand : ICommand
{
    private const int Order = 10;
    private const int BlockBytes = 4096 << Order;
    private const int RehearsalBlocks = 16;
    private const int Rehearsals = 60;

    public string Name => "shrink-child";

    public string Summary => "a guest of shrink";

    public int Run(Arguments arguments)
    {
        using var side = new ChildSide();
        string kind = arguments.Choice("kind", "bare", "arena", "own", "memfd");
        int blocks = arguments.Integer("blocks", 64, 1, 1 << 20);
        string? host = arguments.Text("host");
        arguments.End();
        Rehearse();
        ChildSide.Say("base");
        ChildSide.Await("fill");
        if (kind == "bare")
        {
            Bare(blocks);
            return Program.Success;
        }

        using PageArena arena = PageArena.Create(Options(kind, blocks, host));
        nint[] held = new nint[blocks];
        Fill(arena, held);
        ChildSide.Say("full");
        ChildSide.Await("free");
        Free(arena, held);

        // What this thread keeps of it for itself would be given up when it has rested.
        arena.Threads.DrainAll();
        ChildSide.Say("free");
        string? word;
        while ((word = Console.In.ReadLine()) == "trim")
        {
            Stopwatch watch = Stopwatch.StartNew();
            arena.Trim();
            ChildSide.Say("trimmed", watch.Elapsed.TotalSeconds);
        }

        return word == "finish" ? Program.Success : throw new MeasurementException($"waited for the word 'finish' and heard '{word}'");
    }

    /// <summary>Until everything was compiled, in an arena that is gone before the baseline is taken.</summary>
    private static void Rehearse()
    {
        using PageArena arena = PageArena.Create(Options("arena", RehearsalBlocks, host: null));
        nint[] held = new nint[RehearsalBlocks];
        for (int i = 0; i < Rehearsals; i++)
        {
            Fill(arena, held);
            Free(arena, held);
            arena.Trim();
        }
    }

    private static PageArenaOptions Options(string kind, int blocks, string? host)
    {
        nuint bytes = (nuint)blocks * BlockBytes;
        return new PageArenaOptions
        {
            SizeBytes = 2 * bytes,
            CapBytes = bytes + (bytes / ShrinkRun.Margin),
            MinFreeBytes = 0,
            Host = host is null ? null : "unix:" + host,
            Backing = kind == "memfd" ? ArenaBacking.Memfd : ArenaBacking.Anonymous,

            // What is free stays until it is asked for.
            Aeration = new AerationOptions { Delay = TimeSpan.FromHours(1), RespondToPressure = false },
        };
    }

    private static unsafe void Fill(PageArena arena, nint[] held)
    {
        for (int i = 0; i < held.Length; i++)
        {
            held[i] = (nint)arena.AllocatePages(Order);
            Touch((byte*)held[i]);
        }
    }

    private static unsafe void Free(PageArena arena, nint[] held)
    {
        foreach (nint block in held)
        {
            arena.FreePages((void*)block);
        }
    }

    // Sound: the block is the caller's, BlockBytes long.
    private static unsafe void Touch(byte* block)
    {
        for (int page = 0; page < BlockBytes; page += 4096)
        {
            block[page] = 1;
        }
    }

    /// <summary>The same memory without an allocator: mapped, advised to be huge, touched, dropped block by block.</summary>
    private static unsafe void Bare(int blocks)
    {
        LinuxSystem os = LinuxSystem.Instance;
        nuint bytes = (nuint)blocks * BlockBytes;
        Require(os.MapAnonymous(bytes + BlockBytes, MemoryProtection.ReadWrite, out nint mapping));
        nint start = (mapping + BlockBytes - 1) & ~(nint)(BlockBytes - 1);
        Require(os.Advise(start, bytes, MemoryAdvice.HugePage));
        for (int i = 0; i < blocks; i++)
        {
            Touch((byte*)start + ((nint)i * BlockBytes));
        }

        ChildSide.Say("full");
        ChildSide.Await("free");
        ChildSide.Say("free");
        ChildSide.Await("trim");
        Stopwatch watch = Stopwatch.StartNew();
        for (int i = 0; i < blocks; i++)
        {
            Require(os.Advise(start + ((nint)i * BlockBytes), BlockBytes, MemoryAdvice.DontNeed));
        }

        ChildSide.Say("trimmed", watch.Elapsed.TotalSeconds);
        ChildSide.Await("finish");
    }

    private static void Require(Errno error)
    {
        if (error != Errno.None)
        {
            throw new MeasurementException($"memory for the bare loop: {error}");
        }
    }
}
