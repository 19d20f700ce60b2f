using System;

namespace LowLevel.Allocator;

/// <summary>A host elsewhere, and this process's own in its place while the other is away. Which of them gets a batch is decided when nothing is
/// in flight and holds until nothing is again; each has slots of its own, so that batches which a lost host still holds lie beside those that go
/// on. Used by the holder of the treatment lock.
/// <code>
/// slots 0 .. ReportsInFlight - 1   the host elsewhere
/// the others                       this process
/// </code></summary>
internal sealed class SwitchedDevice(ITreatmentDevice remote, int remoteSlots, ITreatmentDevice local) : ITreatmentDevice
{
    private int _inFlight;
    private bool _isRemote;

    /// <inheritdoc/>
    public int Capacity => Current.Capacity;

    /// <inheritdoc/>
    public int InFlightMax => remoteSlots + local.InFlightMax;

    /// <inheritdoc/>
    public bool IsOutOfService => Current.IsOutOfService;

    /// <inheritdoc/>
    public bool GoesOnBesideQuarantine => true;

    private ITreatmentDevice Current
    {
        get
        {
            if (_inFlight == 0)
            {
                _isRemote = remote.Capacity > 0;
            }

            return _isRemote ? remote : local;
        }
    }

    /// <inheritdoc/>
    public bool Takes(int slot) =>
        Current == remote ? slot < Math.Min(remoteSlots, remote.InFlightMax) : slot >= remoteSlots && slot - remoteSlots < local.InFlightMax;

    /// <inheritdoc/>
    public bool React(ReadOnlySpan<PageRange> batch, int slot)
    {
        bool isPublished = slot < remoteSlots ? remote.React(batch, slot) : local.React(batch, slot - remoteSlots);
        _inFlight += isPublished ? 1 : 0;
        return isPublished;
    }

    /// <inheritdoc/>
    public SettleResult Settle(TimeSpan timeout, out int slot)
    {
        SettleResult result = _isRemote ? remote.Settle(timeout, out slot) : local.Settle(timeout, out slot);
        if (result == SettleResult.TimedOut)
        {
            // The reactor revokes all that is in flight; what cannot be revoked is quarantined in its slot.
            _inFlight = 0;
            return result;
        }

        _inFlight--;
        slot += _isRemote ? 0 : remoteSlots;
        return result;
    }

    /// <inheritdoc/>
    public bool TryRevoke(int slot, TimeSpan timeout) =>
        slot < remoteSlots ? remote.TryRevoke(slot, timeout) : local.TryRevoke(slot - remoteSlots, timeout);

    /// <inheritdoc/>
    public bool TryRestart() => local.TryRestart();

    /// <inheritdoc/>
    public void Dispose()
    {
        remote.Dispose();
        local.Dispose();
    }
}
