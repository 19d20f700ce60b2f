using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using System.Linq;

namespace LowLevel.Interop.Host;

/// <summary>The host's figures as the meter "LowLevel.Host": the host's own, and each guest's with the tag <c>guest</c>. Read when somebody
/// listens.</summary>
internal sealed class HostMeter : IDisposable
{
    /// <summary>The meter's name.</summary>
    public const string Name = "LowLevel.Host";

    private readonly Meter _meter = new(Name);

    /// <summary>The meter of one host.</summary>
    /// <param name="status">The host as it is now.</param>
    public HostMeter(Func<HostStatus> status)
    {
        _meter.CreateObservableGauge("lowlevel.host.budget", () => (long)status().EffectiveBytes, "By", "What is divided");
        _meter.CreateObservableGauge("lowlevel.host.resident", () => (long)status().ResidentBytes, "By", "What the kernel keeps for all guests");
        _meter.CreateObservableGauge("lowlevel.host.guests", () => status().Guests.Count, "{guest}", "Guests that are connected");
        Gauge("total", "All its memory", static guest => (long)guest.TotalBytes);
        Gauge("resident", "What the kernel keeps for it", static guest => (long)guest.ResidentBytes);
        Gauge("used", "What it cannot give up now", static guest => (long)guest.UsedBytes);
        Gauge("target", "What the host wants in its balloon", static guest => (long)guest.TargetPages << TargetSteps.PageShift);
        Gauge("actual", "What is in its balloon", static guest => (long)guest.ActualPages << TargetSteps.PageShift);
        Counter("reports", "{report}", "Reports of free pages", static guest => guest.Reports);
        Counter("reported", "By", "Free pages that it reported", static guest => guest.ReportedPages << TargetSteps.PageShift);
        Counter("dropped", "By", "Pages that were dropped", static guest => guest.DroppedPages << TargetSteps.PageShift);
        Counter("inflated", "By", "Pages that went into its balloon", static guest => guest.InflatedPages << TargetSteps.PageShift);
        Counter("deflated", "By", "Pages that came out of its balloon", static guest => guest.DeflatedPages << TargetSteps.PageShift);

        void Gauge(string name, string description, Func<GuestStatus, long> value) =>
            _meter.CreateObservableGauge("lowlevel.host.guest." + name, () => Measure(status(), value), "By", description);

        void Counter(string name, string unit, string description, Func<GuestStatus, long> value) =>
            _meter.CreateObservableCounter("lowlevel.host.guest." + name, () => Measure(status(), value), unit, description);
    }

    /// <summary>Takes the instruments away.</summary>
    public void Dispose() => _meter.Dispose();

    private static IEnumerable<Measurement<long>> Measure(HostStatus status, Func<GuestStatus, long> value) =>
        status.Guests.Select(guest => new Measurement<long>(value(guest), new KeyValuePair<string, object?>("guest", guest.Id)));
}
