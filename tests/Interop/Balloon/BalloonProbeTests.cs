using System;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Virtio;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Interop.Balloon;

/// <summary>A device that gets a driver which another host has served before.</summary>
public sealed class BalloonProbeTests
{
    /// <summary>The rings lie where the fixture's memory has nothing else.</summary>
    private const ulong RingAddress = DeviceFixture.ControlAddress;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_driver_that_was_served_before_is_made_to_say_what_it_has(bool isAimed)
    {
        using DeviceFixture f = new();
        int told = 0;
        BalloonDevice device = Start(f, availableIndex: 7, () => told++);
        Assert.Equal((true, 1, 1u), (device.IsUncertain, told, device.ReadConfig(0)));
        if (isAimed)
        {
            // Whatever it has, it has not both.
            device.SetTarget(50);
            Assert.Equal((true, 2, 2u, 50u), (device.IsUncertain, told, device.ReadConfig(0), device.TargetPages));
        }

        told = 0;
        device.WriteConfig(4, 44);
        Assert.Equal((false, 1, isAimed ? 50u : 44u, 44u), (device.IsUncertain, told, device.ReadConfig(0), device.ActualPages));
        device.WriteConfig(4, 50);
        Assert.Equal(1, told);

        // Its memory changes: queues stop and go on, and nothing is unknown.
        device.StopQueue(0);
        StartQueue(device, 7);
        Assert.Equal((false, 1), (device.IsUncertain, told));
    }

    [Fact]
    public void A_driver_that_begins_is_asked_for_what_is_wanted()
    {
        using DeviceFixture f = new();
        int told = 0;
        BalloonDevice device = Start(f, availableIndex: 0, () => told++);
        Assert.Equal((false, 0, 0u), (device.IsUncertain, told, device.ReadConfig(0)));
    }

    private static BalloonDevice Start(DeviceFixture f, ushort availableIndex, Action told)
    {
        BalloonDevice device = new(
            f.Memory, DeviceFixture.Pages * DeviceFixture.Page, f.Reports, f.Inflates, new BalloonDeviceOptions { AdoptsActual = true })
        {
            ConfigInterrupt = told,
        };
        Assert.True(device.TryBegin(Feature.Version1));
        StartQueue(device, availableIndex);
        return device;
    }

    private static void StartQueue(BalloonDevice device, ushort availableIndex) => Assert.Equal(
        ProtocolFault.None,
        device.StartQueue(0, DeviceFixture.QueueSize, new VirtqueueLayout(DeviceFixture.QueueSize).PlaceAt(RingAddress), availableIndex));
}
