using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>All threads' sheaves of one heap. Creates them, freezes them, and gives what they hold back to the slabs: all of it, or what
/// has rested, and all that ended threads have left. Whoever drains must not be inside its own sheaves and must hold no class's lock.</summary>
internal sealed class ThreadSheavesRegistry
{
    /// <summary>A sheaf that has not changed for as many passes (four to a delay) is drained.</summary>
    private const int StillPasses = 4;

    [ThreadStatic]
    private static List<ThreadSheaves>? t_mine;

    private readonly NativeHeap _heap;
    private readonly SlabLists _slabs;
    private readonly Lock _lock = new();
    private readonly List<ThreadSheaves> _all = [];
    private bool _closed;

    /// <summary>The registry of a heap.</summary>
    public ThreadSheavesRegistry(NativeHeap heap, SlabLists slabs)
    {
        _heap = heap;
        _slabs = slabs;
    }

    /// <summary>The calling thread's sheaves, made at its first call; null once the heap was disposed.</summary>
    public ThreadSheaves? GetOrCreate()
    {
        List<ThreadSheaves> mine = t_mine ??= [];
        foreach (ThreadSheaves sheaves in mine)
        {
            if (sheaves.Heap == _heap)
            {
                ThreadSheaves.Last = sheaves;
                return sheaves;
            }
        }

        lock (_lock)
        {
            if (_closed)
            {
                return null;
            }

            // Without treatment there are no passes: a thread that comes makes room by what ended ones have left.
            ReapEnded();
            mine.RemoveAll(static old => old.Heap.IsDisposed);
            ThreadSheaves made = new(_heap, Thread.CurrentThread);
            _all.Add(made);
            mine.Add(made);
            ThreadSheaves.Last = made;
            return made;
        }
    }

    /// <summary>Threads that have sheaves. Those that ended are gone after the next drain.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _all.Count;
            }
        }
    }

    /// <summary>Adds up a figure over all threads' sheaves.</summary>
    public long Sum(Func<ThreadSheaves, long> figure)
    {
        lock (_lock)
        {
            long sum = 0;
            foreach (ThreadSheaves one in _all)
            {
                sum += figure(one);
            }

            return sum;
        }
    }

    /// <summary>Gives everything back to the slabs. True: there was something.</summary>
    public bool DrainAll() => Drain(stillOnly: false);

    /// <summary>A timed pass: gives back the sheaves that have not changed for four passes, and all that ended threads have left.</summary>
    public void Pass() => Drain(stillOnly: true);

    /// <summary>For good: the sheaves stay frozen, and nobody gets new ones.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _closed = true;
            Freeze(_all);
        }
    }

    /// <summary>Runs an action while nobody works on any thread's sheaves.</summary>
    public void WhileFrozen(Action<IReadOnlyList<ThreadSheaves>> action)
    {
        lock (_lock)
        {
            Freeze(_all);
            try
            {
                action(_all);
            }
            finally
            {
                Thaw(_all);
            }
        }
    }

    private bool Drain(bool stillOnly)
    {
        lock (_lock)
        {
            if (_closed)
            {
                return false;
            }

            bool any = ReapEnded();
            List<ThreadSheaves> chosen = _all.FindAll(one => stillOnly ? LooksStill(one) : !one.LooksEmpty);
            if (chosen.Count == 0)
            {
                return any;
            }

            Freeze(chosen);
            foreach (ThreadSheaves one in chosen)
            {
                any |= DrainFrozen(one, stillOnly);
            }

            Thaw(chosen);
            return any;
        }
    }

    private bool ReapEnded()
    {
        bool any = false;
        for (int i = _all.Count - 1; i >= 0; i--)
        {
            // An ended thread is not at work, and its last writes came before its end was seen: no freezing.
            if (!_all[i].Owner.IsAlive)
            {
                any |= DrainFrozen(_all[i], stillOnly: false);
                _all.RemoveAt(i);
            }
        }

        return any;
    }

    private static void Freeze(List<ThreadSheaves> all)
    {
        foreach (ThreadSheaves one in all)
        {
            one.Freeze();
        }

        // Every processor that runs one of our threads executes a full fence: a thread that is not seen busy below sees frozen.
        Interlocked.MemoryBarrierProcessWide();
        foreach (ThreadSheaves one in all)
        {
            one.WaitUntilIdle();
        }
    }

    private void Thaw(List<ThreadSheaves> all)
    {
        if (_closed)
        {
            return;
        }

        foreach (ThreadSheaves one in all)
        {
            one.Thaw();
        }
    }

    /// <summary>Looks whether the counts are what they were; true where one has been so for long. The owner may be at work, so a sheaf in
    /// use may look still: it is filled again by its next batch. Only passes write what is noted here.</summary>
    private static unsafe bool LooksStill(ThreadSheaves sheaves)
    {
        bool any = false;
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            Sheaf* sheaf = sheaves.Of(i);
            int count = Volatile.Read(ref sheaf->Count);
            sheaf->Still = count == sheaf->Seen && count != 0 ? sheaf->Still + 1 : 0;
            sheaf->Seen = count;
            any |= sheaf->Still >= StillPasses;
        }

        return any;
    }

    private unsafe bool DrainFrozen(ThreadSheaves sheaves, bool stillOnly)
    {
        bool any = false;
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            Sheaf* sheaf = sheaves.Of(i);
            if (sheaf->Count != 0 && (!stillOnly || sheaf->Still >= StillPasses))
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
