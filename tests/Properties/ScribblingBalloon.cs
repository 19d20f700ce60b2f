using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Tests.Properties;

/// <summary>What the scribbling device does with a batch.</summary>
internal enum DeviceAnswer
{
    TreatedZero,
    Treated,
    Failed,
    TimedOutRevoked,
    TimedOutStuck,
    Refused,
}

/// <summary>A hostile host: whatever it is allowed to touch it writes rubbish into, for as long as it is allowed to. A page that it
/// should not have, or that comes back marked zero and is not, shows in the contents of a user's block. It answers as it is told;
/// <see cref="DeviceAnswer.TreatedZero"/> really drops the pages. Used by one thread at a time, as the treatment lock promises.</summary>
internal sealed class ScribblingBalloon(PageArena arena) : IBalloonLink, ITreatmentDevice
{
    private readonly SortedDictionary<int, PageRange[]> held = [];
    private bool stuck;
    private bool broken;

    /// <summary>The answer to the next batches.</summary>
    public DeviceAnswer Answer { get; set; }

    /// <summary>Blocks that it takes at once.</summary>
    public int MaxBatch { get; set; } = 8;

    /// <summary>Batches that it takes at one time. It answers for the last one first.</summary>
    public int InFlightMax { get; set; } = 1;

    /// <summary>Looks at each range before it is touched; throws where it must not be here.</summary>
    public Action<PageRange>? Inspect { get; set; }

    /// <summary>Pages told so far by answers that say treated.</summary>
    public long PagesTreated { get; private set; }

    public ITreatmentDevice Device => this;

    /// <summary>Pages that the test has put into the balloon.</summary>
    public ulong InflatedPages { get; set; }

    public Action? WorkArrived { get; set; }

    public int Capacity => broken ? 0 : MaxBatch;

    public bool React(ReadOnlySpan<PageRange> batch, int slot)
    {
        if (held.ContainsKey(slot) || slot < 0 || slot >= InFlightMax)
        {
            throw new InvalidOperationException($"a batch was published in slot {slot} of {InFlightMax}, which is taken or none");
        }

        if (batch.Length == 0 || batch.Length > MaxBatch)
        {
            throw new InvalidOperationException($"a batch of {batch.Length} blocks; allowed: 1 to {MaxBatch}");
        }

        foreach (PageRange range in batch)
        {
            Inspect?.Invoke(range);
        }

        if (Answer == DeviceAnswer.Refused)
        {
            return false;
        }

        held[slot] = batch.ToArray();
        Scribble();
        return true;
    }

    public SettleResult Settle(TimeSpan timeout, out int slot)
    {
        Scribble();
        slot = held.Keys.Max();
        switch (Answer)
        {
            case DeviceAnswer.TreatedZero:
                Drop(held[slot]);
                return End(slot, SettleResult.TreatedZero);
            case DeviceAnswer.Treated:
                return End(slot, SettleResult.Treated);
            case DeviceAnswer.Failed:
                return End(slot, SettleResult.Failed);
            default:
                stuck = true;
                return SettleResult.TimedOut;
        }
    }

    public bool TryRevoke(int slot, TimeSpan timeout)
    {
        Scribble();
        if (stuck && Answer == DeviceAnswer.TimedOutStuck)
        {
            return false;
        }

        held.Remove(slot);
        stuck &= held.Count != 0;
        broken = true;
        return true;
    }

    public bool TryRestart()
    {
        broken = Answer is DeviceAnswer.TimedOutStuck or DeviceAnswer.Refused;
        return !broken;
    }

    /// <summary>Writes into each page that it holds: allowed until the batch was answered or revoked.</summary>
    public unsafe void Scribble()
    {
        foreach (PageRange range in held.Values.SelectMany(static ranges => ranges))
        {
            byte* start = arena.BaseAddress + range.Start.ByteOffset;
            for (uint page = 0; page < range.Pages; page++)
            {
                *(ulong*)(start + ((nuint)page << PageblockLimits.PageShift) + 8) = 0xbad0_bad0_bad0_bad0;
            }
        }
    }

    public void Service()
    {
    }

    /// <summary>What it was asked for so far.</summary>
    public uint DeflateAsked { get; private set; }

    /// <summary>Gives pages back when it is asked to; how many. Unless a test says otherwise it holds nothing, so nothing comes.</summary>
    public Func<uint, uint> OnDeflate { get; set; } = static _ => 0;

    public uint Deflate(uint pages)
    {
        DeflateAsked += pages;
        return OnDeflate(pages);
    }

    public bool TryClose(TimeSpan bound)
    {
        held.Clear();
        return !stuck;
    }

    public void Dispose()
    {
    }

    private unsafe void Drop(PageRange[] ranges)
    {
        foreach (PageRange range in ranges)
        {
            nint start = (nint)(arena.BaseAddress + range.Start.ByteOffset);
            Errno errno = arena.System.Advise(start, (nuint)range.Pages << PageblockLimits.PageShift, MemoryAdvice.DontNeed);
            if (errno != Errno.None)
            {
                throw new InvalidOperationException($"madvise: {errno}");
            }
        }
    }

    private SettleResult End(int slot, SettleResult result)
    {
        foreach (PageRange range in held[slot])
        {
            PagesTreated += result == SettleResult.Failed ? 0 : range.Pages;
        }

        held.Remove(slot);
        return result;
    }
}
