using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading;

namespace LowLevel.Native;

/// <summary>The migratetype of each pageblock, 4 bits a block in 64-bit words, the first block in the highest nibble.
/// Read without a lock, written by compare-exchange: neighbours in one word never lose each other's change. Any thread may
/// call any member.</summary>
/// <remarks>Source: Linux v5.2, include/linux/pageblock-flags.h and mm/page_alloc.c.
/// <code>
/// bit   63 62 61  60   59 58 57  56   ...   3  2  1   0
///      +---------+----+---------+----+-----+---------+----+
///      | type    |skip| type    |skip| ... | type    |skip|
///      +---------+----+---------+----+-----+---------+----+
///       block 0         block 1              block 15
/// </code>
/// The skip bit keeps its place and is left as it is: it belongs to compaction, which is not mirrored.
/// A word of zero says Unmovable, not skipped, for its 16 blocks.</remarks>
public readonly struct PageblockBits
{
    private const int SkipBits = 1;
    private const int TypeBits = 3;
    private const ulong TypeMask = 0x7;

    // Sound as long as the words outlive this view: the owner of the arena maps them before the first page and unmaps them after the last.
    private readonly unsafe ulong* _words;

    /// <summary>A view of words that lie in unmanaged memory, aligned to 8 bytes.</summary>
    /// <param name="words">One word for each 16 pageblocks; they outlive this view.</param>
    public unsafe PageblockBits(ulong* words)
    {
        Debug.Assert(((nuint)words & (sizeof(ulong) - 1)) == 0, "PageblockBits: words are aligned to 8 bytes");
        _words = words;
    }

    /// <summary>Bytes that the words of this many pageblocks take.</summary>
    public static nuint BytesFor(uint blocks) =>
        (nuint)(((ulong)blocks + (PageblockLimits.PageblocksPerWord - 1)) / PageblockLimits.PageblocksPerWord * sizeof(ulong));

    /// <summary>The type of a pageblock. A plain read: where the type must not change meanwhile, the caller holds what
    /// prevents that.</summary>
    /// <param name="block">Index of the pageblock from the arena's start; it must lie in the words.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe MigrateType Get(uint block)
    {
        ulong word = Volatile.Read(ref _words[block / PageblockLimits.PageblocksPerWord]);
        // A shift counts modulo 64, so that TypeShift comes down to one negation.
        return (MigrateType)((word >> -(int)((block * PageblockLimits.BitsPerPageblock) + TypeBits)) & TypeMask);
    }

    /// <summary>Gives a pageblock a type; its neighbours and the skip bit stay as they are.</summary>
    /// <param name="block">Index of the pageblock from the arena's start; it must lie in the words.</param>
    /// <param name="type">Any of the six types.</param>
    /// <exception cref="ArgumentOutOfRangeException">It is none of them; nothing is changed.</exception>
    public unsafe void Set(uint block, MigrateType type)
    {
        if (unchecked((uint)type) >= MigrateTypes.Count)
        {
            throw new ArgumentOutOfRangeException(nameof(type), type, "no migratetype; allowed: 0 (Unmovable) to 5 (Isolate)");
        }
        int shift = TypeShift(block);
        AtomicWord.Update(ref _words[block / PageblockLimits.PageblocksPerWord], new SetBits(TypeMask << shift, (ulong)type << shift));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int TypeShift(uint block)
    {
        int nibble = PageblockLimits.PageblocksPerWord - 1 - (int)(block % PageblockLimits.PageblocksPerWord);
        return (nibble * PageblockLimits.BitsPerPageblock) + SkipBits;
    }

    /// <summary>Replaces the bits of a mask.</summary>
    private readonly struct SetBits(ulong mask, ulong bits) : ITransition
    {
        public ulong Next(ulong value) => (value & ~mask) | bits;
    }
}
