using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Reports to the device, a few at a time (queue 4, in either dialect): publishes a batch, waits for one, judges what came
/// of it. Each report has a slot of its own: its hints, its indirect table, its gate. With an in-process device the blocks are behind
/// <see cref="DiscardGates"/>, which alone decide when the device can no longer touch them; a device elsewhere is believed only
/// after a reset. Interrupts are asked for only before a wait. One caller at a time.</summary>
internal sealed class ReportingQueue
{
    private readonly BalloonControl _control;
    private readonly DiscardGates? _gates;
    private readonly ReportDialect _dialect;
    private readonly uint? _poison;
    private readonly Signal _answered = new();
    private readonly QueueBuffer[] _buffers;
    private readonly GuestRange[] _ranges;
    private readonly ReportState[] _slots;
    private DriverQueue? _queue;

    /// <summary>A queue that is not set up yet.</summary>
    public ReportingQueue(BalloonControl control, DiscardGates? gates, BalloonDriverOptions options)
    {
        _control = control;
        _gates = gates;
        _dialect = options.Dialect;
        _poison = options.PoisonValue;
        _buffers = new QueueBuffer[options.WantedCapacity];
        _ranges = new GuestRange[options.WantedCapacity];
        _slots = new ReportState[options.ReportsInFlight];
    }

    /// <summary>Where a report is.</summary>
    private enum ReportState : byte
    {
        /// <summary>There is none.</summary>
        None,

        /// <summary>With the device.</summary>
        Published,

        /// <summary>The device has answered; its gate was not closed yet.</summary>
        Answered,
    }

    /// <summary>Reports with the device, or not yet taken back from it.</summary>
    public int InFlight { get; private set; }

    /// <summary>The device broke the ring's rules; nothing goes on before a reset.</summary>
    public DriverQueueFault Fault => _queue?.Fault ?? DriverQueueFault.None;

    /// <summary>Takes over a fresh queue after negotiation; null: the device takes no reports.</summary>
    public void SetUp(DriverQueue? queue)
    {
        _queue = queue;
        queue?.DisableInterrupts();
    }

    /// <summary>The interrupt: something may have come back. Any thread.</summary>
    public void Interrupt() => _answered.Set();

    /// <summary>Publishes a report in a slot. True: published, and <paramref name="mustNotify"/> says whether the device wants to
    /// hear. False: the device cannot touch the blocks.</summary>
    public bool TryPublish(ReadOnlySpan<PageRange> batch, int slot, out bool mustNotify)
    {
        mustNotify = false;
        if (_queue is null || _slots[slot] != ReportState.None || IsAnsweringNothing(_queue))
        {
            return false;
        }

        int buffers = Fill(batch, slot);

        // Everything that can fail comes before the gate opens: once it is open, the blocks are the device's.
        if (!_queue.CanAdd(buffers) || (_gates is not null && !_gates[slot].TryOpen(_ranges.AsSpan(0, batch.Length))))
        {
            return false;
        }

        _queue.TryAdd(_buffers.AsSpan(0, buffers), (ulong)slot);
        _slots[slot] = ReportState.Published;
        InFlight++;
        mustNotify = _queue.Publish();
        return true;
    }

    /// <summary>Waits for the next report that comes back. Gives up early where the queue or the device is broken: only a reset helps
    /// then.</summary>
    /// <param name="deadline">For the wait, and for a call under way in this process.</param>
    /// <param name="transport">Says whether the device is up.</param>
    /// <param name="slot">The report's; -1 where none has come back.</param>
    public SettleResult Settle(in Deadline deadline, IVirtioTransport transport, out int slot)
    {
        if (_queue is null || InFlight == 0)
        {
            throw new InvalidOperationException("no report is with the device");
        }

        slot = -1;
        int answered = WaitForAnswer(_queue, deadline, transport);
        if (answered < 0 || (_gates is not null && !_gates[answered].TryClose(deadline)))
        {
            return SettleResult.TimedOut;
        }

        slot = answered;
        Release(slot);
        return Judge(slot);
    }

    /// <summary>Takes a report's blocks back without an answer. True: the device can no longer touch them.</summary>
    /// <param name="slot">The report's.</param>
    /// <param name="wasReset">The device has acknowledged a reset.</param>
    /// <param name="deadline">For a call under way in this process.</param>
    public bool TryAbandon(int slot, bool wasReset, in Deadline deadline)
    {
        if (_gates is null ? !wasReset : !_gates[slot].TryClose(deadline))
        {
            return false;
        }

        Release(slot);
        return true;
    }

    /// <summary>Takes every report's blocks back. True: the device can no longer touch any.</summary>
    public bool TryAbandonAll(bool wasReset, in Deadline deadline)
    {
        bool isSafe = true;
        for (int slot = 0; slot < _slots.Length; slot++)
        {
            isSafe &= TryAbandon(slot, wasReset, deadline);
        }

        return isSafe;
    }

    private void Release(int slot)
    {
        InFlight -= _slots[slot] == ReportState.None ? 0 : 1;
        _slots[slot] = ReportState.None;
    }

    private static bool IsDown(DeviceStatus status) => (status & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset)) != DeviceStatus.DriverOk;

    /// <summary>With nothing in flight an answer is a lie; to take it is to find that out.</summary>
    private bool IsAnsweringNothing(DriverQueue queue) =>
        (InFlight == 0 && queue.TryReap(out _)) || queue.Fault != DriverQueueFault.None;

    /// <summary>The slot of a report that has come back; -1: none has in time, or the device is broken.</summary>
    private int WaitForAnswer(DriverQueue queue, in Deadline deadline, IVirtioTransport transport)
    {
        int answered = _slots.Length - 1;
        while (answered >= 0 && _slots[answered] != ReportState.Answered)
        {
            answered--;
        }

        for (bool inTime = true; answered < 0 && !TryReap(queue, out answered);)
        {
            if (!inTime || queue.Fault != DriverQueueFault.None)
            {
                return -1;
            }

            inTime = Sleep(queue, deadline, transport);
        }

        return answered;
    }

    private bool TryReap(DriverQueue queue, out int slot)
    {
        slot = -1;
        while (slot < 0 && queue.TryReap(out UsedRequest used))
        {
            // An answer to what was given up concerns nobody.
            slot = _slots[used.Token] == ReportState.Published ? (int)used.Token : -1;
        }

        if (slot >= 0)
        {
            _slots[slot] = ReportState.Answered;
        }

        return slot >= 0;
    }

    /// <summary>Until all but one of the reports with the device have come back: it works on that one while this thread wakes up, and one
    /// wake-up serves all the others. False: no more time, or no more use.</summary>
    private bool Sleep(DriverQueue queue, in Deadline deadline, IVirtioTransport transport)
    {
        _answered.Clear();
        try
        {
            return queue.EnableInterrupts(Math.Max(queue.Outstanding - 1, 1)) || (!IsDown(transport.Status) && _answered.Wait(deadline));
        }
        finally
        {
            queue.DisableInterrupts();
        }
    }

    private int Fill(ReadOnlySpan<PageRange> batch, int slot)
    {
        Span<Hint> hints = _control.Hints(slot);
        for (int i = 0; i < batch.Length; i++)
        {
            ulong bytes = (ulong)batch[i].Pages << BalloonLimits.PfnShift;
            _ranges[i] = new GuestRange(batch[i].Start.ByteOffset, bytes);
            if (_dialect == ReportDialect.Hints)
            {
                hints[i] = new Hint { Pfn = batch[i].Start.Value, Size = batch[i].Pages };
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

        _buffers[0] = new QueueBuffer(_control.HintsAddress(slot), (uint)(batch.Length * Hint.SizeInBytes), DeviceWrites: false);
        return 1;
    }

    private SettleResult Judge(int slot)
    {
        if (_gates is null || _poison is not (null or 0))
        {
            // The host was told; with contents to keep there was nothing to drop.
            return SettleResult.Treated;
        }

        if (!_gates[slot].DroppedAll)
        {
            return SettleResult.Failed;
        }

        return _gates[slot].LeavesZero && _poison is null ? SettleResult.TreatedZero : SettleResult.Treated;
    }
}
