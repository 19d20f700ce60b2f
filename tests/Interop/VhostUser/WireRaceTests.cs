using System;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Balloon;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Connections that come and go under threads that use them. The account of descriptors says whether any was used after it was closed,
/// when its number may be somebody else's.</summary>
public sealed class WireRaceTests
{
    private const int Rounds = 100;
    private static readonly PageRange s_block = WireGuest.Block(0, 64);

    [Fact]
    public void A_hundred_connections_leave_nothing_behind()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        for (int i = 0; i < Rounds; i++)
        {
            guest.Start();
            Assert.True(guest.Driver.React([s_block]));
            Assert.Equal(SettleResult.Treated, guest.Driver.Settle(ScriptedFrontend.Patience));
            if (i % 2 == 0)
            {
                host.Kill();
            }

            guest.RevokeInTheEnd();

            // What is left is the guest's: its two files, mapped once each.
            Assert.Equal((2, 2), (OpenFiles.Named(guest.Name), OpenFiles.Mapped(guest.Name)));
            Assert.Empty(guest.Ledger.Faults);
        }

        Assert.Equal(Rounds, host.Sessions);
        host.Kill();
        Assert.Empty(host.Ledger.Faults);
    }

    /// <summary>A hundred times a connection ends while others notify the device, read and write its configuration, and the host interrupts.</summary>
    [Fact]
    public void Notifications_and_configuration_words_race_with_resets()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        bool ends = false;
        Thread[] users =
        [
            Begin(() => guest.Transport.Notify(BalloonLimits.ReportingQueue), () => Volatile.Read(ref ends)),
            Begin(() => guest.Transport.ReadConfig(0), () => Volatile.Read(ref ends)),
            Begin(() => guest.Transport.WriteConfig(4, 1), () => Volatile.Read(ref ends)),
        ];
        for (int i = 0; i < Rounds; i++)
        {
            if (guest.TryStart())
            {
                host.Device.SetTarget((uint)i);
                if (guest.Driver.React([s_block]))
                {
                    guest.Driver.Settle(TimeSpan.FromMilliseconds(1));
                }
            }

            guest.RevokeInTheEnd();
        }

        Volatile.Write(ref ends, true);
        Array.ForEach(users, static thread => thread.Join());
        Assert.Empty(guest.Ledger.Faults);
        guest.Start();
    }

    /// <summary>The other end: the host's threads speak to backends that end.</summary>
    [Fact]
    public void Targets_and_wishes_race_with_the_end_of_a_backend()
    {
        using WireHost host = new();
        using WireGuest guest = new(host.Path);
        guest.Start();
        bool ends = false;
        uint target = 0;
        Thread[] users =
        [
            Begin(() => host.Device.SetTarget(++target % 100), () => Volatile.Read(ref ends)),
            Begin(() => host.WantStatistics(), () => Volatile.Read(ref ends)),
        ];
        for (int i = 0; i < Rounds; i++)
        {
            if (i % 2 == 0)
            {
                host.Kill();
            }

            guest.RevokeInTheEnd();
            guest.Start();
            guest.Driver.Service();
        }

        Volatile.Write(ref ends, true);
        Array.ForEach(users, static thread => thread.Join());
        host.Kill();
        Assert.Empty(host.Ledger.Faults);
    }

    private static Thread Begin(Action act, Func<bool> ends)
    {
        Thread thread = new(() =>
        {
            while (!ends())
            {
                act();
                Thread.Yield();
            }
        });
        thread.Start();
        return thread;
    }
}
