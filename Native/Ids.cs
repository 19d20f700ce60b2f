using System;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace LowLevel.Native;

/// <summary>Page frame number: the index of a 4 KiB page counted from the arena's start. 32 bits: an arena has at most
/// 2^32 pages (16 TiB). Raw shifts between pages, bytes and pageblocks stand in this file only.</summary>
/// <param name="Value">Pages from the arena's start.</param>
public readonly record struct Pfn(uint Value) : IComparable<Pfn>
{
    /// <summary>Offset of the page's first byte from the arena's start.</summary>
    public ulong ByteOffset => (ulong)Value << PageblockLimits.PageShift;

    /// <summary>Index of the pageblock that holds this page.</summary>
    public uint Pageblock => Value >> PageblockLimits.PageblockOrder;

    /// <summary>The page at a byte offset from the arena's start; the offset within the page is dropped.</summary>
    public static Pfn FromByteOffset(ulong offset) => new((uint)(offset >> PageblockLimits.PageShift));

    /// <summary>First page of a pageblock.</summary>
    public static Pfn FromPageblock(uint block) => new(block << PageblockLimits.PageblockOrder);

    /// <summary>The buddy of the block of this order that this page heads (mm/internal.h, __find_buddy_pfn).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Pfn Buddy(Order order) => new(Value ^ (1u << order.Value));

    /// <summary>Head of the block of this order that holds this page.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Pfn AlignDown(Order order) => new(Value & ~((1u << order.Value) - 1));

    /// <summary>Whether this page may head a block of this order.</summary>
    public bool IsAligned(Order order) => (Value & ((1u << order.Value) - 1)) == 0;

    /// <inheritdoc/>
    public int CompareTo(Pfn other) => Value.CompareTo(other.Value);

    /// <summary>Pages forward.</summary>
    public static Pfn operator +(Pfn a, uint pages) => new(a.Value + pages);

    /// <summary>Pages between.</summary>
    public static uint operator -(Pfn a, Pfn b) => a.Value - b.Value;

    /// <summary>Earlier page.</summary>
    public static bool operator <(Pfn a, Pfn b) => a.Value < b.Value;

    /// <summary>Later page.</summary>
    public static bool operator >(Pfn a, Pfn b) => a.Value > b.Value;

    /// <summary>Earlier page or the same.</summary>
    public static bool operator <=(Pfn a, Pfn b) => a.Value <= b.Value;

    /// <summary>Later page or the same.</summary>
    public static bool operator >=(Pfn a, Pfn b) => a.Value >= b.Value;

    /// <summary>Pages forward.</summary>
    public static Pfn Add(Pfn left, uint pages) => left + pages;

    /// <summary>Pages between.</summary>
    public static uint Subtract(Pfn left, Pfn right) => left - right;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"pfn 0x{Value:x}");
}

/// <summary>Size of a block as a power of two of pages: 0 (4 KiB) to 10 (4 MiB).</summary>
/// <param name="Value">log2 of the number of pages.</param>
public readonly record struct Order(int Value) : IComparable<Order>
{
    /// <summary>The largest order, 10: 4 MiB.</summary>
    public static Order Max => new(PageblockLimits.MaxOrder);

    /// <summary>The order of a pageblock, 9: 2 MiB.</summary>
    public static Order Pageblock => new(PageblockLimits.PageblockOrder);

    /// <summary>Pages in a block of this order.</summary>
    public uint Pages => 1u << Value;

    /// <summary>Bytes in a block of this order.</summary>
    public nuint Bytes => (nuint)1 << (Value + PageblockLimits.PageShift);

    /// <summary>The smallest order whose block holds this many pages; more than <see cref="Max"/> where none does.</summary>
    public static Order ForPages(ulong pages) => new(pages <= 1 ? 0 : 64 - System.Numerics.BitOperations.LeadingZeroCount(pages - 1));

    /// <inheritdoc/>
    public int CompareTo(Order other) => Value.CompareTo(other.Value);

    /// <summary>Smaller block.</summary>
    public static bool operator <(Order a, Order b) => a.Value < b.Value;

    /// <summary>Larger block.</summary>
    public static bool operator >(Order a, Order b) => a.Value > b.Value;

    /// <summary>Smaller block or equal.</summary>
    public static bool operator <=(Order a, Order b) => a.Value <= b.Value;

    /// <summary>Larger block or equal.</summary>
    public static bool operator >=(Order a, Order b) => a.Value >= b.Value;

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"order {Value}");
}
