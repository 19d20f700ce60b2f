using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Host;
using Xunit;

namespace LowLevel.Tests.Faults;

/// <summary>A host of two guests, and each call about descriptors fails at its n-th use, or ever after, in the host or in one guest. What is in use keeps
/// its contents; who is cut off hears why; nobody hangs; and once the calls work again both guests are served. LOWLEVEL_FAULTS=all, or the name of a
/// call, tries more places and each errno.</summary>
public sealed class NthDescriptorCallTests(ITestOutputHelper output)
{
    private const ulong MiB = HostFixture.MiB;
    private static readonly Errno[] Errnos = [Errno.EMFILE, Errno.EAGAIN, Errno.EINTR, Errno.ENOMEM, Errno.EPERM, Errno.EBADF];
    private static readonly string? Asked = Environment.GetEnvironmentVariable("LOWLEVEL_FAULTS");
    private static readonly bool TriesAll = Asked is { Length: > 0 };

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Whatever_call_fails_nobody_hangs_nothing_in_use_is_lost_and_service_goes_on(bool inHost)
    {
        int injected = 0;
        int chosen = 0;
        foreach (DescriptorCall call in Enum.GetValues<DescriptorCall>().Where(c => Asked is not { Length: > 0 } || Asked == "all" || Asked == $"{c}"))
        {
            foreach (int nth in TriesAll ? [1, 2, 3, 5, 8, 13, 21] : new[] { 1, 4 })
            {
                foreach (int times in new[] { 1, int.MaxValue })
                {
                    foreach (Errno errno in TriesAll ? Errnos : [Errnos[chosen++ % Errnos.Length]])
                    {
                        injected += Run(inHost, call, errno, nth, times);
                    }
                }
            }
        }

        output.WriteLine($"{(inHost ? "host" : "guest")}: {injected} runs in which a call was made to fail");
        Assert.True(injected >= 15, $"{injected}: too little was tried");
    }

    /// <summary>1 if the call was reached.</summary>
    private static int Run(bool inHost, DescriptorCall call, Errno errno, int nth, int times)
    {
        FaultyDescriptors os = new();
        os.Fail(call, errno, nth, times);
        try
        {
            using HostFixture? host = TryBegin(inHost ? os : null, errno);
            if (host is null)
            {
                return 1; // it could not begin, and said why
            }

            HostGuest[] guests = [host.Add(64 * MiB, descriptors: inHost ? LinuxDescriptors.Instance : os), host.Add(64 * MiB, descriptors: LinuxDescriptors.Instance)];
            foreach (HostGuest guest in guests)
            {
                guest.Use(8 * MiB);
                Live(guest, 0);
            }

            bool healthyIsServed = inHost || Live(guests[1], 2);
            Assert.True(healthyIsServed, $"the other guest is not served: {guests[1].Transport.Failure}");
            os.Heal();
            int asked = 0;
            foreach (HostGuest guest in guests)
            {
                host.Until(() => Live(guest, 4 + (asked++ % 8)), "the guest is served again");
                CheckUsed(guest);
            }
        }
        catch (Exception e)
        {
            string ever = times == 1 ? "" : " and ever after";
            throw new InvalidOperationException($"{(inHost ? "host" : "guest")}: {call} fails with {errno} at use {nth}{ever}: {e.Message}", e);
        }

        return os.Injected > 0 ? 1 : 0;
    }

    private static HostFixture? TryBegin(FaultyDescriptors? os, Errno errno)
    {
        try
        {
            return new HostFixture(96 * MiB, os is null ? null : options => options with { Descriptors = os });
        }
        catch (Exception e) when (os is not null && e.Message.Contains(errno.ToString(), StringComparison.Ordinal))
        {
            return null;
        }
    }

    /// <summary>Connects where it is not, and reports a block of its own. True: it was dropped.</summary>
    private static bool Live(HostGuest guest, int block)
    {
        if (!guest.Transport.IsConnected || guest.Driver.IsOutOfService)
        {
            guest.Driver.TryTakeDown(TimeSpan.FromMilliseconds(100));
            if (!guest.TryConnect())
            {
                return false;
            }
        }

        PageRange range = new(new Pfn((uint)block * 1024), 1024);
        guest.Touch(range);
        if (!guest.Driver.React([range], 0))
        {
            return false;
        }

        SettleResult result = guest.Driver.Settle(TimeSpan.FromSeconds(0.5), out _);
        if (result == SettleResult.TimedOut)
        {
            guest.Driver.TryRevoke(0, TimeSpan.FromMilliseconds(100));
            guest.Driver.TryTakeDown(TimeSpan.FromMilliseconds(100));
            return false;
        }

        Assert.True(result == SettleResult.Failed || guest.FirstByte(range) == 0, "what was dropped does not read zero");
        return result == SettleResult.Treated;
    }

    private static unsafe void CheckUsed(HostGuest guest)
    {
        // Sound: inside the mapping of the arena, whose last 8 MiB the guest has written.
        byte* end = (byte*)guest.Arena.Mapping + guest.Pages.TotalBytes;
        for (ulong at = HostGuest.PageBytes; at <= 8 * MiB; at += HostGuest.PageBytes)
        {
            Assert.Equal(1, end[-(long)at]);
        }
    }
}
