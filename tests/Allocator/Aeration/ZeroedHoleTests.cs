using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>The Zero mark below the pageblock, with the real balloon in this process and garbage in every page before.</summary>
public sealed class ZeroedHoleTests
{
    [Fact]
    public void Parts_of_a_treated_pageblock_read_zero_and_are_not_touched()
    {
        using ArenaProbe probe = Dirty();
        FreeAll(probe);
        uint[] parts = [.. Enumerable.Range(0, 9).Select(order => probe.Take(order, MigrateType.Unmovable, AllocationFlags.Zeroed))];
        Assert.Equal(0, Resident(probe, 0, 1024));
        for (int order = 0; order < 9; order++)
        {
            AssertZero(probe, parts[order], 1u << order); // reading maps, so it comes last
        }

        probe.Arena.Verify();
    }

    [Fact]
    public void A_treated_hole_reads_zero_and_is_not_touched()
    {
        using ArenaProbe probe = WithHole();
        Assert.Equal(128u, probe.Take(7, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.Equal(0, Resident(probe, 128, 128));
        AssertZero(probe, 128, 128);
        probe.Arena.Verify();
    }

    [Fact]
    public unsafe void A_hole_that_was_used_again_is_cleared()
    {
        using ArenaProbe probe = WithHole();
        Assert.Equal(128u, probe.Take(7));
        new Span<byte>(probe.AddressOf(128), 128 * 4096).Fill(0x5a);
        probe.Free(128u);
        Assert.Equal(128u, probe.Take(7, MigrateType.Unmovable, AllocationFlags.Zeroed));
        AssertZero(probe, 128, 128);
    }

    [Fact]
    public void A_block_of_holes_and_garbage_that_stayed_apart_is_cleared()
    {
        using ArenaProbe probe = WithHole();
        probe.Free(Enumerable.Range(0, 512).Where(page => page is < 128 or >= 256).Select(page => (uint)page).Append(512u));
        probe.Arena.Verify();
        Assert.Equal(0u, probe.Take(10, MigrateType.Unmovable, AllocationFlags.Zeroed));
        AssertZero(probe, 0, 1024);
        probe.Arena.Verify();
    }

    [Theory]
    [InlineData(nameof(DiscardMode.Free), null)]
    [InlineData(nameof(DiscardMode.DontNeed), 0xdead_beef)]
    [InlineData(nameof(DiscardMode.DontNeed), 0u)]
    public void Whatever_way_of_dropping_or_poison_value_a_zeroed_hole_reads_zero(string discard, uint? poison)
    {
        using ArenaProbe probe = WithHole(o => (o.Aeration.Discard, o.PoisonValue) = (Enum.Parse<DiscardMode>(discard), poison));
        Assert.Equal(128u, probe.Take(7, MigrateType.Unmovable, AllocationFlags.Zeroed));
        AssertZero(probe, 128, 128);
        probe.Free(Enumerable.Range(0, 512).Where(page => page is < 128 or >= 256).Select(page => (uint)page).Append(512u).Append(128u));
        probe.Arena.Trim();
        uint part = probe.Take(3, MigrateType.Unmovable, AllocationFlags.Zeroed);
        AssertZero(probe, part, 8);
        probe.Arena.Verify();
    }

    /// <summary>All of a 4 MiB arena is in use and full of garbage: pageblock 0 page by page, pageblock 1 as one block.</summary>
    private static unsafe ArenaProbe Dirty(Action<PageArenaOptions>? change = null)
    {
        ArenaProbe probe = new(
            4,
            o =>
            {
                o.HugePages = HugePages.Advise;
                o.Aeration.Enabled = true;
                o.Aeration.Context = AerationContext.FreeingThread;
                change?.Invoke(o);
            },
            seams: new TreatmentSeams(BalloonLink.Create, HasWorker: false));
        Assert.Equal(511u, probe.TakeMany(512, 0)[^1]);
        Assert.Equal(512u, probe.Take(9));
        new Span<byte>(probe.AddressOf(0), 4 << 20).Fill(0xa5);
        return probe;
    }

    /// <summary>Of that, pages 128 to 255 are free and treated.</summary>
    private static ArenaProbe WithHole(Action<PageArenaOptions>? change = null)
    {
        ArenaProbe probe = Dirty(change);
        probe.Free(Enumerable.Range(128, 128).Select(page => (uint)page));
        probe.Arena.Trim();
        return probe;
    }

    private static void FreeAll(ArenaProbe probe)
    {
        probe.Free(Enumerable.Range(0, 513).Select(page => (uint)page));
        probe.Arena.Trim();
    }

    private static unsafe long Resident(ArenaProbe probe, uint page, uint pages) =>
        KernelView.ResidentPages((nint)probe.AddressOf(page), (nuint)pages * 4096);

    private static unsafe void AssertZero(ArenaProbe probe, uint page, uint pages) =>
        Assert.Equal(-1, new ReadOnlySpan<byte>(probe.AddressOf(page), (int)pages * 4096).IndexOfAnyExcept((byte)0));
}
