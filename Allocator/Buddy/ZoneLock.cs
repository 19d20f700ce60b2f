using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>A spin lock in one 32-bit word of unmanaged memory. Holders do bounded work (the largest batch is 512 blocks, some
/// microseconds) and do not call the OS, with one exception: a zone that grows where the machine refused to promise the arena's
/// memory opens its next 64 MiB.
/// <para>A holder that lost its processor must not stall the rest for a time slice. Three things see to that. Who only frees does not
/// wait: a thread whose stack is full and finds the lock held keeps the block as long as its stack may grow
/// (<see cref="ThreadDrain.MakeRoom"/>). Batches that follow each other grow, so that a busy thread asks for the lock once in hundreds of
/// blocks, and a time slice seldom ends inside a hold. Who has to wait spins for about as long as a hold takes and then gives its
/// processor away (sched_yield) again and again, never sleeping: as soon as no waiter is left to run in its place, the holder
/// runs on.</para></summary>
internal static class ZoneLock
{
    /// <summary>Takes a zone's lock; not reentrant. (The zone's struct and not the word, so that who waits can say for what.)</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Enter(ZoneData* zone)
    {
        if (Interlocked.CompareExchange(ref zone->Lock, 1, 0) != 0)
        {
            Wait(zone);
        }
    }

    /// <summary>Takes a lock of this kind that is no zone's; not reentrant.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Enter(ref int word)
    {
        if (Interlocked.CompareExchange(ref word, 1, 0) != 0)
        {
            Spin(ref word);
        }
    }

    /// <summary>Gives the lock back.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Exit(ref int word) => Volatile.Write(ref word, 0);

    /// <summary>Whether somebody holds it at this instant: a hint for who has something else to do.</summary>
    public static bool LooksHeld(ref int word) => Volatile.Read(ref word) != 0;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe void Wait(ZoneData* zone)
    {
        long began = ArenaEvents.TracesAllocation ? Stopwatch.GetTimestamp() : 0;
        if (Spin(ref zone->Lock) && began != 0)
        {
            ZoneWaits.Note(zone->Number, began);
        }
    }

    /// <summary>Takes the lock in the end; whether it has given its processor away meanwhile.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Spin(ref int word)
    {
        bool yielded = false;
        SpinWait spin = default;
        do
        {
            yielded |= spin.NextSpinWillYield;

            // Ten turns of growing length, then every other one a yield. Never Sleep(1): the holder needs microseconds once it runs.
            spin.SpinOnce(sleep1Threshold: -1);
        }
        while (Volatile.Read(ref word) != 0 || Interlocked.CompareExchange(ref word, 1, 0) != 0);
        return yielded;
    }
}
