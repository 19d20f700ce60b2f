using System.Threading;

namespace LowLevel.Allocator;

/// <summary>Owners at rest, first in first out; linked through the owners, so that a return allocates nothing. A pool has several
/// lanes, so that threads seldom meet at one lock. An owner stays with the lane that it was made for: threads that rent and others
/// that return do not empty one lane and fill another.</summary>
internal sealed class OwnerLane
{
    private readonly Lock gate = new();
    private readonly int restingMin;
    private ArenaMemoryOwner? oldest;
    private ArenaMemoryOwner? youngest;
    private int resting;

    /// <summary>An empty lane, where an owner rests until so many others have come after it.</summary>
    public OwnerLane(int restingMin) => this.restingMin = restingMin;

    /// <summary>The owner that has rested longest; null while none has rested long enough.</summary>
    public ArenaMemoryOwner? TakeRested()
    {
        lock (gate)
        {
            if (resting <= restingMin)
            {
                return null;
            }

            ArenaMemoryOwner rested = oldest!;
            oldest = rested.Next;
            resting--;
            return rested;
        }
    }

    /// <summary>Lays an owner to rest that nobody holds any more.</summary>
    public void Rest(ArenaMemoryOwner owner)
    {
        lock (gate)
        {
            owner.Next = null;
            if (youngest is null)
            {
                oldest = owner;
            }
            else
            {
                youngest.Next = owner;
            }

            youngest = owner;
            resting++;
        }
    }
}
