using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What freed memory is filled with, and how a write into it is found.</summary>
internal static class Pattern
{
    /// <summary>Of debug mode, where nothing else is asked for: is no small number, no valid address in any aligned word, and no text.</summary>
    public const uint Freed = 0xdbdb_dbdb;

    /// <summary>Writes a value over memory whose length is a multiple of 4. Page by page: a span has 32 bits, a range has more.</summary>
    public static unsafe void Fill(void* block, nuint bytes, uint value)
    {
        for (nuint done = 0; done < bytes; done += PageblockLimits.PageSize)
        {
            // Sound: the caller owns these bytes; the last part ends where they do.
            new Span<uint>((byte*)block + done, (int)Math.Min(bytes - done, PageblockLimits.PageSize) / sizeof(uint)).Fill(value);
        }
    }

    /// <summary>Offset of the first word that is not the value; -1: all are.</summary>
    public static unsafe long FindOther(void* block, nuint bytes, uint value)
    {
        for (nuint done = 0; done < bytes; done += PageblockLimits.PageSize)
        {
            // Sound: as above, and they are only read.
            int other = new ReadOnlySpan<uint>((byte*)block + done, (int)Math.Min(bytes - done, PageblockLimits.PageSize) / sizeof(uint)).IndexOfAnyExcept(value);
            if (other >= 0)
            {
                return (long)done + (other * sizeof(uint));
            }
        }

        return -1;
    }
}
