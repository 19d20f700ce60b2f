using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>A block of the arena as the device sees it: first page and number of pages.</summary>
internal readonly record struct PageRange(Pfn Start, uint Pages);

/// <summary>How a batch came back from the device.</summary>
internal enum SettleResult
{
    /// <summary>The device used every buffer: the blocks are treated.</summary>
    Treated,

    /// <summary>As <see cref="Treated"/>, and this process's own DONTNEED or hole punch succeeded over every byte: they read zero.</summary>
    TreatedZero,

    /// <summary>The device used the buffers but says, or showed, that it did nothing (an error, a lie): the blocks are raw.</summary>
    Failed,

    /// <summary>No answer in time. What is in flight stays with the device until <see cref="ITreatmentDevice.TryRevoke"/> succeeds.</summary>
    TimedOut,
}

/// <summary>Where the reactor hands its batches (the series' aerator_dev_info: capacity and react). A few may be in flight, each in a
/// slot that the caller names; calls come from one thread at a time (the holder of the treatment lock).</summary>
internal interface ITreatmentDevice : IDisposable
{
    /// <summary>Blocks per batch: the least of what the driver asked for, what the queue holds and what the device allows. 0
    /// while the device takes no reports (feature refused, device broken or lost).</summary>
    int Capacity { get; }

    /// <summary>Batches that may be with the device at one time, at least 1: slots are numbered from 0. It changes only with
    /// <see cref="TryRestart"/>.</summary>
    int InFlightMax => 1;

    /// <summary>Whether the next batch may go out in this slot. A device that others stand in for has slots that are theirs.</summary>
    bool Takes(int slot) => true;

    /// <summary>Whether batches may go out while others could not be revoked: only where these never come back by
    /// <see cref="Settle"/>, because whoever has them is not talked to any more.</summary>
    bool GoesOnBesideQuarantine => false;

    /// <summary>Whether the device needs <see cref="TryRestart"/> before it can take anything: it was reset, broke the protocol, or was
    /// never started. A device that is in order and merely takes no reports is not restarted again and again.</summary>
    bool IsOutOfService => Capacity <= 0;

    /// <summary>Publishes the batch in a free slot and notifies the device. False: nothing was published and the device cannot touch the
    /// blocks.</summary>
    bool React(ReadOnlySpan<PageRange> batch, int slot);

    /// <summary>Waits until one of the batches that <see cref="React"/> published has come back, at most <paramref name="timeout"/>.
    /// They come back in the device's order.</summary>
    /// <param name="timeout">For the wait.</param>
    /// <param name="slot">Whose answer it is; the slot is free then. No slot with <see cref="SettleResult.TimedOut"/>.</param>
    SettleResult Settle(TimeSpan timeout, out int slot);

    /// <summary>After <see cref="SettleResult.TimedOut"/>: resets the device and takes the batch in a slot back. True once it can no
    /// longer touch the batch: in this process when its claim was cancelled or the claimed call has returned; elsewhere when it has
    /// acknowledged the reset. May be called again after false.</summary>
    bool TryRevoke(int slot, TimeSpan timeout);

    /// <summary>Brings a device that was reset back into service (negotiates again). False: it stays out of service.</summary>
    bool TryRestart();
}
