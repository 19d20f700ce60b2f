using System;
using LowLevel.Native;

namespace LowLevel.Interop.Virtio;

/// <summary>The driver's indirect descriptor tables (VIRTIO 1.2, 2.7.5.3): a few tables of equal size in shared memory, and
/// who uses which in private memory. Not thread-safe; the queue that owns it is not either.</summary>
internal sealed class IndirectTables
{
    private readonly unsafe VirtqDescriptor* _host;
    private readonly ulong _address;
    private readonly short[] _free;
    private int _freeCount;

    private unsafe IndirectTables(VirtqDescriptor* host, ulong address, int tables, int entries)
    {
        _host = host;
        _address = address;
        Entries = entries;
        _free = new short[tables];
        Clear();
    }

    /// <summary>Descriptors in each table.</summary>
    public int Entries { get; }

    /// <summary>Whether a table is to be had.</summary>
    public bool Any => _freeCount > 0;

    /// <summary>Bytes of shared memory for so many tables of so many descriptors.</summary>
    public static int Bytes(int tables, int entries) => tables * entries * VirtqDescriptor.SizeInBytes;

    /// <summary>Tables at a guest address, 16-byte aligned. False where that memory is not there.</summary>
    public static unsafe bool TryMap(GuestMemory memory, ulong address, int tables, int entries, out IndirectTables? made)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(entries);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tables);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tables, short.MaxValue);
        made = null;
        if (address % VirtqueueLayout.Alignment != 0 || !memory.TryTranslate(address, (ulong)Bytes(tables, entries), out byte* host))
        {
            return false;
        }

        made = new IndirectTables((VirtqDescriptor*)host, address, tables, entries);
        return true;
    }

    /// <summary>Takes a table; there must be <see cref="Any"/>.</summary>
    public short Take() => _free[--_freeCount];

    /// <summary>Gives a table back.</summary>
    public void Give(short table) => _free[_freeCount++] = table;

    /// <summary>Every table is free again.</summary>
    public void Clear()
    {
        for (_freeCount = 0; _freeCount < _free.Length; _freeCount++)
        {
            _free[_freeCount] = (short)_freeCount;
        }
    }

    /// <summary>Guest address of a table.</summary>
    public ulong Address(short table) => _address + (ulong)Bytes(table, Entries);

    /// <summary>Writes one entry. Sound: the whole area was translated when it was mapped, and both indexes are this side's own.</summary>
    public unsafe void Write(short table, int entry, ulong address, uint length, DescriptorFlags flags, ushort next)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(unchecked((uint)entry), (uint)Entries);
        SplitRing.Write(_host + (table * Entries) + entry, address, length, flags, next);
    }
}
