using System;

namespace LowLevel.Perf;

/// <summary>A block in a thread's hands, with the pattern that it must keep: the first and the last eight bytes of each page say
/// where they are and whose. A page that was dropped, handed out twice or written by anybody else no longer says so.</summary>
/// <param name="Address">First byte.</param>
/// <param name="Bytes">Length; whole pages.</param>
/// <param name="Ticket">Unique to this allocation.</param>
internal readonly record struct StressBlock(nint Address, long Bytes, ulong Ticket)
{
    private const int PageBytes = 4096;

    /// <summary>Writes the pattern.</summary>
    public unsafe void Mark()
    {
        // Sound: the block is live, this long, and this thread's alone.
        byte* block = (byte*)Address;
        for (long at = 0; at < Bytes; at += PageBytes)
        {
            *(ulong*)(block + at) = Pattern(at);
            *(ulong*)(block + at + PageBytes - sizeof(ulong)) = Pattern(at + 1);
        }
    }

    /// <summary>Null, or what is wrong and where.</summary>
    public unsafe string? FindDamage()
    {
        // Sound: as in Mark.
        byte* block = (byte*)Address;
        for (long at = 0; at < Bytes; at += PageBytes)
        {
            ulong first = *(ulong*)(block + at);
            ulong last = *(ulong*)(block + at + PageBytes - sizeof(ulong));
            if (first != Pattern(at) || last != Pattern(at + 1))
            {
                return $"block of {Bytes} bytes, page {at / PageBytes}: 0x{first:x} .. 0x{last:x} where 0x{Pattern(at):x} .. 0x{Pattern(at + 1):x} was written";
            }
        }

        return null;
    }

    /// <summary>Null, or where a block that was asked for as zeroed is not.</summary>
    public unsafe string? FindNonZero()
    {
        // Sound: as in Mark; lengths here are far below 2 GiB.
        int at = new ReadOnlySpan<byte>((void*)Address, (int)Bytes).IndexOfAnyExcept((byte)0);
        return at < 0 ? null : $"zeroed block of {Bytes} bytes is not zero at byte {at}";
    }

    private ulong Pattern(long at) => new SplitMix(unchecked((ulong)(Address + at) ^ (Ticket * 0x9E3779B97F4A7C15))).Next();
}
