using System;
using LowLevel.Allocator;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>The device's calls for tests with one report at a time: slot 0.</summary>
internal static class OneReport
{
    public static bool React(this ITreatmentDevice device, ReadOnlySpan<PageRange> batch) => device.React(batch, 0);

    public static SettleResult Settle(this ITreatmentDevice device, TimeSpan timeout) => device.Settle(timeout, out _);

    public static bool TryRevoke(this ITreatmentDevice device, TimeSpan timeout) => device.TryRevoke(0, timeout);
}
