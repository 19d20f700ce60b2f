using System.Runtime.CompilerServices;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>A spin lock in one 32-bit word of unmanaged memory. Holders do bounded work and do not call
/// the OS, with one exception: a zone that grows where the machine refused to promise the arena's memory opens its next 64 MiB. A waiter spins
/// briefly and then yields its time slice, so that a holder that lost its processor gets it back.</summary>
internal static class ZoneLock
{
    /// <summary>Takes the lock; not reentrant.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Enter(ref int word)
    {
        if (Interlocked.CompareExchange(ref word, 1, 0) != 0)
        {
            Wait(ref word);
        }
    }

    /// <summary>Gives the lock back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Exit(ref int word) => Volatile.Write(ref word, 0);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Wait(ref int word)
    {
        SpinWait spin = default;
        do
        {
            // Never Sleep(1): the holder needs microseconds at most once it runs.
            spin.SpinOnce(sleep1Threshold: -1);
        }
        while (Volatile.Read(ref word) != 0 || Interlocked.CompareExchange(ref word, 1, 0) != 0);
    }
}
