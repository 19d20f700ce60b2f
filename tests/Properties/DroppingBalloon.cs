using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Tests.Properties;

/// <summary>A host that drops what it is told of, and every few batches fails in one of the ways in which a host can fail. It writes
/// into whatever it may, so that a page that it should not have shows. For many threads: the treatment lock lets one in at a time,
/// and it checks that.</summary>
internal sealed class DroppingBalloon(PageArena arena, int capacity) : IBalloonLink, ITreatmentDevice
{
    private readonly List<(int Slot, PageRange[] Ranges)> held = [];
    private int inside;
    private int batches;
    private bool broken;

    /// <summary>Whether it fails now and then.</summary>
    public bool IsFaulty { get; set; }

    /// <summary>A breach of the contract by the caller; null where there was none.</summary>
    public string? Violation { get; private set; }

    public ITreatmentDevice Device => this;

    public ulong InflatedPages => 0;

    public Action? WorkArrived { get; set; }

    public int Capacity => broken ? 0 : capacity;

    /// <summary>Batches at one time.</summary>
    public int InFlightMax { get; init; } = 1;

    public bool React(ReadOnlySpan<PageRange> batch, int slot)
    {
        Enter();
        batches++;
        Violation = held.Count < InFlightMax && !held.Exists(h => h.Slot == slot) ? Violation : "two batches in one slot";
        bool accepts = !IsFaulty || batches % 17 != 0;
        if (accepts)
        {
            held.Add((slot, batch.ToArray()));
        }

        Leave();
        return accepts;
    }

    public unsafe SettleResult Settle(TimeSpan timeout, out int slot)
    {
        Enter();
        bool zero = batches % 3 != 0;
        int which = batches % held.Count; // in any order
        (slot, PageRange[] ranges) = held[which];
        foreach (PageRange range in ranges)
        {
            byte* start = arena.BaseAddress + range.Start.ByteOffset;
            for (uint page = 0; page < range.Pages; page++)
            {
                *(ulong*)(start + ((nuint)page << PageblockLimits.PageShift)) = 0xbad0_bad0_bad0_bad0;
            }

            Errno errno = zero ? arena.System.Advise((nint)start, (nuint)range.Pages << PageblockLimits.PageShift, MemoryAdvice.DontNeed) : Errno.None;
            Violation = errno == Errno.None ? Violation : $"madvise: {errno}";
        }

        bool late = IsFaulty && batches % 13 == 0;
        if (!late)
        {
            held.RemoveAt(which);
        }

        Leave();
        return late ? SettleResult.TimedOut : IsFaulty && batches % 7 == 0 ? SettleResult.Failed : zero ? SettleResult.TreatedZero : SettleResult.Treated;
    }

    public bool TryRevoke(int slot, TimeSpan timeout)
    {
        Enter();
        bool revoked = ++batches % 2 == 0;
        broken = true;
        if (revoked)
        {
            held.RemoveAll(h => h.Slot == slot);
        }

        Leave();
        return revoked;
    }

    public bool TryRestart()
    {
        broken = false;
        return true;
    }

    public void Service()
    {
    }

    public uint Deflate(uint pages) => 0;

    public bool TryClose(TimeSpan bound) => true;

    public void Dispose()
    {
    }

    private void Enter() => Violation = Interlocked.Increment(ref inside) == 1 ? Violation : "two threads at once";

    private void Leave() => Interlocked.Decrement(ref inside);
}
