using System;
using System.Buffers.Text;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Threading;

namespace LowLevel.Interop.Linux;

/// <summary>The files that say how memory stands: limit, charge and statistics of a memory cgroup and of those above it, and the stalls. Any
/// thread; a reading takes tens of microseconds and leaves no garbage.</summary>
internal sealed class MemoryFiles : IDisposable
{
    // Version 1 says "no limit" as the largest page count there is, in bytes.
    private const ulong Version1Unlimited = 0x7FFF_FFFF_FFFF_F000;

    // memory.stat, the longest of them, has 2 to 4 KiB.
    private readonly byte[] _text = new byte[16 << 10];
    private readonly Lock _lock = new();
    private readonly List<Level> _levels = [];
    private readonly List<KernelFile> _stalls = [];
    private readonly bool _isVersion2;

    /// <summary>The files of a group.</summary>
    /// <param name="group">Null: there is none.</param>
    /// <param name="machinePressureFile">/proc/pressure/memory; asked where the group (always in version 1) has no such file.</param>
    public MemoryFiles(MemoryCgroup? group, string machinePressureFile)
    {
        _isVersion2 = group is { Version: 2 };
        foreach (string folder in group?.FoldersUpward ?? [])
        {
            _levels.Add(new Level(folder, _isVersion2));
        }

        if (_isVersion2)
        {
            _stalls.Add(new KernelFile(Path.Combine(group!.Folder, "memory.pressure")));
        }

        _stalls.Add(new KernelFile(machinePressureFile));
    }

    /// <summary>How memory stands now.</summary>
    public MemoryReading Read()
    {
        lock (_lock)
        {
            ulong? least = null;
            (ulong Charge, ulong Limit)? tightest = null;
            foreach (Level level in _levels)
            {
                if (Number(level.Limit) is not ulong limit || limit >= Version1Unlimited)
                {
                    continue;
                }

                least = limit >= least ? least : limit;
                if (Number(level.Charge) is ulong charge)
                {
                    charge -= Math.Min(charge, InactiveFileBytes(level.Statistics));
                    bool isTighter = tightest is not (ulong, ulong) other || (UInt128)charge * other.Limit > (UInt128)other.Charge * limit;
                    tightest = isTighter ? (charge, limit) : tightest;
                }
            }

            return new MemoryReading(least, tightest?.Charge, tightest?.Limit, StalledPercent());
        }
    }

    /// <summary>Closes them.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _levels.ForEach(static level => level.Dispose());
            _stalls.ForEach(static file => file.Dispose());
        }
    }

    /// <summary>avg10 of the line "some avg10=0.12 avg60=0.05 avg300=0.01 total=12345" (Documentation/accounting/psi.rst).</summary>
    internal static bool TryParseStalled(ReadOnlySpan<byte> text, out double percent)
    {
        percent = 0;
        foreach (Range line in text.Split((byte)'\n'))
        {
            ReadOnlySpan<byte> rest = text[line];
            if (rest.StartsWith("some "u8))
            {
                rest = rest["some "u8.Length..].TrimStart((byte)' ');
                int end = rest.IndexOf((byte)' ');
                ReadOnlySpan<byte> word = end < 0 ? rest : rest[..end];
                return word.StartsWith("avg10="u8)
                    && double.TryParse(word["avg10="u8.Length..], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out percent)
                    && percent is >= 0 and <= 100;
            }
        }

        return false;
    }

    private double? StalledPercent()
    {
        foreach (KernelFile file in _stalls)
        {
            if (TryParseStalled(file.Read(_text), out double percent))
            {
                return percent;
            }
        }

        return null;
    }

    /// <summary>From memory.stat, with the groups below: inactive_file in version 2, total_inactive_file in version 1.</summary>
    private ulong InactiveFileBytes(KernelFile statistics)
    {
        ReadOnlySpan<byte> field = _isVersion2 ? "inactive_file "u8 : "total_inactive_file "u8;
        ReadOnlySpan<byte> text = statistics.Read(_text);
        foreach (Range line in text.Split((byte)'\n'))
        {
            if (text[line].StartsWith(field))
            {
                return Number(text[line][field.Length..]) ?? 0;
            }
        }

        return 0;
    }

    private ulong? Number(KernelFile file) => Number(file.Read(_text));

    private static ulong? Number(ReadOnlySpan<byte> text)
    {
        text = text.Trim(" \n"u8);
        return Utf8Parser.TryParse(text, out ulong value, out int used) && used == text.Length ? value : null;
    }

    /// <summary>One group.</summary>
    private sealed class Level(string folder, bool isVersion2) : IDisposable
    {
        public KernelFile Limit { get; } = new(Path.Combine(folder, isVersion2 ? "memory.max" : "memory.limit_in_bytes"));

        public KernelFile Charge { get; } = new(Path.Combine(folder, isVersion2 ? "memory.current" : "memory.usage_in_bytes"));

        public KernelFile Statistics { get; } = new(Path.Combine(folder, "memory.stat"));

        public void Dispose()
        {
            Limit.Dispose();
            Charge.Dispose();
            Statistics.Dispose();
        }
    }
}
