using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Which holes of pageblocks in use are dropped, and when. The first 512 pages of an arena are its pageblock 0; pageblock 1
/// comes with the same growth, is whole and not looked at here.</summary>
public sealed class MixedPageblockTests
{
    private const int Quarter = (int)Zone.HolesThatPay;

    /// <summary>5 epochs for whole pageblocks, and half of that more.</summary>
    private const int RestOfHoles = 7;

    [Fact]
    public void A_pageblock_with_a_quarter_of_holes_is_dropped_in_part()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[128..(128 + Quarter)]);
        Pass(plant, RestOfHoles);
        Assert.Equal([new PageRange(new Pfn(128), Quarter)], Holes(plant));
        Assert.True(IsSmall(plant, 0));
        Assert.True(plant.MarksOf(pages[128]).Treated);
        plant.Check();
    }

    [Fact]
    public void A_pageblock_with_less_is_kept_whole()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[128..(128 + Quarter - 1)]);
        Pass(plant, 4 * RestOfHoles);
        plant.Arena.Trim();
        Assert.Empty(Holes(plant));
        Assert.False(IsSmall(plant, 0));
        plant.Check();
    }

    [Fact]
    public void Holes_rest_half_a_delay_longer_than_whole_pageblocks()
    {
        using TestPlant plant = Policy(out nint[] pages);
        nint whole = plant.Allocate(10);
        plant.Free([.. pages[..Quarter], whole]);
        Pass(plant, 4);
        Assert.DoesNotContain(whole, plant.Reported());
        Pass(plant, 1);
        Assert.Contains(whole, plant.Reported());
        Pass(plant, 1);
        Assert.Empty(Holes(plant));
        Pass(plant, 1);
        Assert.Single(Holes(plant));
    }

    [Fact]
    public void Something_freed_a_moment_ago_leaves_the_pageblock_alone()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[..Quarter]);
        Pass(plant, RestOfHoles - 1);
        plant.Free(pages[300]);
        Pass(plant, RestOfHoles - 1);
        Assert.Empty(Holes(plant));
        Pass(plant, 1);
        Assert.Equal(Quarter + 1, Holes(plant).Sum(hole => (int)hole.Pages));
        plant.Check();
    }

    [Fact]
    public void Something_handed_out_a_moment_ago_leaves_the_pageblock_alone()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[128..384]);
        Pass(plant, RestOfHoles - 1);
        Assert.Equal(0u, plant.PfnOf(plant.Allocate(0)).Pageblock);
        Pass(plant, RestOfHoles - 1);
        Assert.Empty(Holes(plant));
        Pass(plant, 1);
        Assert.Equal(255, Holes(plant).Sum(hole => (int)hole.Pages));
        plant.Check();
    }

    [Fact]
    public void What_is_reported_lies_in_the_holes_and_live_blocks_never_do()
    {
        using TestPlant plant = Policy(out nint[] pages, pageblocks: 6);
        Random random = new(17);
        HashSet<uint> free = [.. pages.Where(_ => random.Next(2) == 0).Select(page => plant.PfnOf(page).Value)];
        plant.Free(pages.Where(page => free.Contains(plant.PfnOf(page).Value)));
        Pass(plant, RestOfHoles + 2);
        List<uint> reported = [.. plant.Balloon.Ranges.SelectMany(Pages)];
        Assert.Equal(free.Order(), reported.Order()); // each of them once, and nothing else
        plant.Check();
    }

    [Fact]
    public void An_isolated_pageblock_is_never_touched()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[..256]);
        Assert.True(plant.Arena.IsolatePageblock(0));
        Pass(plant, 2 * RestOfHoles);
        plant.Arena.Trim();
        Assert.Empty(Holes(plant));
        Assert.True(plant.Arena.UnisolatePageblock(0, MigrateType.Unmovable));
        plant.Arena.Trim();
        Assert.Single(Holes(plant));
        plant.Check();
    }

    [Fact]
    public void What_nobody_has_touched_goes_with_the_first_split()
    {
        using TestPlant plant = Policy(out nint[] pages, taken: 200);
        Assert.True(plant.MarksOf(plant.AddressOf(new Pfn(256))).Zero);
        plant.Free(pages[..64]);
        Pass(plant, RestOfHoles);
        Assert.Equal(
            Enumerable.Range(0, 64).Concat(Enumerable.Range(200, 312)).Select(page => (uint)page),
            Holes(plant).SelectMany(Pages).Order());
        plant.Check();
    }

    [Fact]
    public void A_split_pageblock_gives_back_any_hole_that_has_rested_whatever_is_young_beside_it()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[256..]);
        Pass(plant, RestOfHoles);
        int before = Holes(plant).Count;
        plant.Free(pages[0]);
        Pass(plant, RestOfHoles - 1);
        plant.Free(pages[2]);
        Assert.Equal(before, Holes(plant).Count);
        Pass(plant, 1);
        Assert.Equal(new PageRange(new Pfn(0), 1), Assert.Single(Holes(plant).Skip(before)));
        plant.Check();
    }

    [Fact]
    public void Raw_and_treated_buddies_of_a_split_pageblock_stay_apart()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[256..]);
        Pass(plant, RestOfHoles);
        plant.Free(pages[..256]);
        Assert.Equal((8ul, false), (plant.OrderOf(pages[0]), plant.MarksOf(pages[0]).Treated));
        Assert.Equal((8ul, true), (plant.OrderOf(pages[256]), plant.MarksOf(pages[256]).Treated));
        plant.Check();
    }

    [Fact]
    public void An_allocation_that_would_fail_merges_what_stayed_apart()
    {
        using TestPlant plant = Policy(out nint[] pages, mebibytes: 4);
        plant.Free(pages[256..]);
        Pass(plant, RestOfHoles);
        plant.Free(pages[..256]);
        plant.Check();
        Assert.Equal(pages[0], plant.Allocate(10)); // before any pass
        plant.Check();
    }

    [Fact]
    public void Scattered_pieces_that_stayed_apart_are_merged_too()
    {
        using TestPlant plant = Policy(out nint[] pages, mebibytes: 4);
        plant.Free(pages.Where((_, page) => page % 2 == 0));
        Pass(plant, RestOfHoles);
        Assert.Equal(256, Holes(plant).Count);
        plant.Free(pages.Where((_, page) => page % 2 != 0));
        Assert.Equal((256, 256), (plant.Raw(0), plant.Treated(0)));
        plant.Check();
        Assert.Equal(pages[0], plant.Allocate(10));
        plant.Check();
    }

    [Fact]
    public void A_pageblock_that_became_free_part_by_part_goes_round_once_more_as_a_whole()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[256..]);
        Pass(plant, RestOfHoles);
        plant.Free(pages[..256]);
        Pass(plant, RestOfHoles);
        Assert.True(IsSmall(plant, 0));
        int before = Holes(plant).Count;
        Pass(plant, 1);
        Assert.Equal(new PageRange(new Pfn(0), 1024), Assert.Single(Holes(plant).Skip(before))); // with pageblock 1, which was treated first
        Assert.False(IsSmall(plant, 0));
        Pass(plant, 2 * RestOfHoles);
        Assert.Equal(before + 1, Holes(plant).Count);
        Assert.Equal((0, 1), (plant.Raw(10), plant.Treated(10)));
        plant.Check();
    }

    [Fact]
    public void A_batch_that_is_full_in_the_middle_of_a_pageblock_goes_on_with_the_next()
    {
        using TestPlant plant = Policy(out nint[] pages);
        nint[] odd = [.. pages.Where((_, page) => page % 2 != 0)];
        plant.Free(odd);
        Pass(plant, RestOfHoles);
        Assert.Equal(odd, Holes(plant).Select(hole => plant.AddressOf(hole.Start)).Order());
        Assert.Equal(odd.Length / TestPlant.Capacity, plant.Balloon.Batches.Count(batch => batch[0].Start.Pageblock == 0));
        Assert.All(odd, page => Assert.True(plant.MarksOf(page).Treated));
        plant.Check();
    }

    [Fact]
    public void Every_zone_is_scanned()
    {
        using TestPlant plant = new(o =>
        {
            ByPolicy(o);
            o.SizeBytes = 32 << 20;
            o.Zones = 4;
        });
        List<nint> all = plant.AllocateAll();
        nint[] free = [.. all.Where(page => plant.PfnOf(page).Value % 512 < Quarter)];
        plant.Free(free);
        Pass(plant, RestOfHoles - 1);
        Assert.Empty(plant.Reported());
        Pass(plant, 1);
        Assert.Equal(
            Enumerable.Range(0, 16).Select(block => new PageRange(Pfn.FromPageblock((uint)block), Quarter)),
            plant.Balloon.Ranges.OrderBy(range => range.Start.Value));
        plant.Check();
    }

    [Fact]
    public void Trim_treats_holes_without_rest()
    {
        using TestPlant plant = Policy(out nint[] pages);
        plant.Free(pages[..Quarter]);
        plant.Arena.Trim();
        Assert.Equal([new PageRange(new Pfn(0), Quarter)], Holes(plant));
        plant.Check();
    }

    [Theory]
    [InlineData(9)]
    [InlineData(10)]
    public void An_explicit_least_order_means_no_policy(int least)
    {
        using TestPlant plant = Policy(out nint[] pages, change: o => o.Aeration.MinimumOrder = least);
        plant.Free(pages[..256]);
        Pass(plant, 2 * RestOfHoles);
        plant.Arena.Trim();
        Assert.Empty(Holes(plant));
        Assert.False(IsSmall(plant, 0));
        plant.Check();
    }

    [Fact]
    public void What_came_back_for_its_memory_finds_it_resident_until_the_window_has_passed()
    {
        using TestPlant plant = new(ByPolicy);
        plant.Allocate(10, 16);
        nint[] again = plant.Allocate(10, 1);
        plant.Free(again);
        Assert.Equal(again.Order(), plant.Allocate(10, 1).Order()); // 1024 pages: a sixteenth of the 16 384 that stay in use
        plant.Free(again);
        Pass(plant, 1 + WorkingSet.WindowEpochs);
        Assert.Empty(plant.Reported());
        Pass(plant, 1);
        Assert.Equal(again.Order(), plant.Reported().Order());
        plant.Check();
    }

    [Fact]
    public void Of_more_than_the_stock_only_the_stock_is_kept()
    {
        using TestPlant plant = new(ByPolicy);
        plant.Allocate(10, 16);
        nint[] again = plant.Allocate(10, 6);
        plant.Free(again);
        Assert.Equal(again.Order(), plant.Allocate(10, 6).Order());
        plant.Free(again);
        Pass(plant, 5);
        Assert.Equal(5, plant.Reported().Count);
        Pass(plant, WorkingSet.WindowEpochs - 4);
        Assert.Equal(5, plant.Reported().Count);
        Pass(plant, 1);
        Assert.Equal(again.Order(), plant.Reported().Order());
        plant.Check();
    }

    [Theory]
    [InlineData((int)SettleResult.Failed, true)]
    [InlineData((int)SettleResult.TimedOut, true)]
    [InlineData((int)SettleResult.Treated, false)]
    public void A_device_that_fails_such_a_batch_loses_nothing(int answer, bool accepts)
    {
        using TestPlant plant = Policy(out nint[] pages);
        Pass(plant, RestOfHoles);
        plant.Balloon.Answer = () => (SettleResult)answer;
        plant.Balloon.Accepts = accepts;
        plant.Balloon.CapacityAfterRestart = TestPlant.Capacity;
        nint[] odd = [.. pages.Where((_, page) => page % 2 != 0)];
        plant.Free(odd);
        Pass(plant, RestOfHoles);
        Assert.Equal((1L, 0ul, 0ul), (plant.Arena.Aerator.LostBatches, plant.Zone.InReactorPages, plant.Zone.QuarantinedPages));
        Assert.Equal((odd.Length, 0), (plant.Raw(0), plant.Treated(0)));
        plant.Check();

        plant.Balloon.Answer = () => SettleResult.Treated;
        plant.Balloon.Accepts = true;
        Pass(plant, 1);
        Assert.Equal((0, odd.Length), (plant.Raw(0), plant.Treated(0)));
        plant.Check();
    }

    [Fact]
    public void Holes_with_a_lost_device_are_held_back_and_come_back_raw()
    {
        using TestPlant plant = Policy(out nint[] pages);
        Pass(plant, RestOfHoles);
        plant.Balloon.Answer = () => SettleResult.TimedOut;
        plant.Balloon.Revokes = false;
        plant.Balloon.CapacityAfterRestart = TestPlant.Capacity;
        nint[] odd = [.. pages.Where((_, page) => page % 2 != 0)];
        plant.Free(odd);
        Pass(plant, RestOfHoles);
        Assert.Equal((ulong)TestPlant.Capacity, plant.Zone.QuarantinedPages);
        plant.Check();

        plant.Balloon.Revokes = true;
        plant.Balloon.Answer = () => SettleResult.Treated;
        Pass(plant, 2); // what came back in the first was not yet raw when that pass counted what it may take
        Assert.Equal((0ul, 0, odd.Length), (plant.Zone.QuarantinedPages, plant.Raw(0), plant.Treated(0)));
        plant.Check();
    }

    private static void ByPolicy(PageArenaOptions options)
    {
        options.Aeration.MinimumOrder = null;
        options.HugePages = HugePages.Advise;
    }

    /// <summary>Pages of the first pageblocks, by address, each taken alone.</summary>
    private static TestPlant Policy(out nint[] pages, int pageblocks = 1, int? taken = null, int mebibytes = 128, Action<PageArenaOptions>? change = null)
    {
        TestPlant plant = new(o =>
        {
            ByPolicy(o);
            o.SizeBytes = (nuint)mebibytes << 20;
            change?.Invoke(o);
        });
        pages = plant.Allocate(0, taken ?? (pageblocks * PageblockLimits.PagesPerPageblock));
        Array.Sort(pages);
        Assert.Equal(Enumerable.Range(0, pages.Length).Select(page => (uint)page), pages.Select(page => plant.PfnOf(page).Value));
        return plant;
    }

    private static void Pass(TestPlant plant, int times)
    {
        for (int i = 0; i < times; i++)
        {
            plant.Pass();
        }
    }

    private static unsafe bool IsSmall(TestPlant plant, uint block) => (plant.Arena.Map.Block(block)->Flags & PageblockFlags.Small) != 0;

    /// <summary>What was reported of pageblock 0.</summary>
    private static List<PageRange> Holes(TestPlant plant) => [.. plant.Balloon.Ranges.Where(range => range.Start.Pageblock == 0)];

    private static IEnumerable<uint> Pages(PageRange range) => Enumerable.Range((int)range.Start.Value, (int)range.Pages).Select(page => (uint)page);
}
