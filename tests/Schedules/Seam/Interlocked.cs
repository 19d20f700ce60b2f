using System.Collections.Generic;
using System.Numerics;
using System.Runtime.CompilerServices;
using Schedules;

namespace LowLevel;

/// <summary>Stands before the framework's type of this name for all code of the product. Only one strand runs at a time, so plain
/// operations are atomic; each is a point where another strand may go on, and a full fence.</summary>
internal static class Interlocked
{
    public static void MemoryBarrier([CallerMemberName] string member = "", [CallerFilePath] string file = "")
    {
        if (Seam.Point("fence", member, file) is Strand strand && !Mutation.Hits(MutationKind.SkipFence, member, file))
        {
            strand.FlushAll();
        }
    }

    public static void MemoryBarrierProcessWide([CallerMemberName] string member = "", [CallerFilePath] string file = "")
    {
        if (Seam.Point("fence of all", member, file) is Strand strand && !Mutation.Hits(MutationKind.SkipFence, member, file))
        {
            strand.Scheduler.FlushEverybody();
        }
    }

    public static long Read(ref long word, [CallerMemberName] string member = "", [CallerFilePath] string file = "") => Volatile.Read(ref word, member, file);

    public static int Add(ref int word, int by, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Plus(ref word, by, m, f);

    public static long Add(ref long word, long by, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Plus(ref word, by, m, f);

    public static int Increment(ref int word, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Plus(ref word, 1, m, f);

    public static uint Increment(ref uint word, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Plus(ref word, 1u, m, f);

    public static long Increment(ref long word, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Plus(ref word, 1L, m, f);

    public static int Decrement(ref int word, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Plus(ref word, -1, m, f);

    public static long Decrement(ref long word, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Plus(ref word, -1L, m, f);

    public static int And(ref int word, int mask, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Masked(ref word, mask, 0, m, f);

    public static ulong And(ref ulong word, ulong mask, [CallerMemberName] string m = "", [CallerFilePath] string f = "") =>
        Masked(ref word, mask, 0ul, m, f);

    public static int Or(ref int word, int bits, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Masked(ref word, ~bits, bits, m, f);

    public static uint Or(ref uint word, uint bits, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Masked(ref word, ~bits, bits, m, f);

    public static ulong Or(ref ulong word, ulong bits, [CallerMemberName] string m = "", [CallerFilePath] string f = "") =>
        Masked(ref word, ~bits, bits, m, f);

    public static int Exchange(ref int word, int value, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Swap(ref word, value, m, f);

    public static uint Exchange(ref uint word, uint value, [CallerMemberName] string m = "", [CallerFilePath] string f = "") => Swap(ref word, value, m, f);

    public static int CompareExchange(ref int word, int value, int comparand, [CallerMemberName] string m = "", [CallerFilePath] string f = "") =>
        SwapIf(ref word, value, comparand, m, f);

    public static long CompareExchange(ref long word, long value, long comparand, [CallerMemberName] string m = "", [CallerFilePath] string f = "") =>
        SwapIf(ref word, value, comparand, m, f);

    public static ulong CompareExchange(ref ulong word, ulong value, ulong comparand, [CallerMemberName] string m = "", [CallerFilePath] string f = "") =>
        SwapIf(ref word, value, comparand, m, f);

    public static T CompareExchange<T>(ref T word, T value, T comparand, [CallerMemberName] string m = "", [CallerFilePath] string f = "")
        where T : class? => SwapIf(ref word, value, comparand, m, f);

    private static T Plus<T>(ref T word, T by, string member, string file)
        where T : IBinaryInteger<T>
    {
        Strand? strand = Before("add", member, file);
        T before = Look(ref word, strand, member, file);
        word = unchecked(before + by);
        After(strand);
        return unchecked(before + by);
    }

    private static T Masked<T>(ref T word, T keep, T set, string member, string file)
        where T : IBinaryInteger<T>
    {
        Strand? strand = Before("mask", member, file);
        T before = Look(ref word, strand, member, file);
        word = (before & keep) | set;
        After(strand);
        return before;
    }

    private static T Swap<T>(ref T word, T value, string member, string file)
    {
        Strand? strand = Before("swap", member, file);
        T before = Look(ref word, strand, member, file);
        word = value;
        After(strand);
        return before;
    }

    private static T SwapIf<T>(ref T word, T value, T comparand, string member, string file)
    {
        Strand? strand = Before("swap if", member, file);
        T before = Look(ref word, strand, member, file);
        if (EqualityComparer<T>.Default.Equals(before, comparand))
        {
            word = value;
            After(strand);
        }

        return before;
    }

    private static Strand? Before(string what, string member, string file)
    {
        Strand? strand = Seam.Point(what, member, file);
        strand?.FlushAll();
        return strand;
    }

    /// <summary>What the word holds. A mutation lets another strand in between this and the write.</summary>
    private static T Look<T>(ref T word, Strand? strand, string member, string file)
    {
        T before = word;
        if (strand is not null && Mutation.Hits(MutationKind.SplitAtomic, member, file))
        {
            Seam.Point("second half", member, file);
        }

        return before;
    }

    private static void After(Strand? strand)
    {
        strand?.Wrote();
        Seam.PointAfter(strand);
    }
}
