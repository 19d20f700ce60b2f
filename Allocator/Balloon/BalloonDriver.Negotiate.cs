using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>How the driver brings its device into service.</summary>
internal sealed partial class BalloonDriver
{
    /// <summary>The steps of 3.1.1 in their order. False: this device cannot be driven.</summary>
    private bool Negotiate()
    {
        _isReset = false;
        _transport.AddStatus(DeviceStatus.Acknowledge);
        _transport.AddStatus(DeviceStatus.Driver);
        Feature features = BalloonFeatures.Choose(_transport, _options);
        if ((features & Feature.Version1) == 0)
        {
            return false;
        }

        _transport.AcceptFeatures(features);
        _transport.AddStatus(DeviceStatus.FeaturesOk);
        if ((_transport.Status & DeviceStatus.FeaturesOk) == 0)
        {
            return false;
        }

        _features = features;
        if ((features & Feature.PagePoison) != 0)
        {
            _transport.WriteConfig(PoisonOffset, _options.PoisonValue!.Value);
        }

        if (!SetUpQueues())
        {
            return false;
        }

        _transport.AddStatus(DeviceStatus.DriverOk);
        return (_transport.Status & (DeviceStatus.DriverOk | DeviceStatus.NeedsReset)) == DeviceStatus.DriverOk;
    }

    private bool SetUpQueues()
    {
        DriverQueue? inflate = SetUpQueue(BalloonLimits.InflateQueue, BalloonControl.SmallQueueSize);
        DriverQueue? deflate = SetUpQueue(BalloonLimits.DeflateQueue, BalloonControl.SmallQueueSize);
        if (inflate is null || deflate is null)
        {
            return false;
        }

        bool hasStatistics = (_features & Feature.StatsQueue) != 0;
        bool hasReports = (_features & Feature.PageReporting) != 0;
        DriverQueue? reports = hasReports ? SetUpQueue(BalloonLimits.ReportingQueue, _options.EffectiveQueueSize) : null;
        _balloon.SetUp(inflate, deflate, (_features & Feature.MustTellHost) != 0);
        _statistics.SetUp(hasStatistics ? SetUpQueue(BalloonLimits.StatsQueue, BalloonControl.SmallQueueSize) : null);
        _reports.SetUp(reports);
        _capacity = reports is null ? 0 : Math.Min(_options.WantedCapacity, _options.HostCapacity);
        if (reports is not null && _options.Dialect == ReportDialect.Standard)
        {
            // A chain, indirect or not, is never longer than the queue (2.7.5.3.1).
            _capacity = Math.Min(_capacity, reports.Size);
        }

        bool isOneDescriptor = _options.Dialect == ReportDialect.Hints || (_features & Feature.IndirectDescriptors) != 0;
        _inFlightMax = isOneDescriptor || reports is null
            ? _options.ReportsInFlight
            : Math.Clamp(reports.Size / _capacity, 1, _options.ReportsInFlight);
        return true;
    }

    private DriverQueue? SetUpQueue(int number, int wanted)
    {
        int size = Math.Min(wanted, _transport.QueueSizeMax(number));
        if (!VirtqueueLayout.IsValidSize(size))
        {
            return null;
        }

        DriverQueue queue = _control.MakeQueue(number, size, _features);
        _transport.SetQueue(number, size, _control.Queue(number, size));
        return queue;
    }
}
