using System.Runtime.CompilerServices;

namespace LowLevel.Native;

/// <summary>Values of <see cref="Page.State"/>: <see cref="Page.PageType"/> in the low 32 bits and <see cref="Page.Refcount"/> in the high
/// 32, so that one load or one compare-exchange sees and changes both. Little-endian, as x86_64 and arm64 are.</summary>
/// <remarks>Source: Linux v5.2, x86_64, include/linux/mm_types.h (page_type at 48, _refcount at 52).</remarks>
public static class PageState
{
    /// <summary>The user owns the block: refcount 1, no type.</summary>
    public const ulong User = 0x0000_0001_ffff_ffff;

    /// <summary>A heap owns the block: refcount 1, type Heap. So no arena's user can free it.</summary>
    public const ulong Heap = User & ~(ulong)PageType.HeapBit;

    /// <summary>Free in the way that the type says: refcount 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong Of(PageType type) => type.Value;
}
