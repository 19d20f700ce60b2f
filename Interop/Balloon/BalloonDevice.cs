using System;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Interop.Balloon;

/// <summary>The traditional memory balloon (VIRTIO 1.2, 5.5), device side: the host. Queues have the standard's numbers whatever
/// is negotiated (0 inflate, 1 deflate, 2 statistics, 4 reporting; 3, free page hinting, answers everything and is never asked for anything). It drops what the driver
/// reports or inflates, through a port that may refuse, and answers every request whatever came of it. Knows nothing about
/// threads: <see cref="VirtioDevice.Serve"/> is called by whoever hosts it.</summary>
internal sealed class BalloonDevice : VirtioDevice
{
    /// <summary>The most page numbers of one inflate or deflate request that the device acts on.</summary>
    public const int PageNumbersMax = 1024;

    private const uint PageBytes = 1u << BalloonLimits.PfnShift;
    private const int StatisticsMax = 16;

    private readonly BalloonDeviceOptions _options;
    private readonly ulong _arenaBytes;
    private readonly IDiscardPort _reports;
    private readonly IDiscardPort _inflates;
    private readonly RangeJoiner _reported;
    private readonly Hint[] _hints;
    private readonly RangeJoiner _inflated = new(PageNumbersMax);
    private readonly uint[] _pageNumbers = new uint[PageNumbersMax];
    private readonly BalloonStatisticsStore _statistics = new();
    private readonly BalloonProbe _probe = new();
    private BalloonConfig _config;
    private uint _generation;
    private volatile bool _isAimed;
    private int _targetIsUntold;
    private int _statisticsWanted;
    private int _heldStatistics = -1;
    private long _reportCount;
    private long _reportedPages;
    private long _keptPages;
    private long _badRanges;
    private long _droppedPages;
    private long _failedDiscards;
    private long _refusedDiscards;
    private long _inflatedPages;
    private long _deflatedPages;

    /// <summary>A device in reset.</summary>
    /// <param name="memory">Guest memory.</param>
    /// <param name="arenaBytes">Guest addresses below this may be dropped.</param>
    /// <param name="reports">Where reported blocks are dropped.</param>
    /// <param name="inflates">Where inflated pages are dropped.</param>
    /// <param name="options">What it offers.</param>
    public BalloonDevice(GuestMemory memory, ulong arenaBytes, IDiscardPort reports, IDiscardPort inflates, BalloonDeviceOptions options)
        : base(memory, options.Offered, QueueSizes(options))
    {
        _options = options;
        _arenaBytes = arenaBytes;
        _reports = reports;
        _inflates = inflates;
        _reported = new RangeJoiner(Math.Max(options.ReportCapacity, options.QueueSizeMax));
        _hints = new Hint[options.ReportCapacity];
    }

    /// <summary>Number of pages that the driver says it has given (config.actual).</summary>
    public uint ActualPages => Volatile.Read(ref _config.Actual);

    /// <summary>The guest keeps its memory to itself and drops it itself: page numbers are counted and nothing else, and name no memory of
    /// this process. Set before a queue starts.</summary>
    public bool CountsOnly { get; set; }

    /// <summary>The driver has not said yet what is in its balloon.</summary>
    public bool IsUncertain => _probe.Pages != 0;

    /// <summary>What the host wants in the balloon (config.num_pages).</summary>
    public uint TargetPages => Volatile.Read(ref _config.NumPages);

    /// <summary>The driver's statistics as last received.</summary>
    public BalloonStatisticsStore Statistics => _statistics;

    /// <summary>The most blocks of one report that the device acts on.</summary>
    public int ReportCapacity => _options.ReportCapacity;

    /// <inheritdoc/>
    public override uint ConfigGeneration => Volatile.Read(ref _generation);

    /// <summary>A snapshot; each value for itself.</summary>
    public BalloonDeviceCounters Counters => new(
        Interlocked.Read(ref _reportCount), Interlocked.Read(ref _reportedPages), Interlocked.Read(ref _keptPages),
        Interlocked.Read(ref _badRanges), Interlocked.Read(ref _droppedPages), Interlocked.Read(ref _failedDiscards),
        Interlocked.Read(ref _refusedDiscards), Interlocked.Read(ref _inflatedPages), Interlocked.Read(ref _deflatedPages));

    /// <summary>Sets what the host wants in the balloon, in 4 KiB pages, and tells the driver. Any thread.</summary>
    public void SetTarget(uint pages)
    {
        _isAimed = true;
        Volatile.Write(ref _config.NumPages, pages);
        _probe.TryAgain();
        Announce();
    }

    /// <summary>The next service of the statistics queue hands the driver its buffer back, to be filled anew. Any thread.</summary>
    public void WantStatistics() => Volatile.Write(ref _statisticsWanted, 1);

    /// <inheritdoc/>
    public override uint ReadConfig(int offset) => offset switch
    {
        0 => _probe.Pages is > 0 and uint probe ? probe : Volatile.Read(ref _config.NumPages),
        4 => Volatile.Read(ref _config.Actual),
        8 => Volatile.Read(ref _config.FreePageHintCmdId),
        12 => Volatile.Read(ref _config.PoisonVal),
        _ => 0,
    };

    /// <inheritdoc/>
    public override void WriteConfig(int offset, uint value)
    {
        switch (offset)
        {
            case 4:
                Volatile.Write(ref _config.Actual, value);
                if (_options.AdoptsActual && !_isAimed)
                {
                    Volatile.Write(ref _config.NumPages, value);
                }

                if (_probe.End())
                {
                    Announce();
                }

                break;
            case 12 when ((Status == 0 ? OfferedFeatures : Features) & Feature.PagePoison) != 0 && (Status & DeviceStatus.DriverOk) == 0:
                // It stands from DRIVER_OK on: pages were kept by it. A carrier that keeps the status says only then what was accepted.
                Volatile.Write(ref _config.PoisonVal, value);
                break;
            default:
                break;
        }
    }

    /// <inheritdoc/>
    protected override void OnReset()
    {
        _config.Actual = 0;
        _config.PoisonVal = 0;
        _heldStatistics = -1;
        _statisticsWanted = 0;
        _probe.Reset();
    }

    private void Announce()
    {
        Interlocked.Increment(ref _generation);
        Interlocked.Exchange(ref _targetIsUntold, 1);
        TellTarget();
    }

    /// <summary>A driver that was stopped for a while, with its machine, does not read the configuration of itself when it goes on.</summary>
    private void TellTarget()
    {
        if ((Status & DeviceStatus.DriverOk) != 0 && Interlocked.Exchange(ref _targetIsUntold, 0) != 0)
        {
            ConfigInterrupt?.Invoke();
        }
    }

    /// <inheritdoc/>
    protected override void OnQueueStarted(int queue, ushort availableIndex, int outstanding)
    {
        TellTarget();
        if (queue == BalloonLimits.InflateQueue && availableIndex != 0 && _probe.TryBegin())
        {
            Announce();
        }

        if (queue == BalloonLimits.StatsQueue && outstanding == 0)
        {
            // What another life of the driver handed over is nothing to give back to this one.
            _heldStatistics = -1;
        }
    }

    /// <inheritdoc/>
    protected override void BeforeServing(int queue, DeviceQueue ring)
    {
        ArgumentNullException.ThrowIfNull(ring);
        if (queue == BalloonLimits.StatsQueue && _heldStatistics >= 0 && Interlocked.Exchange(ref _statisticsWanted, 0) != 0)
        {
            ring.Complete((ushort)_heldStatistics, 0);
            _heldStatistics = -1;
            InterruptIfWanted(queue, ring);
        }
    }

    /// <inheritdoc/>
    protected override bool Handle(int queue, DescriptorChain chain, out uint written)
    {
        // Nothing is ever written into a buffer: what is dropped was not written.
        written = 0;
        switch (queue)
        {
            case BalloonLimits.InflateQueue:
                Inflate(chain);
                return true;
            case BalloonLimits.DeflateQueue:
                Interlocked.Add(ref _deflatedPages, ReadPageNumbers(chain).Length);
                return true;
            case BalloonLimits.StatsQueue:
                return !KeepStatistics(chain);
            case BalloonLimits.ReportingQueue:
                Report(chain);
                return true;
            default:
                return true;
        }
    }

    private static int[] QueueSizes(BalloonDeviceOptions options)
    {
        int[] sizes = new int[BalloonLimits.Queues];
        sizes[BalloonLimits.InflateQueue] = sizes[BalloonLimits.DeflateQueue] = options.QueueSizeMax;
        sizes[BalloonLimits.StatsQueue] = (options.Offered & Feature.StatsQueue) != 0 ? options.QueueSizeMax : 0;
        sizes[BalloonLimits.FreePageQueue] = (options.Offered & Feature.FreePageHint) != 0 ? options.QueueSizeMax : 0;
        sizes[BalloonLimits.ReportingQueue] = (options.Offered & Feature.PageReporting) != 0 ? options.QueueSizeMax : 0;
        return sizes;
    }

    private void Report(DescriptorChain chain)
    {
        Interlocked.Increment(ref _reportCount);
        if (_options.Dialect == ReportDialect.Hints)
        {
            CollectHints(chain);
        }
        else
        {
            foreach (ChainBuffer buffer in chain.Buffers[..Math.Min(chain.Buffers.Length, _options.ReportCapacity)])
            {
                Collect(buffer.DeviceWrites, buffer.Address, buffer.Length);
            }
        }

        // Contents that must stay as they are were never promised to read zero after a drop (5.5.6.7.2).
        bool keep = (Features & Feature.PagePoison) != 0 && Volatile.Read(ref _config.PoisonVal) != 0;
        ReadOnlySpan<GuestRange> ranges = _reported.Take();
        long pages = Pages(ranges);
        Interlocked.Add(ref _reportedPages, pages);
        if (keep)
        {
            Interlocked.Add(ref _keptPages, pages);
        }
        else
        {
            Drop(_reports, ranges);
        }
    }

    private void CollectHints(DescriptorChain chain)
    {
        Span<byte> bytes = MemoryMarshal.AsBytes(_hints.AsSpan());
        if (chain.WritableBytes != 0 || chain.ReadableBytes % Hint.SizeInBytes != 0 || chain.ReadableBytes > (ulong)bytes.Length)
        {
            Interlocked.Increment(ref _badRanges);
            return;
        }

        int count = chain.CopyReadable(bytes) / Hint.SizeInBytes;
        foreach (Hint hint in _hints.AsSpan(0, count))
        {
            Collect(true, (ulong)hint.Pfn << BalloonLimits.PfnShift, (ulong)hint.Size << BalloonLimits.PfnShift);
        }
    }

    private void Collect(bool mayWrite, ulong address, ulong bytes)
    {
        bool whole = address % PageBytes == 0 && bytes % PageBytes == 0;
        if (mayWrite && whole && IsGuests(address, bytes))
        {
            _reported.Add(new GuestRange(address, bytes));
        }
        else
        {
            Interlocked.Increment(ref _badRanges);
        }
    }

    private void Inflate(DescriptorChain chain)
    {
        foreach (uint page in ReadPageNumbers(chain))
        {
            ulong address = (ulong)page << BalloonLimits.PfnShift;
            if (IsGuests(address, PageBytes))
            {
                _inflated.Add(new GuestRange(address, PageBytes));
            }
            else
            {
                Interlocked.Increment(ref _badRanges);
            }
        }

        ReadOnlySpan<GuestRange> ranges = _inflated.Take();
        Interlocked.Add(ref _inflatedPages, Pages(ranges));
        Drop(_inflates, ranges);
    }

    private ReadOnlySpan<uint> ReadPageNumbers(DescriptorChain chain)
    {
        if (chain.WritableBytes != 0 || chain.ReadableBytes % sizeof(uint) != 0 || chain.ReadableBytes > PageNumbersMax * sizeof(uint))
        {
            Interlocked.Increment(ref _badRanges);
            return default;
        }

        int bytes = chain.CopyReadable(MemoryMarshal.AsBytes(_pageNumbers.AsSpan()));
        return _pageNumbers.AsSpan(0, bytes / sizeof(uint));
    }

    // Unsafe by the type of what it does not ask for.
    private unsafe bool IsGuests(ulong address, ulong bytes) =>
        bytes != 0 && address < _arenaBytes && bytes <= _arenaBytes - address && (CountsOnly || Memory.TryTranslate(address, bytes, out _));

    private static long Pages(ReadOnlySpan<GuestRange> ranges)
    {
        ulong bytes = 0;
        foreach (GuestRange range in ranges)
        {
            bytes += range.Bytes;
        }

        return (long)(bytes / PageBytes);
    }

    /// <summary>Everything that a request asks for, in one go.</summary>
    private void Drop(IDiscardPort port, ReadOnlySpan<GuestRange> ranges)
    {
        if (ranges.IsEmpty || CountsOnly)
        {
            return;
        }

        DiscardTotals totals = port.Discard(ranges);
        Interlocked.Add(ref _droppedPages, (long)(totals.DroppedBytes / PageBytes));
        Interlocked.Add(ref _failedDiscards, totals.Failed);
        Interlocked.Add(ref _refusedDiscards, totals.Refused);
    }

    /// <summary>Takes the statistics and keeps the buffer until new ones are wanted (5.5.6.3). True: kept.</summary>
    private bool KeepStatistics(DescriptorChain chain)
    {
        Span<byte> bytes = stackalloc byte[StatisticsMax * BalloonStat.SizeInBytes];
        int length = chain.CopyReadable(bytes);
        _statistics.Store(MemoryMarshal.Cast<byte, BalloonStat>(bytes[..(length - (length % BalloonStat.SizeInBytes))]));
        if (_heldStatistics >= 0)
        {
            return false;
        }

        _heldStatistics = chain.Head;
        return true;
    }
}
