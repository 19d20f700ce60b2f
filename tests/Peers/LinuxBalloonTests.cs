using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using LowLevel.Interop.Host;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Peers;

/// <summary>Our balloon device and our host under a driver that others wrote: Linux's, in a guest of the newest QEMU.</summary>
public sealed class LinuxBalloonTests
{
    private const ulong MiB = 1 << 20;
    private const uint PagesPerMiB = 256;
    private const int Rounds = 20;

    /// <summary>Memory that the guest has taken and freed leaves its memory file, as the kernel counts it; the balloon follows its target both ways; and
    /// the guest says each second how it stands.</summary>
    [Fact]
    public void What_Linux_frees_leaves_its_memory_file_and_its_balloon_follows_the_target()
    {
        using BalloonGuest f = new();
        Stopwatch time = Stopwatch.StartNew();
        f.Type("while sleep 0.3; do :; done &");
        f.Until(
            static guest => BalloonGuest.Statistic(guest, BalloonStatTag.FreeMemory) is > 0 and ulong free && (ulong)guest.ReportedPages * 4096 > free / 10 * 8,
            "report of what was free from the beginning");
        Log($"all free memory reported after {time.Elapsed.TotalSeconds:f1} s");

        f.Type("dd if=/dev/zero bs=256M count=1 2> /dev/null | { head -c 1 > /dev/null; echo taken; read -r go < /dev/console; cat > /dev/null; }; echo freed");
        f.WaitForLine("taken");
        (ulong full, GuestStatus before) = f.Measure();
        f.Type("go");
        f.WaitForLine("freed");
        TimeSpan freed = time.Elapsed;
        f.Until(guest => guest.ReportedPages - before.ReportedPages >= 230 * PagesPerMiB, "report of what was taken and freed");
        Log($"reported {(time.Elapsed - freed).TotalSeconds:f1} s after it was free");
        (ulong left, GuestStatus after) = f.Measure();
        long reported = after.ReportedPages - before.ReportedPages;
        Log($"{reported / PagesPerMiB} MiB reported in {after.Reports - before.Reports} chains, the file shrank by {(full - left) / MiB} MiB");
        Assert.InRange(reported, 230 * PagesPerMiB, 512 * PagesPerMiB);
        Assert.InRange((long)(full - left), reported * 4096 / 10 * 9, long.MaxValue);
        Assert.Equal((after.ReportedPages, 0), (after.DroppedPages, after.FailedDiscards));

        // A range is at most 4 MiB, so chains are of many.
        Assert.InRange(reported / (after.Reports - before.Reports), 8 * PagesPerMiB, 32 * 4 * PagesPerMiB);

        ulong free = FreeMemory(after);
        f.SetTarget(128 * PagesPerMiB);
        f.Until(guest => guest.ActualPages == 128 * PagesPerMiB && FreeMemory(guest) < free - (120 * MiB), "balloon of 128 MiB");
        f.SetTarget(0);
        GuestStatus last = f.Until(guest => guest.ActualPages == 0 && FreeMemory(guest) > free - (8 * MiB), "balloon without anything");
        Assert.Equal((128 * PagesPerMiB, 128 * PagesPerMiB), (last.InflatedPages, last.DeflatedPages));
        Log($"{f.StatisticsSeen} statistics in {time.Elapsed.TotalSeconds:f1} s");
        Assert.InRange(f.StatisticsSeen, (int)(time.Elapsed.TotalSeconds / 2), (int)time.Elapsed.TotalSeconds + 3);
        f.End();
    }

    /// <summary>Twenty times the host dies while the guest fills its balloon, in the middle of a request, or ends while the guest empties it. The next
    /// host goes on where it was.</summary>
    [Fact]
    public void Linux_goes_on_with_the_host_that_comes_after_one_that_died()
    {
        int left = 0;
        FaultyOperatingSystem system = new()
        {
            Before = (call, _, _) =>
            {
                if (call == SystemCall.PunchHole && Interlocked.Decrement(ref left) == 0)
                {
                    throw new InvalidOperationException("the host dies in the middle of a request");
                }
            },
        };
        using BalloonGuest f = new(outlives: true, options => options with { System = system, Interval = TimeSpan.FromMilliseconds(100) });
        Stopwatch time = Stopwatch.StartNew();
        ulong free = FreeMemory(f.Until(static guest => FreeMemory(guest) != 0, "statistics"));
        f.Type("while sleep 1; do dd if=/dev/zero of=/dev/null bs=16M count=1 2> /dev/null; done &");
        for (int round = 0; round < Rounds; round++)
        {
            bool fills = round % 2 == 0;
            uint target = fills ? 32 * PagesPerMiB : 0;
            Volatile.Write(ref left, fills ? 1 + round : 0);
            f.SetTarget(target);
            if (fills)
            {
                SpinWait.SpinUntil(() => f.Ended.Any(static guest => guest.Reason.Contains("dies", StringComparison.Ordinal)), TimeSpan.FromSeconds(30));
                Assert.Contains(f.Ended, static guest => guest.Reason.Contains("dies", StringComparison.Ordinal));
            }
            else
            {
                f.Until(static guest => guest.ActualPages < 32 * PagesPerMiB, "balloon that gets smaller");
            }

            f.RestartHost();
            f.SetTarget(target);
            f.Until(guest => !guest.IsUncertain && guest.ActualPages == target, $"balloon of {target} pages in round {round}");
            Log($"{round}: {time.Elapsed.TotalSeconds:f1} s, {f.Connections} connections");
        }

        f.Until(static guest => guest.Reports > 0, "report to the last host");
        f.SetTarget(128 * PagesPerMiB);
        f.Until(static guest => guest.ActualPages == 128 * PagesPerMiB, "balloon of 128 MiB");

        // A host that has more than enough for everybody and does not know what there was before.
        f.RestartHost();
        f.Until(guest => !guest.IsUncertain && guest.ActualPages == 0 && FreeMemory(guest) > free - (40 * MiB), "memory given back");
        Log($"{time.Elapsed.TotalSeconds:f1} s");
        f.End();
    }

    private static ulong FreeMemory(GuestStatus guest) => BalloonGuest.Statistic(guest, BalloonStatTag.FreeMemory);

    private static void Log(string line) => TestContext.Current.TestOutputHelper?.WriteLine(line);
}
