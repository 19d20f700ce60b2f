using System;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>One thing that <c>perf peers</c> or <c>perf heap</c> times with every contestant: a row of its tables.</summary>
/// <param name="Pattern">One of <see cref="Patterns"/>.</param>
/// <param name="Bytes">Of each block, one of <see cref="Sizes"/> or <see cref="HeapSizes"/>.</param>
/// <param name="Threads">1 or 2, at the same time; prodcons: 2, one that allocates and one that frees.</param>
/// <param name="Touched">Whether one byte of each 4 KiB of a block is written after it was allocated.</param>
internal readonly record struct PeerCell(string Pattern, int Bytes, int Threads, bool Touched)
{
    /// <summary>lifo: free what was just allocated. bulk: allocate <see cref="LiveBlocks"/>, then free them in order. rand: with that many
    /// live, free one chosen at random and allocate another in its place. prodcons: one thread allocates, another frees.</summary>
    public static string[] Patterns => ["lifo", "bulk", "rand", "prodcons"];

    public static int[] Sizes => [4 << 10, 64 << 10, 2 << 20, 4 << 20];

    /// <summary>Sizes of <c>perf heap</c>.</summary>
    public static int[] HeapSizes => [16, 128, 1 << 10, 8 << 10];

    /// <summary>Blocks that each thread of bulk and rand holds.</summary>
    public int LiveBlocks => Bytes switch
    {
        <= 8 << 10 => 8192,
        64 << 10 => 2048,
        2 << 20 => 256,
        _ => 128,
    };

    /// <summary>Blocks that may be under way between the threads of prodcons: 64 MiB of them, but 16 to 256.</summary>
    public int RingSlots => Math.Clamp((64 << 20) / Bytes, 16, 256);

    /// <summary>The pairs of a batch are a multiple of this: bulk makes whole passes.</summary>
    public int PairsUnit => Pattern == "bulk" ? LiveBlocks : 1;

    /// <summary>The request line of the protocol.</summary>
    public string ToLine() => string.Create(CultureInfo.InvariantCulture, $"{Pattern}\t{Bytes}\t{Threads}\t{(Touched ? "touched" : "untouched")}");

    /// <summary>Reads a request line.</summary>
    /// <exception cref="MeasurementException">It is none.</exception>
    public static PeerCell Parse(string line)
    {
        string[] words = line.Split('\t');
        bool fits = words.Length == 4
            && Patterns.Contains(words[0])
            && Sizes.Concat(HeapSizes).Any(s => words[1] == s.ToString(CultureInfo.InvariantCulture))
            && words[2] is "1" or "2"
            && words[3] is "touched" or "untouched"
            && (words[0] != "prodcons" || words[2] == "2");
        return fits
            ? new PeerCell(words[0], int.Parse(words[1], CultureInfo.InvariantCulture), words[2] == "1" ? 1 : 2, words[3] == "touched")
            : throw new MeasurementException($"'{line}' is no request; allowed: pattern, bytes, threads and touched or untouched, separated by tabs");
    }
}
