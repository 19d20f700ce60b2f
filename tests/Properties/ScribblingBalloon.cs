using System;
using System.Collections.Generic;
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
    private readonly List<PageRange> held = [];
    private bool stuck;
    private bool broken;

    /// <summary>The answer to the next batches.</summary>
    public DeviceAnswer Answer { get; set; }

    /// <summary>Blocks that it takes at once.</summary>
    public int MaxBatch { get; set; } = 8;

    /// <summary>Looks at each range before it is touched; throws where it must not be here.</summary>
    public Action<PageRange>? Inspect { get; set; }

    /// <summary>Pages told so far by answers that say treated.</summary>
    public long PagesTreated { get; private set; }

    public ITreatmentDevice Device => this;

    public ulong InflatedPages => 0;

    public Action? WorkArrived { get; set; }

    public int Capacity => broken ? 0 : MaxBatch;

    public bool React(ReadOnlySpan<PageRange> batch)
    {
        if (held.Count != 0)
        {
            throw new InvalidOperationException("a batch was published while another one is with the device");
        }

        if (batch.Length == 0 || batch.Length > MaxBatch)
        {
            throw new InvalidOperationException($"a batch of {batch.Length} blocks; allowed: 1 to {MaxBatch}");
        }

        foreach (PageRange range in batch)
        {
            Inspect?.Invoke(range);
            held.Add(range);
        }

        if (Answer == DeviceAnswer.Refused)
        {
            held.Clear();
            return false;
        }

        Scribble();
        return true;
    }

    public SettleResult Settle(TimeSpan timeout)
    {
        Scribble();
        switch (Answer)
        {
            case DeviceAnswer.TreatedZero:
                Drop();
                return End(SettleResult.TreatedZero);
            case DeviceAnswer.Treated:
                return End(SettleResult.Treated);
            case DeviceAnswer.Failed:
                return End(SettleResult.Failed);
            default:
                stuck = true;
                return SettleResult.TimedOut;
        }
    }

    public bool TryRevoke(TimeSpan timeout)
    {
        Scribble();
        if (stuck && Answer == DeviceAnswer.TimedOutStuck)
        {
            return false;
        }

        held.Clear();
        stuck = false;
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
        foreach (PageRange range in held)
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

    /// <summary>What it was asked for so far. It holds nothing, so nothing comes.</summary>
    public uint DeflateAsked { get; private set; }

    public uint Deflate(uint pages)
    {
        DeflateAsked += pages;
        return 0;
    }

    public bool TryClose(TimeSpan bound)
    {
        held.Clear();
        return !stuck;
    }

    public void Dispose()
    {
    }

    private unsafe void Drop()
    {
        foreach (PageRange range in held)
        {
            nint start = (nint)(arena.BaseAddress + range.Start.ByteOffset);
            Errno errno = arena.System.Advise(start, (nuint)range.Pages << PageblockLimits.PageShift, MemoryAdvice.DontNeed);
            if (errno != Errno.None)
            {
                throw new InvalidOperationException($"madvise: {errno}");
            }
        }
    }

    private SettleResult End(SettleResult result)
    {
        foreach (PageRange range in held)
        {
            PagesTreated += result == SettleResult.Failed ? 0 : range.Pages;
        }

        held.Clear();
        return result;
    }
}
