using System;
using System.Runtime.InteropServices;

namespace LowLevel.Perf;

/// <summary>What bodies hold, so that both sides can tell whether one arrived: 64-bit words that count up from a seed.</summary>
internal static class KestrelBody
{
    public const int SmallestBytes = 4096;
    public const int LargestBytes = 4 << 20;

    /// <summary>In how large pieces both sides read and write.</summary>
    public const int PieceBytes = 65536;

    /// <summary>A size of which each factor of two is as likely, a multiple of 8.</summary>
    public static int Size(ref SplitMix random, int largest) =>
        (int)(SmallestBytes * Math.Pow((double)largest / SmallestBytes, random.Fraction())) & ~7;

    /// <summary>Fills a piece that lies this many bytes behind the body's start.</summary>
    public static void Fill(Span<byte> piece, ulong seed, int offset)
    {
        ulong word = unchecked(seed + ((ulong)offset / 8));
        foreach (ref ulong one in MemoryMarshal.Cast<byte, ulong>(piece))
        {
            one = word;
            word = unchecked(word + 1);
        }
    }

    /// <summary>The sum of a piece's words, of which a body's sum is made.</summary>
    public static ulong Sum(ReadOnlySpan<byte> piece)
    {
        ulong sum = 0;
        foreach (ulong one in MemoryMarshal.Cast<byte, ulong>(piece))
        {
            sum = unchecked(sum + one);
        }

        return sum;
    }

    /// <summary>The sum of a whole body.</summary>
    public static ulong SumOf(ulong seed, int bytes)
    {
        ulong words = (ulong)bytes / 8;
        return unchecked((seed * words) + (words * (words - 1) / 2));
    }
}
