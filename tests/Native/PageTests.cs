using System;
using System.Runtime.InteropServices;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.Native;

/// <summary>struct page and its type word against the kernel's own numbers (v5.2, x86_64), which stand here a second time on
/// purpose.</summary>
public sealed class PageTests
{
    [Fact]
    public void The_kernels_type_words_are_exact()
    {
        Assert.Equal(0xffffff7fu, PageType.None.WithBuddy().Value);
        Assert.Equal(0xfffffeffu, PageType.None.WithOffline().Value);
        Assert.Equal(0xfffffe7fu, PageType.None.WithBuddy().WithTreated().Value);
        Assert.Equal(0xfffffdffu, PageType.None.WithKmemcg().Value);
        Assert.Equal(0xfffffbffu, PageType.None.WithTable().Value);
        Assert.Equal(-129, unchecked((int)PageType.None.WithBuddy().Value));
        Assert.Equal(-257, unchecked((int)PageType.None.WithTreated().Value));
        Assert.Equal(-385, unchecked((int)PageType.None.WithBuddy().WithTreated().Value));
    }

    [Fact]
    public void Treated_is_offline_and_goes_without_touching_buddy()
    {
        PageType treated = PageType.None.WithBuddy().WithTreated();
        Assert.True(treated.IsBuddy && treated.IsTreated && treated.IsOffline);
        Assert.Equal(PageType.None.WithBuddy(), treated.WithoutTreated());
        Assert.Equal(PageType.None.WithTreated(), treated.WithoutBuddy());
    }

    [Fact]
    public void A_type_word_says_which_types_are_set()
    {
        Assert.Equal("0xfffffe7f Buddy Treated", PageType.None.WithBuddy().WithTreated().ToString());
        Assert.Equal("0xffffffff", PageType.None.ToString());
        Assert.Equal("0x00000000", default(PageType).ToString());
    }

    [Fact]
    public void A_fallback_row_costs_no_allocation()
    {
        _ = Fallbacks.Of(MigrateType.Movable).Length;
        long before = GC.GetAllocatedBytesForCurrentThread();
        int cells = 0;
        for (int i = 0; i < 1000; i++)
        {
            cells += Fallbacks.Of((MigrateType)(i % 3)).Length;
        }
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(2000, cells);
    }

    [Fact]
    public void A_map_count_of_up_to_127_below_zero_has_no_type()
    {
        for (int count = -128; count <= 4096; count++)
        {
            PageType word = new(unchecked((uint)count));
            Assert.False(word.IsBuddy || word.IsTreated || word.IsCached || word.IsInReactor || word.IsZero, $"count {count}");
        }
    }

    [Fact]
    public unsafe void A_struct_page_has_its_words_where_the_kernel_has_them()
    {
        byte* bytes = stackalloc byte[64];
        new Span<byte>(bytes, 64).Clear();
        // Sound: 64 bytes of the stack hold one Page, and nothing needs its alignment here.
        Page* page = (Page*)bytes;
        page->Flags = PageFlags.Head;
        page->Lru.Next = (ListHead*)0x1111111111111111;
        page->Lru.Prev = (ListHead*)0x2222222222222222;
        page->FreedAt = 0x3333333333333333;
        page->Index = 0x4444444444444444;
        page->Private = 0x5555555555555555;
        page->PageType = PageType.None.WithBuddy();
        page->Refcount = 0x66666666;
        page->MemCgroup = 0x7777777777777777;
        ulong[] words = MemoryMarshal.Cast<byte, ulong>(new ReadOnlySpan<byte>(bytes, 64)).ToArray();
        Assert.Equal(
            [
                0x10000, 0x1111111111111111, 0x2222222222222222, 0x3333333333333333,
                0x4444444444444444, 0x5555555555555555, 0x66666666ffffff7f, 0x7777777777777777,
            ],
            words);
        Assert.Equal(0x66666666ffffff7ful, page->State);
    }

    [Fact]
    public void The_state_word_is_type_below_and_refcount_above()
    {
        Page page = new() { State = PageState.User };
        Assert.Equal(PageType.None, page.PageType);
        Assert.Equal(1, page.Refcount);
        page.State = PageState.Of(PageType.None.WithCached().WithTreated());
        Assert.True(page.PageType.IsCached && page.PageType.IsTreated && !page.PageType.IsBuddy);
        Assert.Equal(0, page.Refcount);
    }

    [Fact]
    public void An_all_zero_page_heads_nothing()
    {
        Page page = default;
        Assert.Equal(0ul, page.State);
        Assert.NotEqual(PageState.User, page.State);
        PageType type = page.PageType;
        Assert.False(type.IsBuddy || type.IsOffline || type.IsTreated || type.IsKmemcg || type.IsTable || type.IsZero
            || type.IsCached || type.IsInReactor || type.IsInflated || type.IsQuarantined);
    }

    [Fact]
    public void A_split_ring_of_q_entries_has_the_sizes_of_the_specification()
    {
        // VIRTIO 1.2, 2.7: 16 * Q, 6 + 2 * Q and 6 + 8 * Q bytes, the event word included.
        const int q = 256;
        Assert.Equal(16 * q, VirtqDescriptor.SizeInBytes * q);
        Assert.Equal(6 + (2 * q), VirtqRingHeader.SizeInBytes + (sizeof(ushort) * q) + sizeof(ushort));
        Assert.Equal(6 + (8 * q), VirtqRingHeader.SizeInBytes + (VirtqUsedElement.SizeInBytes * q) + sizeof(ushort));
    }

    [Fact]
    public unsafe void An_array_index_outside_of_its_field_is_an_assertion_in_debug_builds()
    {
#if DEBUG
        ZoneData zone = default;
        nint at = (nint)(&zone);
        Assert.ThrowsAny<Exception>(() => _ = (nint)ZoneData.FreeArea((ZoneData*)at, 11));
        Assert.ThrowsAny<Exception>(() => _ = (nint)ZoneData.FreeArea((ZoneData*)at, -1));
#else
        Assert.Skip("the assertion is compiled into debug builds only");
#endif
    }
}
