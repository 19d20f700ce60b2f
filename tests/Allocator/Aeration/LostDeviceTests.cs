using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>House rule 5: a lost host costs reports, never pages and never data.</summary>
public sealed class LostDeviceTests
{
    [Fact]
    public void A_device_that_refuses_the_batch_leaves_every_page_raw() => AssertAllComeBackRaw(balloon => balloon.Accepts = false);

    [Fact]
    public void A_device_that_failed_the_batch_leaves_every_page_raw() => AssertAllComeBackRaw(balloon => balloon.Answer = () => SettleResult.Failed);

    [Fact]
    public void A_device_that_dies_while_settling_returns_every_page_as_raw() => AssertAllComeBackRaw(balloon => balloon.Answer = () => SettleResult.TimedOut);

    [Fact]
    public void A_pass_ends_at_the_first_batch_that_is_lost()
    {
        using TestPlant plant = new();
        plant.Balloon.Answer = () => SettleResult.Failed;
        plant.Free(plant.AllocateApart(9, 12));
        plant.Arena.Trim();
        Assert.Equal((1, 1L), (plant.Balloon.Reacts, plant.Arena.Aerator.LostBatches));
    }

    [Fact]
    public void What_a_lost_device_may_still_touch_is_counted_and_handed_to_nobody()
    {
        using TestPlant plant = Quarantined(out nint[] held);
        Assert.Equal(4ul * 1024, plant.Zone.QuarantinedPages);
        Assert.Equal(16L << 20, plant.Arena.GetStatistics().QuarantinedBytes);
        Assert.All(held, block => Assert.Equal(PageType.None.WithQuarantined(), plant.TypeBitsOf(block)));

        HashSet<nint> pages = [.. plant.AllocateAll()];
        Assert.Equal((32 - 16) << 8, pages.Count);
        Assert.DoesNotContain(held.SelectMany(block => Enumerable.Range(0, 1024).Select(page => block + (page * 4096))), pages.Contains);
        plant.Check();
    }

    [Fact]
    public void Quarantined_pages_are_freed_by_nobody_and_the_error_says_where_they_are()
    {
        using TestPlant plant = Quarantined(out nint[] held);
        ArgumentException refused = Assert.Throws<ArgumentException>(() => plant.Free(held[0]));
        Assert.Contains("quarantine", refused.Message, StringComparison.Ordinal);
        plant.Check();
    }

    [Fact]
    public void Quarantined_pages_come_back_as_raw_when_the_device_lets_go_and_are_treated_then()
    {
        using TestPlant plant = Quarantined(out nint[] held);
        plant.Arena.Trim();
        Assert.Equal(1, plant.Balloon.Reacts); // no new batch while the device has the old one
        plant.Balloon.Revokes = true;
        plant.Balloon.Answer = () => SettleResult.Treated;
        plant.Balloon.WhileHeld = _ => Assert.Equal(0ul, plant.Zone.QuarantinedPages);
        plant.Arena.Trim();
        Assert.Equal((0, 4), (plant.Raw(10), plant.Treated(10)));
        Assert.Equal(held.Order(), plant.Reported().Skip(4).Order());
        plant.Check();
    }

    [Fact]
    public void Stop_takes_the_quarantine_back_where_the_device_lets_go_by_then()
    {
        using TestPlant plant = Quarantined(out _);
        plant.Balloon.Revokes = true;
        plant.Arena.Aerator.Stop();
        Assert.Equal(0ul, plant.Zone.QuarantinedPages);
        Assert.Equal((4, 0), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Fact]
    public void Stop_ends_while_the_device_never_answers_and_start_goes_on_where_it_was()
    {
        using TestPlant plant = Quarantined(out _);
        plant.Arena.Aerator.Stop();
        Assert.False(plant.Arena.Aerator.IsRunning);
        Assert.Equal(4ul * 1024, plant.Zone.QuarantinedPages);
        Assert.True(plant.Balloon.LongestWait <= TimeSpan.FromMilliseconds(5), $"{plant.Balloon.LongestWait}");
        plant.Check();
        plant.Arena.Aerator.Start();
        plant.Balloon.Revokes = true;
        plant.Balloon.Answer = () => SettleResult.Treated;
        plant.Arena.Trim();
        Assert.Equal((0, 4), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Fact]
    public unsafe void Dispose_leaves_mapped_what_a_lost_device_may_still_touch()
    {
        FaultyOperatingSystem os = new();
        using TestPlant plant = Quarantined(out nint[] held, os);
        nint address = (nint)plant.Arena.BaseAddress;
        plant.Balloon.Closes = false;
        plant.Arena.Dispose();
        plant.Arena.Dispose();
        Assert.DoesNotContain(os.Calls, call => call.Call == SystemCall.Unmap && call.Address == address - (nint)ArenaMemory.PagesGuard);
        Assert.All(held, block => Assert.True(IsMapped(block)));
        *(byte*)held[0] = 1; // as the device might
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public unsafe void Dispose_unmaps_only_what_no_device_can_touch_any_more(bool closes)
    {
        FaultyOperatingSystem os = new();
        using FakeBalloon balloon = new() { Closes = closes };
        using TestPlant plant = new(balloon: balloon, os: os);
        nint address = (nint)plant.Arena.BaseAddress;
        plant.Free(plant.Allocate(10));
        plant.Arena.Dispose();
        Assert.Equal(1, plant.Balloon.CloseCalls);
        Assert.Equal(closes, os.Calls.Any(call => call.Call == SystemCall.Unmap && call.Address == address - (nint)ArenaMemory.PagesGuard));
    }

    [Fact]
    public void Batches_that_are_lost_again_and_again_lose_no_page()
    {
        using TestPlant plant = new();
        Random random = new(11);
        plant.Balloon.Answer = () => (SettleResult)random.Next(4);
        nint[] blocks = plant.AllocateApart(9, 20);
        plant.Free(blocks);
        for (int i = 0; i < 300; i++)
        {
            plant.Balloon.Accepts = random.Next(5) != 0;
            plant.Balloon.Revokes = random.Next(3) == 0;
            plant.Free(plant.Allocate(10, 2));
            plant.Arena.Trim();
            plant.Arena.Verify();
            Assert.InRange(plant.Arena.Aerator.References, 0, 1);
            Assert.Equal(Stage.Idle, plant.Arena.Aerator.Stage);
        }

        plant.Balloon.Accepts = plant.Balloon.Revokes = true;
        plant.Balloon.Answer = () => SettleResult.Treated;
        plant.Arena.Trim();
        Assert.Equal((0, 20), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal(0, plant.Raw(10));
        Assert.True(plant.Arena.Aerator.LostBatches > 10, $"{plant.Arena.Aerator.LostBatches}");
        plant.Check();
    }

    /// <summary>Four blocks of order 10 that the device neither answered nor let go, in an arena of 32 MiB.</summary>
    private static TestPlant Quarantined(out nint[] held, FaultyOperatingSystem? os = null)
    {
        TestPlant plant = new(o => o.SizeBytes = 32 << 20, os: os ?? (IOperatingSystem)LinuxSystem.Instance);
        plant.Balloon.Answer = () => SettleResult.TimedOut;
        plant.Balloon.Revokes = false;
        held = plant.Allocate(10, 4);
        plant.Free(held);
        plant.Arena.Trim();
        Assert.Equal(1L, plant.Arena.Aerator.LostBatches);
        return plant;
    }

    private static void AssertAllComeBackRaw(Action<FakeBalloon> lose)
    {
        using TestPlant plant = new();
        lose(plant.Balloon);
        nint[] blocks = plant.AllocateApart(9, 4);
        plant.Free(blocks);
        plant.PassUntilRested();
        Assert.Equal((4, 0), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal((1L, 0L, 0), (plant.Arena.Aerator.LostBatches, plant.Arena.Aerator.Cycles, plant.Arena.Aerator.References));
        Assert.Equal((0ul, 0ul), (plant.Zone.InReactorPages, plant.Zone.QuarantinedPages));
        plant.Check();

        plant.Balloon.Accepts = true;
        plant.Balloon.Answer = () => SettleResult.Treated;
        plant.Pass();
        Assert.Equal((0, 4), (plant.Raw(9), plant.Treated(9))); // they have rested already
        plant.Check();
    }

    private static bool IsMapped(nint address)
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] ends = line.Split(' ')[0].Split('-');
            if (address >= nint.Parse(ends[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture)
                && address < (nint)ulong.Parse(ends[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture))
            {
                return true;
            }
        }

        return false;
    }
}
