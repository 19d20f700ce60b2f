using System;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The control memory of the balloon driver: everything that the device reads or writes besides the arena's pages, in
/// one page-aligned stretch, which may be a memfd shared with another process.
/// <code>
/// reporting queue | inflate, deflate, statistics queues | indirect tables | hints | page numbers in | page numbers out | statistics
/// </code></summary>
internal sealed class BalloonControl
{
    /// <summary>Page numbers of one inflate or deflate request: a block of the largest order.</summary>
    public const int PageNumbersMax = (int)PageblockLimits.PagesPerMaxBlock;

    /// <summary>Entries of the statistics buffer.</summary>
    public const int StatisticsMax = 10;

    /// <summary>Deflate requests that may be with the device at one time.</summary>
    public const int DeflatesMax = SmallQueueSize;

    /// <summary>Descriptors of the inflate, deflate and statistics queues, and so their requests: each has one descriptor.</summary>
    public const int SmallQueueSize = 16;

    private const int PageBytes = 4096;

    private readonly GuestMemory _memory;
    private readonly ulong _address;
    private readonly nint _host;
    private readonly Offsets _offsets;

    /// <summary>Control memory at a guest address.</summary>
    /// <param name="memory">Guest memory, the control region included.</param>
    /// <param name="address">Guest address of the control region, page-aligned.</param>
    /// <param name="options">What has to fit: at least <see cref="Bytes"/> of them.</param>
    public unsafe BalloonControl(GuestMemory memory, ulong address, BalloonDriverOptions options)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(options);
        if (address % PageBytes != 0 || !memory.TryTranslate(address, Bytes(options), out byte* host))
        {
            throw new ArgumentException(
                $"no {Bytes(options)} bytes at guest address 0x{address:x}: control memory is page-aligned and in one region", nameof(address));
        }

        _memory = memory;
        _address = address;
        _host = (nint)host;
        _offsets = new Offsets(options);
    }

    /// <summary>Guest address of the page numbers of an inflate request.</summary>
    public ulong InflateAddress => _address + (ulong)_offsets.Inflate;

    /// <summary>Guest address of the statistics.</summary>
    public ulong StatisticsAddress => _address + (ulong)_offsets.Statistics;

    // Sound, each of them: the constructor translated the whole stretch, and Offsets keeps the parts inside it.

    /// <summary>The hints of one of the reports.</summary>
    public unsafe Span<Hint> Hints(int report) => new((void*)(_host + HintsOffset(report)), _offsets.Capacity);

    /// <summary>Their guest address.</summary>
    public ulong HintsAddress(int report) => _address + (ulong)HintsOffset(report);

    /// <summary>The page numbers of an inflate request.</summary>
    public unsafe Span<uint> InflatePages => new((void*)(_host + _offsets.Inflate), PageNumbersMax);

    /// <summary>The page numbers of one of the deflate requests.</summary>
    public unsafe Span<uint> DeflatePages(int request) => new((void*)(_host + DeflateOffset(request)), PageNumbersMax);

    /// <summary>Their guest address.</summary>
    public ulong DeflateAddress(int request) => _address + (ulong)DeflateOffset(request);

    /// <summary>The statistics.</summary>
    public unsafe Span<BalloonStat> Statistics => new((void*)(_host + _offsets.Statistics), StatisticsMax);

    /// <summary>Bytes of control memory that a driver with these options needs; whole pages.</summary>
    public static ulong Bytes(BalloonDriverOptions options) => (ulong)((new Offsets(options).End + PageBytes - 1) & -PageBytes);

    /// <summary>Where the rings of a queue stand.</summary>
    public VirtqueueAddresses Queue(int queue, int size) => new VirtqueueLayout(size).PlaceAt(_address + (ulong)_offsets.Queue(queue));

    /// <summary>A driver queue over the rings of that queue number. Both were checked when this was made.</summary>
    public DriverQueue MakeQueue(int queue, int size, Feature features)
    {
        IndirectTables? tables = null;
        bool indirect = queue == BalloonLimits.ReportingQueue && (features & Feature.IndirectDescriptors) != 0;
        bool mapped = SplitRing.TryMap(_memory, size, Queue(queue, size), out SplitRing ring)
            && (!indirect || IndirectTables.TryMap(_memory, _address + (ulong)_offsets.Table, _offsets.Reports, _offsets.Capacity, out tables));
        return mapped
            ? new DriverQueue(ring, (features & Feature.EventIndex) != 0, tables)
            : throw new InvalidOperationException($"queue {queue} of {size} descriptors does not fit into the control memory");
    }

    private int HintsOffset(int report)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(unchecked((uint)report), (uint)_offsets.Reports);
        return _offsets.Hints + (report * _offsets.Capacity * Hint.SizeInBytes);
    }

    private int DeflateOffset(int request)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(unchecked((uint)request), (uint)DeflatesMax);
        return _offsets.Deflate + (request * PageNumbersMax * sizeof(uint));
    }

    /// <summary>Offsets of the parts in control memory.</summary>
    private readonly struct Offsets
    {
        private readonly int _small;
        private readonly int _smallBytes;

        public Offsets(BalloonDriverOptions options)
        {
            Capacity = options.WantedCapacity;
            Reports = options.ReportsInFlight;
            _small = new VirtqueueLayout(options.EffectiveQueueSize).TotalBytes;
            _smallBytes = new VirtqueueLayout(SmallQueueSize).TotalBytes;
            Table = _small + (3 * _smallBytes);
            Hints = Table + IndirectTables.Bytes(Reports, Capacity);
            Inflate = Hints + (Reports * Capacity * Hint.SizeInBytes);
            Deflate = Inflate + (PageNumbersMax * sizeof(uint));
            Statistics = Deflate + (DeflatesMax * PageNumbersMax * sizeof(uint));
            End = Statistics + (StatisticsMax * BalloonStat.SizeInBytes);
        }

        public int Capacity { get; }

        public int Reports { get; }

        public int Table { get; }

        public int Hints { get; }

        public int Inflate { get; }

        public int Deflate { get; }

        public int Statistics { get; }

        public int End { get; }

        public int Queue(int queue) => queue == BalloonLimits.ReportingQueue ? 0 : _small + (queue * _smallBytes);
    }
}
