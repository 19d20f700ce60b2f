using System;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Allocator.Heap;

/// <summary>Each equation of Verify is broken once, and named by what it throws; mended, the heap verifies again.</summary>
public sealed class HeapVerifyTests
{
    [Fact]
    public unsafe void A_free_bit_too_many_is_found() => Plant("free_objects of the slab", (slab, _) => *slab.Word(2) ^= 1);

    [Fact]
    public unsafe void A_wrong_count_of_free_objects_is_found() => Plant("free_objects of the slab", (slab, _) => slab.Head->FreeObjects ^= 1);

    [Fact]
    public unsafe void A_group_bit_without_a_word_is_found() => Plant("groups of the slab", (slab, _) => *slab.Groups ^= 1);

    [Fact]
    public unsafe void A_bit_beyond_the_capacity_is_found() => Plant("at or above its capacity", (slab, _) => *slab.Word(10) ^= 1ul << 63);

    [Fact]
    public unsafe void A_slab_that_lost_its_owner_state_is_found() =>
        Plant("says Heap", (slab, _) => slab.Head->State ^= PageState.User ^ PageState.Heap);

    [Fact]
    public unsafe void A_slab_without_its_flag_is_found() => Plant("exactly if it says Slab", (slab, _) => slab.Head->Flags ^= PageFlags.Slab);

    [Fact]
    public unsafe void A_slab_of_a_wrong_order_is_found() => Plant("order of its class", (slab, _) => slab.Head->Private ^= 1);

    [Fact]
    public unsafe void Wrong_counts_of_a_class_are_found()
    {
        Plant("nr_free of class", (_, slabs) => ((SlabClass*)slabs)->NrFree ^= 1);
        Plant("nr_slabs of class", (_, slabs) => ((SlabClass*)slabs)->NrSlabs ^= 1);
        Plant("nr_partial of class", (_, slabs) => ((SlabClass*)slabs)->NrPartial ^= 1);
    }

    [Fact]
    public void An_object_twice_in_a_sheaf_is_found() => PlantInSheaf("in no other place", (probe, own) => own);

    [Fact]
    public void An_address_that_is_no_object_in_a_sheaf_is_found() => PlantInSheaf("is an object of it", (probe, own) => own + 8);

    [Fact]
    public void A_free_object_in_a_sheaf_is_found() => PlantInSheaf("is out of its slab", (probe, own) => (own & ~0xfffful) + (96 * 600));

    [Fact]
    public unsafe void A_wrong_sum_of_whole_blocks_is_found()
    {
        using HeapProbe probe = new();
        nint block = probe.Take(65_536);
        Page* head = probe.Arena.Map[Pfn.FromByteOffset((nuint)(block - (nint)probe.Arena.BaseAddress))];
        head->Private ^= 1;
        Assert.Contains("whole bytes", Assert.Throws<InvalidOperationException>(probe.Heap.Verify).Message, StringComparison.Ordinal);
        head->Private ^= 1;
        probe.Verify();
    }

    /// <summary>A slab of 96-byte objects, the first ones out, the last ones free.</summary>
    private static unsafe void Plant(string equation, Action<Slab, nint> change)
    {
        using HeapProbe probe = new();
        nint[] blocks = probe.TakeMany(200, 96);
        Slab slab = probe.SlabOf(blocks[0], 96);
        nint slabs = (nint)probe.Heap.Slabs.Class(SizeClasses.For(96, 16));
        probe.Verify();
        change(slab, slabs);
        Assert.Contains(equation, Assert.Throws<InvalidOperationException>(probe.Heap.Verify).Message, StringComparison.Ordinal);
        change(slab, slabs);
        probe.Verify();
    }

    private static unsafe void PlantInSheaf(string equation, Func<HeapProbe, ulong, ulong> entry)
    {
        using HeapProbe probe = new();
        probe.Free(probe.TakeMany(10, 96));
        Sheaf* sheaf = probe.Mine().Of(SizeClasses.For(96, 16));
        sheaf->Entries[sheaf->Count] = entry(probe, sheaf->Entries[0]);
        sheaf->Count++;
        Assert.Contains(equation, Assert.Throws<InvalidOperationException>(probe.Heap.Verify).Message, StringComparison.Ordinal);
        sheaf->Count--;
        probe.Verify();
    }
}
