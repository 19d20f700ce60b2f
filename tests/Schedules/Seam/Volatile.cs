using System.Runtime.CompilerServices;
using Schedules;

namespace LowLevel;

/// <summary>Stands before the framework's type of this name for all code of the product: each call is a point where another strand may
/// go on, and a write may wait in its strand's store buffer.</summary>
internal static class Volatile
{
    public static unsafe T Read<T>(ref T word, [CallerMemberName] string member = "", [CallerFilePath] string file = "")
    {
        Strand? strand = Seam.Point("read", member, file);
        if (strand is { HasBuffered: true } && strand.TryForward(ref word, out T value))
        {
            return value;
        }

        T found = word;
        Seam.PointAfter(strand);
        return found;
    }

    public static byte Read(ref byte word, [CallerMemberName] string member = "", [CallerFilePath] string file = "") => Read<byte>(ref word, member, file);

    public static void Write(ref byte word, byte value, [CallerMemberName] string member = "", [CallerFilePath] string file = "") =>
        Write<byte>(ref word, value, member, file);

    public static void Write(ref ushort word, ushort value, [CallerMemberName] string member = "", [CallerFilePath] string file = "") =>
        Write<ushort>(ref word, value, member, file);

    public static void Write(ref int word, int value, [CallerMemberName] string member = "", [CallerFilePath] string file = "") =>
        Write<int>(ref word, value, member, file);

    public static void Write(ref uint word, uint value, [CallerMemberName] string member = "", [CallerFilePath] string file = "") =>
        Write<uint>(ref word, value, member, file);

    public static void Write(ref long word, long value, [CallerMemberName] string member = "", [CallerFilePath] string file = "") =>
        Write<long>(ref word, value, member, file);

    public static void Write(ref ulong word, ulong value, [CallerMemberName] string member = "", [CallerFilePath] string file = "") =>
        Write<ulong>(ref word, value, member, file);

    public static void Write<T>(ref T word, T value, [CallerMemberName] string member = "", [CallerFilePath] string file = "")
    {
        Strand? strand = Seam.Point("write", member, file);
        if (strand is null)
        {
            word = value;
            return;
        }

        if (Mutation.Hits(MutationKind.LoseWrite, member, file))
        {
            return;
        }

        if (!strand.TryBuffer(ref word, value))
        {
            word = value;
            strand.Wrote();
        }

        Seam.PointAfter(strand);
    }
}
