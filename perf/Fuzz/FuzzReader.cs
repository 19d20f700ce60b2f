using System;
using System.Buffers.Binary;

namespace LowLevel.Perf;

/// <summary>An input from its first byte to its last; behind the end it reads zeros.</summary>
internal ref struct FuzzReader(ReadOnlySpan<byte> input)
{
    private static readonly ulong[] s_wild =
    [
        0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 63, 64, 255, 256, 4095, 4096, 4097, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x10000, 0x1_0001, 0x7fff_ffff, 0x8000_0000,
        0xffff_f000, 0xffff_fff0, 0xffff_ffff, 0x1_0000_0000, 1ul << 44, 1ul << 62, long.MaxValue, 1ul << 63, ulong.MaxValue - 4095, ulong.MaxValue - 15, ulong.MaxValue,
    ];

    private readonly ReadOnlySpan<byte> _input = input;
    private int _at;

    /// <summary>Whether anything is left.</summary>
    public readonly bool HasMore => _at < _input.Length;

    public byte Byte() => _at < _input.Length ? _input[_at++] : (byte)0;

    /// <summary>0 to <paramref name="bound"/> - 1; at most 256.</summary>
    public int Below(int bound) => Byte() % bound;

    /// <summary>Two bytes.</summary>
    public ushort Short() => (ushort)(Byte() | (Byte() << 8));

    /// <summary>The low half of <see cref="Wild"/>.</summary>
    public uint WildWord() => unchecked((uint)Wild());

    /// <summary>The low half of <see cref="Wild"/>.</summary>
    public int WildInt() => unchecked((int)Wild());

    /// <summary>The low quarter of <see cref="Wild"/>.</summary>
    public ushort WildShort() => unchecked((ushort)Wild());

    /// <summary>A number that code may stumble over: one of a few, one of those beside it, or any.</summary>
    public ulong Wild()
    {
        int choice = Byte();
        if (choice < 3 * s_wild.Length)
        {
            return unchecked(s_wild[choice / 3] + (ulong)((choice % 3) - 1));
        }

        if (choice < 200)
        {
            return Byte();
        }

        if (choice < 230)
        {
            return (ulong)Byte() << 12;
        }

        Span<byte> bytes = stackalloc byte[8];
        for (int i = 0; i < 8; i++)
        {
            bytes[i] = Byte();
        }

        return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
    }
}
