using System;
using System.Numerics;
using System.Runtime.CompilerServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The sizes that a heap cuts slabs into: every 16 bytes up to 128, then eight to each doubling up to 32 KiB.
/// <code>
/// size[c + 1] &lt;= size[c] * 9 / 8              from 128 bytes on; every size is a multiple of 16
/// slab        = 64 KiB, or 256 KiB where more than 1/32 of 64 KiB would be left over
/// object i of a slab begins at i * size; with reciprocal = ceil(2^32 / size) its index is high32(offset * reciprocal),
/// and an offset below 64 KiB is a multiple of the size if and only if low32(offset * reciprocal) &lt; reciprocal
/// </code></summary>
internal static class SizeClasses
{
    /// <summary>Number of size classes.</summary>
    public const int Count = 72;

    /// <summary>What the head of a block says that was given out whole.</summary>
    public const int Whole = Count;

    /// <summary>The largest object of a slab, bytes.</summary>
    public const int MaxBytes = 32 << 10;

    /// <summary>log2 of the granularity of sizes: 16 bytes.</summary>
    public const int GrainShift = 4;

    /// <summary>Order of most slabs; the heads of all blocks that a heap takes lie at multiples of it.</summary>
    public const int SlabOrder = 4;

    /// <summary>Order of the slabs of classes that do not fit the other one well.</summary>
    public const int WideOrder = 6;

    private const int LinearClasses = 8;
    private const int LinearBytes = LinearClasses << GrainShift;
    private const int StepsShift = 3;
    private const int SheafBytes = 64 << 10;
    private const int SheafEntriesMin = 8;
    private const int PagesEntriesMin = 16;
    private const int PagesBytes = 8 << 10;
    private const int SheafEntriesMax = 256;

    /// <summary>Bytes of an object.</summary>
    public static int Bytes(int sizeClass)
    {
        if (sizeClass < LinearClasses)
        {
            return (sizeClass + 1) << GrainShift;
        }

        int step = sizeClass - LinearClasses + 1;
        int doubling = (step - 1) >> StepsShift;
        return (LinearBytes << doubling) + ((step - (doubling << StepsShift)) * ((LinearBytes >> StepsShift) << doubling));
    }

    /// <summary>The smallest class whose objects have so many bytes and lie at multiples of the alignment.</summary>
    /// <param name="bytes">1 to <see cref="MaxBytes"/>.</param>
    /// <param name="alignment">A power of two up to <see cref="MaxBytes"/>.</param>
    public static int For(int bytes, int alignment)
    {
        bytes = Math.Max(bytes, alignment);
        int sizeClass;
        if (bytes <= LinearBytes)
        {
            sizeClass = (bytes - 1) >> GrainShift;
        }
        else
        {
            int doubling = BitOperations.Log2((uint)(bytes - 1) / LinearBytes);
            int into = (bytes - 1 - (LinearBytes << doubling)) / ((LinearBytes >> StepsShift) << doubling);
            sizeClass = LinearClasses + (doubling << StepsShift) + into;
        }

        // The next power of two is a multiple of the alignment and a size: at most seven steps.
        while ((Bytes(sizeClass) & (alignment - 1)) != 0)
        {
            sizeClass++;
        }

        return sizeClass;
    }

    /// <summary>2^32 / size, rounded up.</summary>
    public static uint Reciprocal(int sizeClass) => (uint)(((1ul << 32) + (ulong)Bytes(sizeClass) - 1) / (ulong)Bytes(sizeClass));

    /// <summary>Order of a slab.</summary>
    public static int Order(int sizeClass)
    {
        int bytes = (int)new Order(SlabOrder).Bytes;
        return bytes % Bytes(sizeClass) <= bytes / 32 ? SlabOrder : WideOrder;
    }

    /// <summary>Objects of a slab, 2 to 4096.</summary>
    public static int Capacity(int sizeClass) => (int)new Order(Order(sizeClass)).Bytes / Bytes(sizeClass);

    /// <summary>Objects that a thread keeps at most: 64 KiB of them, but 16 to 256, above 8 KiB 8.</summary>
    public static int SheafEntries(int sizeClass) =>
        Math.Clamp(SheafBytes / Bytes(sizeClass), Bytes(sizeClass) <= PagesBytes ? PagesEntriesMin : SheafEntriesMin, SheafEntriesMax);

    /// <summary>Whether an object begins at this offset in its slab, and which.</summary>
    public static bool IsHead(int sizeClass, uint offset, out uint index)
    {
        uint bytes = (uint)Bytes(sizeClass);
        index = offset / bytes;
        return index * bytes == offset && index < (uint)Capacity(sizeClass);
    }

    /// <summary>Index of the object that begins at this offset.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint IndexOf(uint offset, uint reciprocal) => (uint)(((ulong)offset * reciprocal) >> 32);

    /// <summary>Whether this offset, below 64 KiB, is a multiple of the size: one multiplication where a division would be.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsMultiple(uint offset, uint reciprocal) => unchecked(offset * reciprocal) < reciprocal;
}
