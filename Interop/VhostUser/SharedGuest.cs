using System;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;

namespace LowLevel.Interop.VhostUser;

/// <summary>The memory of a guest in another process, as a balloon device drops it: by a hole in the file of each region. Where the guest drops
/// for itself there is nothing to drop, only to count. Memory changes only between requests, in the thread that serves them; the resident bytes
/// may be asked for by any thread.</summary>
internal sealed class SharedGuest : IDiscardPort, IDisposable
{
    private readonly IOperatingSystem _system;
    private readonly Lock _guard = new();
    private MemoryTable _table;

    /// <summary>A guest that has not shared anything yet.</summary>
    public SharedGuest(IOperatingSystem system, IDescriptors descriptors)
    {
        ArgumentNullException.ThrowIfNull(system);
        _system = system;
        _table = MemoryTable.Empty(system, descriptors);
    }

    /// <summary>What it has shared. For the serving thread.</summary>
    public MemoryTable Table => _table;

    /// <summary>Bytes that the kernel keeps for what it has shared. Any thread.</summary>
    public ulong ResidentBytes
    {
        get
        {
            lock (_guard)
            {
                return _table.ResidentBytes;
            }
        }
    }

    /// <summary>Bytes that it has shared. Any thread.</summary>
    public ulong Bytes
    {
        get
        {
            lock (_guard)
            {
                return _table.Bytes;
            }
        }
    }

    /// <summary>Other memory, which this then owns; no queue runs.</summary>
    public void Change(Func<MemoryTable, MemoryTable> change)
    {
        ArgumentNullException.ThrowIfNull(change);
        lock (_guard)
        {
            _table = change(_table);
        }
    }

    /// <inheritdoc/>
    public DiscardTotals Discard(ReadOnlySpan<GuestRange> ranges)
    {
        DiscardTotals totals = default;
        foreach (GuestRange range in ranges)
        {
            ulong dropped = 0;
            Errno error = Errno.None;
            while (dropped < range.Bytes && error == Errno.None && _table.TryFile(range.Address + dropped, out int file, out ulong offset, out ulong left))
            {
                ulong part = Math.Min(left, range.Bytes - dropped);
                error = Punch(file, offset, part);
                dropped += error == Errno.None ? part : 0;
            }

            totals.DroppedBytes += dropped;
            totals.Failed += error == Errno.None ? 0 : 1;
            totals.Refused += error == Errno.None && dropped < range.Bytes ? 1 : 0;
        }

        return totals;
    }

    /// <summary>Lets go of everything.</summary>
    public void Dispose()
    {
        lock (_guard)
        {
            _table.Dispose();
        }
    }

    private Errno Punch(int file, ulong offset, ulong bytes)
    {
        Errno error = Errno.EAGAIN;
        for (int attempt = 0; attempt < GuestBacking.AttemptsMax && error is Errno.EINTR or Errno.EAGAIN; attempt++)
        {
            error = _system.PunchHole(file, offset, (nuint)bytes);
        }

        return error;
    }
}
