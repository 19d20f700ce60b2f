using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>Several batches in flight: the device always has the next one, each comes back or is lost by itself, and a pass ends with
/// none of them out.</summary>
public sealed class SeveralBatchesTests
{
    [Fact]
    public void The_device_has_the_next_batches_while_it_works_on_one()
    {
        using TestPlant plant = Plant(3);
        plant.Free(plant.AllocateApart(9, 30));
        List<int> inFlight = [];
        plant.Balloon.WhileHeld = _ => inFlight.Add((int)(plant.Zone.InReactorPages / 512));
        plant.Arena.Trim();
        Assert.Equal(3, plant.Balloon.InFlightPeak);
        Assert.Equal([12, 12, 12, 12, 12, 10, 8, 4], inFlight);
        AssertDrained(plant);
        Assert.Equal((0, 30), (plant.Raw(9), plant.Treated(9)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Batches_come_back_in_any_order(int seed)
    {
        using TestPlant plant = Plant(4);
        Random random = new(seed);
        plant.Balloon.Order = slots => slots[random.Next(slots.Count)];
        nint[] blocks = plant.AllocateApart(9, 30);
        plant.Free(blocks);
        plant.Arena.Trim();
        Assert.Equal(blocks.Order(), plant.Reported().Order());
        AssertDrained(plant);
        Assert.Equal((0, 30), (plant.Raw(9), plant.Treated(9)));
    }

    [Fact]
    public void Of_several_batches_one_that_failed_comes_back_raw_and_the_others_treated()
    {
        using TestPlant plant = Plant(3);
        int answers = 0;
        plant.Balloon.Answer = () => ++answers == 2 ? SettleResult.Failed : SettleResult.Treated;
        plant.Free(plant.AllocateApart(9, 24));
        plant.Arena.Trim();
        Assert.Equal((4, 4), (plant.Balloon.Reacts, answers)); // nothing new after the failure, and everything taken back
        Assert.Equal((1L, 3L), (plant.Arena.Aerator.LostBatches, plant.Arena.Aerator.Cycles));
        Assert.Equal((12, 12), (plant.Raw(9), plant.Treated(9)));
        AssertDrained(plant);
    }

    [Fact]
    public void A_device_that_completes_one_and_dies_loses_no_page_of_the_others()
    {
        using TestPlant plant = Plant(3);
        int answers = 0;
        plant.Balloon.Answer = () => ++answers == 1 ? SettleResult.Treated : SettleResult.TimedOut;
        plant.Balloon.RevokesSlot = slot => slot != 1;
        plant.Free(plant.AllocateApart(9, 24));
        plant.Arena.Trim();
        Assert.Equal(3L, plant.Arena.Aerator.LostBatches);
        Assert.Equal((0ul, 4ul * 512), (plant.Zone.InReactorPages, plant.Zone.QuarantinedPages));
        Assert.Equal((16, 4), (plant.Raw(9), plant.Treated(9)));
        plant.Check();

        plant.Balloon.RevokesSlot = _ => true;
        plant.Balloon.Answer = () => SettleResult.Treated;
        plant.Arena.Trim();
        Assert.Equal((0, 24), (plant.Raw(9), plant.Treated(9)));
        AssertDrained(plant);
    }

    [Fact]
    public void A_device_that_refuses_the_second_batch_still_answers_for_the_first()
    {
        using TestPlant plant = Plant(3);
        plant.Balloon.OnReact = () => plant.Balloon.Accepts = plant.Balloon.Reacts == 1;
        plant.Free(plant.AllocateApart(9, 12));
        plant.Arena.Trim();
        Assert.Equal((8, 4), (plant.Raw(9), plant.Treated(9)));
        AssertDrained(plant);
    }

    [Fact]
    public void A_device_that_goes_out_of_service_meanwhile_gets_no_more_and_keeps_nothing()
    {
        using TestPlant plant = Plant(2);
        plant.Balloon.WhileHeld = _ => plant.Balloon.Capacity = 0;
        plant.Free(plant.AllocateApart(9, 12));
        plant.Arena.Trim();
        Assert.Equal((4, 8), (plant.Raw(9), plant.Treated(9)));
        Assert.Equal(1, plant.Balloon.Restarts); // when everything is back
        AssertDrained(plant);
    }

    [Fact]
    public void Batches_that_are_lost_again_and_again_lose_no_page()
    {
        using TestPlant plant = Plant(3);
        Random random = new(12);
        plant.Balloon.Answer = () => (SettleResult)random.Next(4);
        plant.Balloon.Order = slots => slots[random.Next(slots.Count)];
        plant.Balloon.RevokesSlot = _ => random.Next(3) != 0;
        plant.Free(plant.AllocateApart(9, 20));
        for (int i = 0; i < 300; i++)
        {
            plant.Balloon.Accepts = random.Next(5) != 0;
            plant.Free(plant.Allocate(10, 2));
            plant.Arena.Trim();
            plant.Arena.Verify();
            Assert.Equal(0ul, plant.Zone.InReactorPages);
            Assert.InRange(plant.Arena.Aerator.References, 0, 1);
            Assert.Equal(Stage.Idle, plant.Arena.Aerator.Stage);
        }

        plant.Balloon.Accepts = true;
        plant.Balloon.RevokesSlot = _ => true;
        plant.Balloon.Answer = () => SettleResult.Treated;
        plant.Arena.Trim();
        Assert.Equal((0, 20, 0), (plant.Raw(9), plant.Treated(9), plant.Raw(10)));
        AssertDrained(plant);
    }

    /// <summary>The device of this process, batches of every size up to the largest, more blocks than one takes.</summary>
    [Theory]
    [InlineData(32, false)]
    [InlineData(256, false)]
    [InlineData(1024, false)]
    [InlineData(1024, true)]
    public unsafe void Batches_of_any_size_go_through_the_real_device(int capacity, bool oneRangePerCall)
    {
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, Options(capacity, AerationContext.Worker, oneRangePerCall), TreatmentSeams.Default);
        nint[] blocks = Scattered(arena, 2500);
        arena.Trim();
        Assert.Equal(0L, arena.Aerator.LostBatches);
        Assert.All(blocks, block => Assert.True(MarksOf(arena, block) is { Treated: true, Zero: true }));
        Assert.All(blocks, block => Assert.Equal(0, *(byte*)block));
        arena.Verify();
    }

    [Fact]
    public void A_batch_costs_no_managed_memory()
    {
        using PageArena arena = PageArena.CreateOn(
            LinuxSystem.Instance, Options(64, AerationContext.FreeingThread, oneRangePerCall: false), new TreatmentSeams(BalloonLink.Create, HasWorker: false));
        Assert.Equal(LeastCost(arena, 50), LeastCost(arena, 500)); // what one Trim costs, and nothing for its batches
        Assert.True(arena.Aerator.Cycles >= 5 * 8, $"{arena.Aerator.Cycles}");
    }

    /// <summary>Managed bytes of a Trim of so many scattered pages, all on this thread.</summary>
    private static long LeastCost(PageArena arena, int pages)
    {
        long least = long.MaxValue;
        for (int round = 0; round < 5; round++)
        {
            Scattered(arena, pages);
            long before = GC.GetAllocatedBytesForCurrentThread();
            arena.Trim();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }

    private static TestPlant Plant(int inFlight) => new(balloon: new FakeBalloon { Capacity = TestPlant.Capacity, InFlightMax = inFlight });

    private static PageArenaOptions Options(int capacity, AerationContext context, bool oneRangePerCall) => new()
    {
        SizeBytes = 128 << 20,
        CapBytes = 128 << 20,
        MinFreeBytes = 0,
        Zones = 1,
        ThreadPages = false,
        Aeration = new AerationOptions
        {
            Context = context,
            MinimumOrder = 0,
            ReactorCapacity = capacity,
            Delay = TimeSpan.FromHours(1),
            OneRangePerCall = oneRangePerCall,
        },
    };

    private static unsafe BlockMarks MarksOf(PageArena arena, nint block) =>
        BlockMarks.Of(arena.Map[Pfn.FromByteOffset((ulong)(block - (nint)arena.BaseAddress))]);

    /// <summary>Touched pages, freed; the buddy of each stays taken.</summary>
    private static unsafe nint[] Scattered(PageArena arena, int count)
    {
        nint[] all = [.. Enumerable.Range(0, 2 * count).Select(_ => (nint)arena.AllocatePages(0)).Order()];
        nint[] blocks = [.. all.Where((_, i) => i % 2 == 0)];
        foreach (nint block in blocks)
        {
            *(byte*)block = 1;
            arena.FreePages((void*)block);
        }

        return blocks;
    }

    private static void AssertDrained(TestPlant plant)
    {
        Assert.Equal((0ul, 0ul), (plant.Zone.InReactorPages, plant.Zone.QuarantinedPages));
        Assert.Equal((plant.Zone.IsOverHighWaterMark ? 1 : 0, Stage.Idle), (plant.Arena.Aerator.References, plant.Arena.Aerator.Stage));
        plant.Check();
    }
}
