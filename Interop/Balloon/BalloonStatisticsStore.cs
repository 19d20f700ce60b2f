using System;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Interop.Balloon;

/// <summary>The driver's statistics as the host knows them; tags that the driver never sent are unknown. Thread-safe.</summary>
internal sealed class BalloonStatisticsStore
{
    private readonly Lock _guard = new();
    private readonly ulong?[] _values = new ulong?[Enum.GetValues<BalloonStatTag>().Length];
    private int _updates;

    /// <summary>How often the driver has sent statistics.</summary>
    public int Updates => Volatile.Read(ref _updates);

    /// <summary>One statistic; null where the driver has not sent it. Bytes for memory, counts for faults and swaps in the unit
    /// that the driver chose.</summary>
    public ulong? this[BalloonStatTag tag]
    {
        get
        {
            lock (_guard)
            {
                return (int)tag < _values.Length ? _values[(int)tag] : null;
            }
        }
    }

    /// <summary>Takes what the driver sent; tags without a name are passed over (5.5.6.3.2).</summary>
    public void Store(ReadOnlySpan<BalloonStat> statistics)
    {
        lock (_guard)
        {
            foreach (BalloonStat statistic in statistics)
            {
                if (statistic.Tag < _values.Length)
                {
                    _values[statistic.Tag] = statistic.Val;
                }
            }
        }

        Interlocked.Increment(ref _updates);
    }
}
