using System;
using System.Diagnostics;

namespace LowLevel.Allocator;

/// <summary>Waits of the calling thread for zone locks, kept until it is out of all locks and out of its own pages: who listens to events may
/// allocate, and under a spin lock would wait for himself. Written only while somebody traces.</summary>
internal static class ZoneWaits
{
    [ThreadStatic]
    private static Pending t_pending;

    /// <summary>The lock of a zone has come after a wait with a yield. Called with the lock held.</summary>
    public static void Note(int zone, long began)
    {
        ref Pending pending = ref t_pending;
        pending.Zone = zone;
        pending.Waits++;
        pending.Microseconds += Stopwatch.GetElapsedTime(began).TotalMicroseconds;
    }

    /// <summary>No lock is held, and the thread is not busy in its pages: tells what was noted.</summary>
    public static void Tell()
    {
        if (ArenaEvents.TracesAllocation)
        {
            TellPending();
        }
    }

    private static void TellPending()
    {
        Pending told = t_pending;
        if (told.Waits != 0)
        {
            t_pending = default; // first: the listener may come here again
            ArenaEvents.Log.LockWait(told.Zone, told.Waits, told.Microseconds);
        }
    }

    private struct Pending
    {
        public int Zone;
        public int Waits;
        public double Microseconds;
    }
}
