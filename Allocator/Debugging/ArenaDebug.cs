using System;
using System.Globalization;
using LowLevel.Interop.Linux;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What an arena has for <see cref="PageArenaOptions.DebugChecks"/>.</summary>
internal sealed class ArenaDebug
{
    private const ulong QuarantineBytesMax = 64 << 20;
    private const ulong QuarantineDivisor = 16;
    private const nuint HeapQuarantineBytes = 1 << 20;

    /// <summary>For an arena at this address.</summary>
    public ArenaDebug(IOperatingSystem os, nint start, ArenaPlan plan, nuint? quarantineBytes)
    {
        ulong bytes = quarantineBytes ?? Math.Min((plan.CapPages << PageblockLimits.PageShift) / QuarantineDivisor, QuarantineBytesMax);
        Quarantine = bytes < PageblockLimits.PageSize ? null : new BlockQuarantine(os, start, bytes >> PageblockLimits.PageShift);
    }

    /// <summary>Bytes of freed objects that each heap holds back at most.</summary>
    public nuint HeapBytesMax => Quarantine is null ? 0 : HeapQuarantineBytes;

    /// <summary>The freed blocks that are held back; null where none are.</summary>
    public BlockQuarantine? Quarantine { get; }

    /// <summary>Who allocated and freed.</summary>
    public StackKeeper Stacks { get; } = new();

    /// <summary>What was found and not told yet; the heaps' too.</summary>
    public MisuseReports Reports { get; } = new();

    /// <summary>Somebody wrote into memory that was free.</summary>
    public void ReportWrite(nuint block, nuint bytes, long offset, BlockRecord record) =>
        Reports.Add(string.Create(
            CultureInfo.InvariantCulture,
            $"write after free: 0x{block:x}, {bytes} bytes, was changed at offset {offset} after it had been freed.{record.Stacks}"));
}
