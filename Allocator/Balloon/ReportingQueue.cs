using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Reports to the device, one at a time (queue 4, in either dialect): publishes a batch, waits for it, judges what came
/// of it. With an in-process device the blocks are behind a <see cref="DiscardGate"/>, which alone decides when the device can
/// no longer touch them; a device elsewhere is believed only after a reset. One caller at a time.</summary>
internal sealed class ReportingQueue
{
    private readonly BalloonControl _control;
    private readonly DiscardGate? _gate;
    private readonly ReportDialect _dialect;
    private readonly uint? _poison;
    private readonly Signal _answered = new();
    private readonly QueueBuffer[] _buffers;
    private readonly GuestRange[] _ranges;
    private DriverQueue? _queue;
    private bool _isReaped;

    /// <summary>A queue that is not set up yet.</summary>
    public ReportingQueue(BalloonControl control, DiscardGate? gate, BalloonDriverOptions options)
    {
        _control = control;
        _gate = gate;
        _dialect = options.Dialect;
        _poison = options.PoisonValue;
        _buffers = new QueueBuffer[options.WantedCapacity];
        _ranges = new GuestRange[options.WantedCapacity];
    }

    /// <summary>A report is with the device.</summary>
    public bool IsInFlight { get; private set; }

    /// <summary>The device broke the ring's rules; nothing goes on before a reset.</summary>
    public DriverQueueFault Fault => _queue?.Fault ?? DriverQueueFault.None;

    /// <summary>Takes over a fresh queue after negotiation; null: the device takes no reports.</summary>
    public void SetUp(DriverQueue? queue) => _queue = queue;

    /// <summary>The interrupt: something may have come back. Any thread.</summary>
    public void Interrupt() => _answered.Set();

    /// <summary>Publishes a report. True: published, and <paramref name="mustNotify"/> says whether the device wants to hear.
    /// False: the device cannot touch the blocks.</summary>
    public bool TryPublish(ReadOnlySpan<PageRange> batch, out bool mustNotify)
    {
        mustNotify = false;
        if (_queue is null || IsInFlight || _queue.TryReap(out _) || _queue.Fault != DriverQueueFault.None)
        {
            return false;
        }

        int buffers = Fill(batch);

        // Everything that can fail comes before the gate opens: once it is open, the blocks are the device's.
        if (!_queue.CanAdd(buffers) || (_gate is not null && !_gate.TryOpen(_ranges.AsSpan(0, batch.Length))))
        {
            return false;
        }

        _answered.Clear();
        _isReaped = false;
        IsInFlight = _queue.TryAdd(_buffers.AsSpan(0, buffers), token: 0);
        mustNotify = _queue.Publish();
        return true;
    }

    /// <summary>Waits for the report. Gives up early where the queue or the device is broken: only a reset helps then.</summary>
    public SettleResult Settle(in Deadline deadline, IVirtioTransport transport)
    {
        if (_queue is null || !IsInFlight)
        {
            throw new InvalidOperationException("no report is with the device");
        }

        bool inTime = true;
        while (!_isReaped)
        {
            _isReaped = _queue.TryReap(out _);
            if (!_isReaped && (!inTime || _queue.Fault != DriverQueueFault.None || IsDown(transport.Status)))
            {
                return SettleResult.TimedOut;
            }

            inTime = _isReaped || _answered.Wait(deadline);
        }

        if (_gate is not null && !_gate.TryClose(deadline))
        {
            return SettleResult.TimedOut;
        }

        IsInFlight = false;
        return Judge();
    }

    /// <summary>Takes the blocks back without an answer. True: the device can no longer touch them.</summary>
    /// <param name="wasReset">The device has acknowledged a reset.</param>
    /// <param name="deadline">For a call under way in this process.</param>
    public bool TryAbandon(bool wasReset, in Deadline deadline)
    {
        bool isSafe = _gate is null ? wasReset : _gate.TryClose(deadline);
        IsInFlight &= !isSafe;
        return isSafe;
    }

    private static bool IsDown(DeviceStatus status) => (status & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset)) != DeviceStatus.DriverOk;

    private int Fill(ReadOnlySpan<PageRange> batch)
    {
        for (int i = 0; i < batch.Length; i++)
        {
            ulong bytes = (ulong)batch[i].Pages << BalloonLimits.PfnShift;
            _ranges[i] = new GuestRange(batch[i].Start.ByteOffset, bytes);
            if (_dialect == ReportDialect.Hints)
            {
                _control.Hints[i] = new Hint { Pfn = batch[i].Start.Value, Size = batch[i].Pages };
            }
            else
            {
                _buffers[i] = new QueueBuffer(_ranges[i].Address, checked((uint)bytes), DeviceWrites: true);
            }
        }

        if (_dialect != ReportDialect.Hints)
        {
            return batch.Length;
        }

        _buffers[0] = new QueueBuffer(_control.HintsAddress, (uint)(batch.Length * Hint.SizeInBytes), DeviceWrites: false);
        return 1;
    }

    private SettleResult Judge()
    {
        if (_gate is null || _poison is not (null or 0))
        {
            // The host was told; with contents to keep there was nothing to drop.
            return SettleResult.Treated;
        }

        if (!_gate.DroppedAll)
        {
            return SettleResult.Failed;
        }

        return _gate.LeavesZero && _poison is null ? SettleResult.TreatedZero : SettleResult.Treated;
    }
}
