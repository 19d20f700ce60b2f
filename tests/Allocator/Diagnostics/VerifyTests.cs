using System;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Diagnostics;

/// <summary>Verify finds what is planted, each kind of damage by the equation that it breaks.</summary>
public sealed class VerifyTests
{
    [Fact]
    public unsafe void A_struct_page_inside_a_block_must_be_all_zero() =>
        Finds("inside the block at", (probe, live, free) => probe.Arena.Map[new Pfn(live + 1)]->FreedAt = 1);

    [Fact]
    public unsafe void A_block_must_begin_where_the_one_before_ends() =>
        Finds("heads the block that follows", (probe, live, free) => *probe.Arena.Map[new Pfn(live)] = default);

    [Fact]
    public unsafe void A_page_has_one_owner_and_not_two() =>
        Finds("exactly one owner", (probe, live, free) => probe.Arena.Map[new Pfn(free)]->State &= ~(ulong)PageType.InReactorBit);

    [Fact]
    public unsafe void A_user_s_block_is_on_no_list() =>
        Finds("pages whose head says Buddy", (probe, live, free) => probe.Arena.Map[new Pfn(live)]->State = PageState.Of(PageType.None.WithBuddy()));

    [Fact]
    public unsafe void A_head_is_aligned_to_its_order() =>
        Finds("order", (probe, live, free) => probe.Arena.Map[new Pfn(free)]->Private += 1);

    [Fact]
    public unsafe void A_treated_block_lies_below_the_membrane() =>
        Finds("treated exactly below the membrane", (probe, live, free) => probe.Arena.Map[new Pfn(free)]->State &= ~(ulong)PageType.TreatedBit);

    [Fact]
    public unsafe void The_membrane_follows_the_marks() =>
        Finds("treated exactly below the membrane", (probe, live, free) =>
        {
            Page* head = probe.Arena.Map[new Pfn(free)];
            *probe.Zone.Area(new Order((int)head->Private)).MembraneOf((MigrateType)head->Index) = PageMap.NodeOf(head);
        });

    [Fact]
    public unsafe void A_block_knows_the_type_of_its_list() =>
        Finds("knows the type of its list", (probe, live, free) => probe.Arena.Map[new Pfn(free)]->Index = (ulong)MigrateType.Movable);

    [Fact]
    public unsafe void The_links_of_a_list_agree() =>
        Finds("list links", (probe, live, free) => probe.Arena.Map[new Pfn(free)]->Lru.Prev = PageMap.NodeOf(probe.Arena.Map[new Pfn(free)]));

    [Fact]
    public unsafe void A_list_ends_where_its_head_says() =>
        Finds("a list ends", (probe, live, free) =>
        {
            ListHead* list = probe.Zone.Area(new Order(4)).List(MigrateType.Unmovable);
            list->Prev = list->Next;
        });

    [Fact]
    public unsafe void The_counters_of_an_order_are_what_lies_on_its_lists() =>
        Finds("raw == blocks without Treated", (probe, live, free) =>
        {
            FreeAreaData* area = ZoneData.FreeArea(probe.Arena.Memory.ZoneAt(0), 4);
            area->NrRaw--;
            area->NrTreated++;
        });

    [Fact]
    public unsafe void The_counters_of_a_type_are_what_lies_on_its_list() =>
        Finds("raw_of == blocks above the membrane", (probe, live, free) => ++*FreeAreaData.RawOf(ZoneData.FreeArea(probe.Arena.Memory.ZoneAt(0), 4), 0));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public unsafe void The_raw_pages_of_a_pageblock_are_those_of_its_raw_blocks(bool more) =>
        Finds("raw of pageblock 0 == pages of its raw blocks below order 9", (probe, live, free) => probe.Arena.Map.Block(0)->Raw ^= (ushort)(more ? 0x8000 : 16));

    [Fact]
    public unsafe void A_whole_pageblock_has_no_raw_pages_below_its_order() =>
        Finds("raw of pageblock 1 == pages of its raw blocks below order 9", (probe, live, free) => probe.Arena.Map.Block(1)->Raw = 512);

    [Fact]
    public unsafe void Free_is_the_sum_of_the_lists() =>
        Finds("free + isolated == pages on lists", (probe, live, free) => probe.Arena.Memory.ZoneAt(0)->NrFree++);

    [Fact]
    public unsafe void What_the_reactor_has_is_counted() =>
        Finds("in reactor ==", (probe, live, free) => probe.Arena.Memory.ZoneAt(0)->NrInReactor++);

    [Fact]
    public unsafe void Reserved_pageblocks_are_counted() =>
        Finds("reserved ==", (probe, live, free) => probe.Arena.Memory.ZoneAt(0)->NrReservedHighatomic += 512);

    [Fact]
    public unsafe void Isolated_pageblocks_are_counted() =>
        Finds("isolated pageblocks ==", (probe, live, free) => probe.Arena.Memory.ZoneAt(0)->NrIsolatePageblock++);

    [Fact]
    public void A_pageblock_that_says_Isolate_has_its_free_blocks_there() =>
        Finds("exactly if its pageblock is isolated", (probe, live, free) => probe.Arena.Map.Pageblocks.Set(new Pfn(free).Pageblock, MigrateType.Isolate));

    [Fact]
    public unsafe void A_cached_block_lies_in_a_thread_s_stack() =>
        Finds("pages in threads' stacks", (probe, live, free) => probe.Arena.Map[new Pfn(live)]->State = ThreadPages.CachedState);

    [Fact]
    public void The_budget_covers_what_is_out() =>
        Finds("budget taken >=", (probe, live, free) => probe.Arena.Budget.Release(1));

    [Fact]
    public unsafe void Two_free_buddies_are_merged() =>
        Finds("are not both free", (probe, live, free) =>
        {
            // Split a free block in place, with all its books in order.
            Page* head = probe.Arena.Map[new Pfn(free)];
            FreeArea four = probe.Zone.Area(new Order(4));
            four.Remove(head);
            probe.Zone.Area(new Order(3)).Add(head, new Order(3), MigrateType.Unmovable, BlockMarks.Raw(1), Placement.Head);
            probe.Zone.Area(new Order(3)).Add(probe.Arena.Map[new Pfn(free + 8)], new Order(3), MigrateType.Unmovable, BlockMarks.Raw(1), Placement.Head);
        });

    /// <summary>An arena that is in order, with a live block and a free one of order 4; damage; the equation.</summary>
    private static void Finds(string equation, Action<ArenaProbe, uint, uint> damage)
    {
        using ArenaProbe probe = new(8);
        uint[] blocks = probe.TakeMany(6, 4);
        probe.Free(blocks[1], blocks[4]);
        probe.Arena.Verify();
        damage(probe, blocks[2], blocks[1]);
        string message = Assert.Throws<InvalidOperationException>(probe.Arena.Verify).Message;
        Assert.Contains(equation, message, StringComparison.Ordinal);
        Assert.StartsWith("invariant broken: ", message, StringComparison.Ordinal);
    }
}
