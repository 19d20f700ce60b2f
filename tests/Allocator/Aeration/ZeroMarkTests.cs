using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>House rule 9: a Zeroed allocation writes only what is not known to read zero. The fake device never drops anything and
/// writes a marker into each page instead: where it survives, nothing was cleared; where it is gone, the block was.</summary>
public sealed class ZeroMarkTests
{
    private const byte Marker = 0xA5;

    [Fact]
    public void After_an_own_discard_a_zeroed_allocation_writes_nothing()
    {
        using TestPlant plant = Marked(SettleResult.TreatedZero);
        plant.Free(plant.Allocate(10));
        plant.Arena.Trim();
        Assert.True(IsUntouched(plant, plant.Allocate(10, flags: AllocationFlags.Zeroed), 1024));
    }

    [Fact]
    public void Every_part_of_a_block_that_reads_zero_reads_zero()
    {
        using TestPlant plant = Marked(SettleResult.TreatedZero);
        plant.Free(plant.Allocate(10));
        plant.Arena.Trim();
        for (int order = 0; order < 10; order++)
        {
            Assert.True(IsUntouched(plant, plant.Allocate(order, flags: AllocationFlags.Zeroed), 1 << order), $"order {order}");
        }
    }

    [Theory]
    [InlineData((int)SettleResult.Treated)] // MADV_FREE, a host elsewhere, a poison value
    [InlineData((int)SettleResult.Failed)]
    [InlineData((int)SettleResult.TimedOut)]
    public void After_any_other_answer_a_zeroed_allocation_is_cleared(int answer)
    {
        using TestPlant plant = Marked((SettleResult)answer);
        plant.Free(plant.Allocate(10));
        plant.Arena.Trim();
        Assert.True(IsCleared(plant, plant.Allocate(10, flags: AllocationFlags.Zeroed), 1024));
    }

    [Theory]
    [InlineData((int)SettleResult.Treated)]
    [InlineData((int)SettleResult.Failed)]
    [InlineData((int)SettleResult.TimedOut)]
    public void Memory_that_was_never_used_and_that_a_host_may_have_written_is_cleared(int answer)
    {
        using TestPlant plant = Marked((SettleResult)answer);
        nint used = plant.Allocate(9);
        nint fresh = plant.AddressOf(plant.PfnOf(used) + 512); // the upper half of the same growth
        plant.Arena.Trim();
        Assert.Contains(fresh, plant.Reported());
        Assert.Equal(fresh, plant.Allocate(9, flags: AllocationFlags.Zeroed));
        Assert.True(IsCleared(plant, fresh, 512));
    }

    [Fact]
    public unsafe void Memory_that_was_never_used_is_not_written()
    {
        using TestPlant plant = new();
        new Span<byte>(plant.Arena.BaseAddress, 16 << 20).Fill(Marker); // behind the arena's back
        Assert.True(IsUntouched(plant, plant.Allocate(10, flags: AllocationFlags.Zeroed), 1024));
        Assert.True(IsUntouched(plant, plant.Allocate(0, flags: AllocationFlags.Zeroed), 1));
        Assert.True(IsUntouched(plant, plant.Allocate(0, flags: AllocationFlags.Zeroed), 1));
        nint range = (nint)plant.Arena.AllocateRange(6 << 20, AllocationFlags.Zeroed);
        Assert.True(IsUntouched(plant, range, 1536));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Zero_ends_at_hand_out(bool threadPages)
    {
        using TestPlant plant = Marked(SettleResult.TreatedZero, threadPages);
        nint block = plant.Allocate(10);
        plant.Free(block);
        plant.Arena.Trim();
        Assert.Equal(block, plant.Allocate(10));
        plant.Free(block); // its user may have written
        Assert.Equal(block, plant.Allocate(10, flags: AllocationFlags.Zeroed));
        Assert.True(IsCleared(plant, block, 1024));
    }

    [Fact]
    public void A_block_that_reads_zero_still_does_after_a_stay_in_a_threads_pages()
    {
        using TestPlant plant = Marked(SettleResult.TreatedZero, threadPages: true);
        nint[] blocks = plant.Allocate(10, 4);
        plant.Free(blocks);
        plant.Arena.Trim();
        HashSet<nint> handed = [plant.Allocate(10)]; // a batch is refilled, one of it handed out
        nint cached = plant.Allocate(10, flags: AllocationFlags.Zeroed);
        Assert.True(handed.Add(cached));
        Assert.True(IsUntouched(plant, cached, 1024));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_merge_with_a_half_that_does_not_read_zero_is_cleared(bool lowerReadsZero)
    {
        using TestPlant plant = Marked(SettleResult.TreatedZero);
        nint[] halves = plant.Allocate(9, 2);
        plant.Free(halves[lowerReadsZero ? 0 : 1]);
        plant.Arena.Trim();
        Fill(halves[lowerReadsZero ? 1 : 0], 512);
        plant.Free(halves[lowerReadsZero ? 1 : 0]);
        Assert.Equal(halves[0], plant.Allocate(10, flags: AllocationFlags.Zeroed));
        Assert.True(IsCleared(plant, halves[0], 1024));
    }

    [Fact]
    public unsafe void A_range_of_blocks_that_were_used_is_cleared()
    {
        using TestPlant plant = Marked(SettleResult.Treated);
        plant.Free(plant.AllocateAll(10));
        plant.Arena.Trim();
        nint range = (nint)plant.Arena.AllocateRange(6 << 20, AllocationFlags.Zeroed);
        Assert.True(IsCleared(plant, range, 1536));
    }

    /// <summary>A plant whose device writes the marker into every page of a batch and gives one answer.</summary>
    private static TestPlant Marked(SettleResult answer, bool threadPages = false)
    {
        TestPlant plant = new(o =>
        {
            o.SizeBytes = 32 << 20;
            o.ThreadPages = threadPages;
        });
        plant.Balloon.Answer = () => answer;
        plant.Balloon.WhileHeld = ranges =>
        {
            foreach (PageRange range in ranges)
            {
                Fill(plant.AddressOf(range.Start), (int)range.Pages);
            }
        };
        return plant;
    }

    private static unsafe void Fill(nint block, int pages)
    {
        for (int page = 0; page < pages; page++)
        {
            ((byte*)block)[(page * 4096) + 77] = Marker;
        }
    }

    private static bool IsUntouched(TestPlant plant, nint block, int pages) => CountMarkers(plant, block, pages) == pages;

    private static bool IsCleared(TestPlant plant, nint block, int pages) => CountMarkers(plant, block, pages) == 0;

    private static unsafe int CountMarkers(TestPlant plant, nint block, int pages)
    {
        Assert.Equal(PageState.User, plant.Arena.Map[plant.PfnOf(block)]->State);
        int markers = 0;
        for (int page = 0; page < pages; page++)
        {
            byte seen = ((byte*)block)[(page * 4096) + 77];
            Assert.True(seen is Marker or 0);
            markers += seen == Marker ? 1 : 0;
        }

        return markers;
    }
}
