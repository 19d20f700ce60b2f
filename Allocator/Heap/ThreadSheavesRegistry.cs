using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>All threads' sheaves of one heap. What has rested is a sheaf that has not changed for four passes. Whoever drains holds no
/// class's lock.</summary>
internal sealed class ThreadSheavesRegistry(NativeHeap heap, SlabLists slabs) : ThreadCacheRegistry<ThreadSheaves>(heap.Id)
{
    /// <summary>A sheaf that has not changed for as many passes (four to a delay) is drained.</summary>
    private const int StillPasses = 4;

    private readonly NativeHeap _heap = heap;
    private readonly SlabLists _slabs = slabs;

    /// <inheritdoc/>
    protected override ThreadSheaves Make(Thread owner) => new(_heap, owner);

    /// <inheritdoc/>
    protected override void Remember(ThreadSheaves cache) => ThreadSheaves.Last = cache;

    /// <summary>Looks whether the counts are what they were; true where one has been so for long. The owner may be at work, so a sheaf in
    /// use may look still: it is filled again by its next batch. Only passes write what is noted here.</summary>
    protected override unsafe bool LooksRested(ThreadSheaves cache)
    {
        bool any = false;
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            Sheaf* sheaf = cache.Of(i);
            int count = Volatile.Read(ref sheaf->Count);
            sheaf->Still = count == sheaf->Seen && count != 0 ? sheaf->Still + 1 : 0;
            sheaf->Seen = count;
            any |= sheaf->Still >= StillPasses;
        }

        return any;
    }

    /// <inheritdoc/>
    protected override unsafe bool DrainFrozen(ThreadSheaves cache, bool restedOnly)
    {
        bool any = false;
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            Sheaf* sheaf = cache.Of(i);
            if (sheaf->Count != 0 && (!restedOnly || sheaf->Still >= StillPasses))
            {
                // What was freed twice is given back once; its user is told where one can be told, not here.
                _ = _slabs.Give(i, sheaf->Entries, sheaf->Count);
                sheaf->Count = 0;
                sheaf->Still = 0;
                any = true;
            }
        }

        return any;
    }
}
