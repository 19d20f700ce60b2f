using System.Runtime.InteropServices;

namespace LowLevel.Allocator;

/// <summary>Owners at rest, first in first out; linked through the owners, so that a return allocates nothing. A pool has several
/// lanes, so that threads seldom meet at one lock. An owner stays with the lane that it was made for: threads that rent and others
/// that return do not empty one lane and fill another.</summary>
internal sealed class OwnerLane
{
    private readonly int restingMin;
    private ArenaMemoryOwner? oldest;
    private ArenaMemoryOwner? youngest;
    private Apart words;

    /// <summary>An empty lane, where an owner rests until so many others have come after it.</summary>
    public OwnerLane(int restingMin) => this.restingMin = restingMin;

    /// <summary>The owner that has rested longest; null while none has rested long enough.</summary>
    public ArenaMemoryOwner? TakeRested()
    {
        ArenaMemoryOwner? rested = null;
        ZoneLock.Enter(ref words.Lock);
        if (words.Resting > restingMin)
        {
            rested = oldest!;
            oldest = rested.Next;
            words.Resting--;
        }

        ZoneLock.Exit(ref words.Lock);
        return rested;
    }

    /// <summary>Lays an owner to rest that nobody holds any more.</summary>
    public void Rest(ArenaMemoryOwner owner)
    {
        owner.Next = null;
        ZoneLock.Enter(ref words.Lock);
        if (words.Resting == 0)
        {
            oldest = owner;
        }
        else
        {
            youngest!.Next = owner;
        }

        youngest = owner;
        words.Resting++;
        ZoneLock.Exit(ref words.Lock);
    }

    /// <summary>As long as two cache lines, which are fetched in pairs: what lies behind a lane is not in the way of who works on it.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 128)]
    private struct Apart
    {
        [FieldOffset(0)]
        public int Lock;

        [FieldOffset(4)]
        public int Resting;
    }
}
