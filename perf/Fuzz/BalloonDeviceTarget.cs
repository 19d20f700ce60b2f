using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>The host's balloon device, whose driver is the input: every queue, the status, the features, the configuration, out of order and while it
/// works. What it drops is compared with what <see cref="BalloonDeviceModel"/> reads on the same rings.</summary>
internal sealed class BalloonDeviceTarget : IFuzzTarget, IDiscardPort
{
    /// <summary>Pages of guest memory below which the device may drop; one of them is no memory.</summary>
    public const int ArenaPages = 62;

    private const int QueueSize = 8;
    private const int Queues = BalloonLimits.Queues;
    private const ulong Page = 4096;
    private const ulong DriverPage = 0x100000;
    private const ulong DataPage = DriverPage + (2 * Page);
    private const ulong DevicePage = 0x200000;
    private const int TableEntries = 16;

    private readonly FuzzMemory _memory = new();
    private readonly GuestMemory _guest;
    private readonly nint _data;
    private readonly nint _table;
    private readonly RingView[] _views = new RingView[Queues];
    private readonly BalloonDeviceModel _model;
    private BalloonDevice _device;
    private FuzzMap _map = new();
    private byte[] _surprise = [];
    private int _surprises;
    private bool _isServing;
    private DiscardTotals _outcome;

    public BalloonDeviceTarget()
    {
        // Page 32 is no memory.
        _memory.Add(0, 32, MemoryProtection.Read);
        _memory.Add(33 * Page, 31, MemoryProtection.Read);
        FuzzMemory.Part rings = _memory.Add(DriverPage, 2, MemoryProtection.Read);
        FuzzMemory.Part data = _memory.Add(DataPage, 2, MemoryProtection.Read);
        _memory.Add(DevicePage, 1, MemoryProtection.ReadWrite);
        _data = data.Input;
        _table = rings.Input + (nint)Page;
        _guest = _memory.ToGuestMemory();
        for (int i = 0; i < Queues; i++)
        {
            _views[i] = new RingView(_memory, QueueSize, At(i));
        }

        _model = new BalloonDeviceModel(_memory, _views);
        _device = Make(new BalloonDeviceOptions());
    }

    public string Name => "balloon-device";

    public int InputMax => 256;

    private unsafe Span<uint> Data => new((void*)_data, (int)(2 * Page / sizeof(uint)));

    private unsafe Span<VirtqDescriptor> Table => new((void*)_table, TableEntries);

    public void Run(ReadOnlySpan<byte> input, FuzzMap map)
    {
        FuzzReader reader = new(input);
        int kind = reader.Byte();
        _map = map;
        _surprise = [reader.Byte(), reader.Byte(), reader.Byte()];
        _surprises = 0;
        _outcome = default;
        foreach (RingView view in _views)
        {
            view.Clear();
        }

        Data[..64].Clear();
        Table.Clear();
        BalloonDeviceOptions options = new()
        {
            Dialect = (ReportDialect)(kind & 1),
            QueueSizeMax = QueueSize,
            ReportCapacity = (kind & 2) == 0 ? 1024 : 3,
            AdoptsActual = (kind & 4) != 0,
        };
        _device = Make(options);
        _device.CountsOnly = (kind & 8) != 0;
        _model.Begin(options, _device.CountsOnly);
        _device.QueueInterrupt = _ => Surprise(64);
        _device.ConfigInterrupt = () => Surprise(32);
        if ((kind & 128) == 0)
        {
            Boot(Feature.Version1 | (_device.OfferedFeatures & (Feature)(((ulong)kind << 24) | 63)));
        }

        while (reader.HasMore)
        {
            Step(ref reader);
        }

        Reset();
    }

    /// <inheritdoc/>
    public DiscardTotals Discard(ReadOnlySpan<GuestRange> ranges)
    {
        FuzzFinding.Require(_isServing && !ranges.IsEmpty, "a discard that no request asked for");
        ulong end = 0;
        foreach (GuestRange range in ranges)
        {
            bool isWhole = (range.Address | range.Bytes) % Page == 0 && range.Bytes != 0;
            FuzzFinding.Require(
                isWhole && range.Address < ArenaPages * Page && range.Bytes <= (ArenaPages * Page) - range.Address,
                $"{range} is not the guest's to drop");
            FuzzFinding.Require(range.Address > end || end == 0, $"{range} is not joined to what is before it");
            end = range.End;
        }

        _model.Dropped(ranges);
        Surprise(128);
        return _outcome;
    }

    public void Dispose() => _memory.Dispose();

    private static VirtqueueAddresses At(int queue) => new(
        DriverPage + ((ulong)queue * 256), DriverPage + 2048 + ((ulong)queue * 64), DevicePage + ((ulong)queue * 128));

    private BalloonDevice Make(BalloonDeviceOptions options) => new(_guest, ArenaPages * Page, this, this, options);

    /// <summary>As a driver begins, but for the queues that it forgets.</summary>
    private void Boot(Feature features, int forgotten = 0)
    {
        _device.AddStatus(DeviceStatus.Acknowledge);
        _device.AddStatus(DeviceStatus.Driver);
        _device.AcceptFeatures(features);
        _device.AddStatus(DeviceStatus.FeaturesOk);
        for (int i = 0; i < Queues; i++)
        {
            if (_device.QueueSizeMax(i) != 0 && (forgotten & (1 << i)) == 0)
            {
                SetQueue(i, QueueSize, At(i));
            }
        }

        _device.AddStatus(DeviceStatus.DriverOk);
    }

    private void SetQueue(int queue, int size, VirtqueueAddresses at)
    {
        ProtocolFault before = _device.Fault;
        _device.SetQueue(queue, size, at);
        bool taken = _device.Fault == before && (_device.Status & DeviceStatus.NeedsReset) == 0;
        if (taken)
        {
            FuzzFinding.Require((_device.Status & DeviceStatus.FeaturesOk) != 0, "a queue was taken before the features were agreed on");
            _model.Start(queue, size == QueueSize && at == At(queue));
        }
    }

    /// <summary>Behind the device's back, while it serves: a byte of its rings, or more. From then on nothing is compared, only bounds.</summary>
    private void Surprise(int bit)
    {
        if (_isServing && (_surprise[0] & bit) != 0 && _surprises++ < 4)
        {
            _model.IsLost = true;
            RingView view = _views[_surprise[1] % Queues];
            Span<byte> part = (_surprise[1] & 128) != 0 ? view.Descriptors : view.Available;
            part[_surprise[2] % part.Length] ^= _surprise[1];
        }
    }

    private void Step(ref FuzzReader reader)
    {
        int queue = reader.Below(Queues);
        switch (reader.Below(16))
        {
            case < 3:
                Ask(ref reader, queue);
                Serve(queue);
                break;
            case 3 or 4:
                Ask(ref reader, queue);
                break;
            case 5:
                RingWriter.Write(reader.Below(8), ref reader, _views[queue], Table, DriverPage + Page, QueueSize);
                break;
            case 6:
                Data[reader.Byte() & 63] = reader.WildWord();
                break;
            case 7 or 8 or 9:
                Serve(queue);
                break;
            case 10:
                Talk(ref reader, queue);
                break;
            case 11:
                RingWriter.Scribble(ref reader, _views[queue]);
                break;
            case 12:
                _outcome = new DiscardTotals { DroppedBytes = (ulong)reader.Below(4) * Page, Failed = reader.Below(2), Refused = reader.Below(2) };
                break;
            case 13 when reader.Below(4) == 0:
                Reset();
                Boot(Feature.Version1 | (_device.OfferedFeatures & (Feature)reader.Wild()), reader.Byte());
                break;
            default:
                _device.WantStatistics();
                Serve(BalloonLimits.StatsQueue);
                break;
        }
    }

    /// <summary>What the driver of a balloon says, near enough.</summary>
    private void Ask(ref FuzzReader reader, int queue)
    {
        RingView view = _views[queue];
        int head = reader.Byte() & (QueueSize - 1);
        int count = 1 + reader.Below(QueueSize);
        bool reports = queue == BalloonLimits.ReportingQueue && (reader.Byte() & 7) != 0;
        for (int i = 0; i < count && reports; i++)
        {
            view.Descriptor(head + i) = new VirtqDescriptor
            {
                Addr = (ulong)(reader.Byte() % 66) * Page, Len = (uint)((1 + reader.Below(5)) * (int)Page),
                Flags = (ushort)(i == count - 1 ? 2 : 3), Next = (ushort)((head + i + 1) & (QueueSize - 1)),
            };
        }

        if (!reports)
        {
            uint first = reader.Byte();
            for (int i = 0; i < 16; i++)
            {
                Data[i] = first + (uint)(i * (1 + (head & 1)));
            }

            view.Descriptor(head) = new VirtqDescriptor { Addr = DataPage, Len = (uint)(count * sizeof(uint)), Flags = 0 };
        }

        view.AvailableSlot(view.AvailableIndex) = (ushort)head;
        RingView.Advance(ref view.AvailableIndex);
    }

    private void Serve(int queue)
    {
        bool isLive = (_device.Status & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset)) == DeviceStatus.DriverOk;
        ChainFault expected = _model.Foretell(queue, isLive, _device.Features, _device.ReadConfig(12));
        _isServing = true;
        bool more = _device.Serve(queue);
        _isServing = false;
        FuzzFinding.Require(!more, "an unbounded service says that there is more");
        FuzzFinding.Require(isLive || _model.Calls == 0, "a device that is not live has dropped something");
        _map.Note(1, (queue * 32) + (int)_device.ChainFault);
        _map.Note(2, (int)_device.Fault + (Math.Min(_model.Calls, 3) * 16));
        if (isLive && !_model.IsLost)
        {
            FuzzFinding.Require(_device.ChainFault == expected, $"queue {queue}: {_device.ChainFault}, on the ring {expected}");
            _model.Compare();
        }

        bool isBroken = (_device.Status & DeviceStatus.NeedsReset) != 0;
        FuzzFinding.Require(!isBroken || _device.Fault is not (ProtocolFault.None or ProtocolFault.NotifiedTooEarly), "NEEDS_RESET without a reason");
    }

    private void Talk(ref FuzzReader reader, int queue)
    {
        int what = reader.Below(8);
        _map.Note(3, (what * 16) + (int)_device.Fault);
        switch (what)
        {
            case 0:
                _device.AddStatus((DeviceStatus)reader.Byte());
                break;
            case 1:
                _device.AcceptFeatures((Feature)reader.Wild());
                break;
            case 2:
                ulong place = reader.Wild();
                SetQueue(reader.WildInt(), reader.WildInt(), unchecked(new VirtqueueAddresses(place, place + reader.Wild(), place + reader.Wild())));
                break;
            case 3:
                SetQueue(queue, QueueSize, At(queue));
                break;
            case 4:
                _device.WriteConfig(reader.WildInt(), reader.WildWord());
                break;
            case 5:
                _device.SetTarget(reader.WildWord());
                break;
            case 6:
                _device.ReadConfig(reader.WildInt());
                break;
            default:
                Notify(reader.WildInt());
                break;
        }

        bool agreed = (_device.Status & DeviceStatus.FeaturesOk) != 0;
        bool isWhole = (_device.Features & ~_device.OfferedFeatures) == 0 && (_device.Features & Feature.Version1) != 0;
        FuzzFinding.Require(!agreed || isWhole, $"features {_device.Features} were agreed on");
    }

    private void Notify(int queue)
    {
        if (queue is >= 0 and < Queues)
        {
            Serve(queue);
        }
        else
        {
            _device.Serve(queue);
        }
    }

    private void Reset()
    {
        FuzzFinding.Require(_device.TryReset(new Deadline(TimeProvider.System, TimeSpan.Zero)), "a reset that nobody stands in the way of is not acknowledged");
        FuzzFinding.Require(_device is { Status: 0, Fault: ProtocolFault.None, ChainFault: ChainFault.None, ActualPages: 0 }, "a device in reset remembers something");
        _model.Stop();
        foreach (RingView view in _views)
        {
            view.Clear();
        }
    }
}
