using System;
using System.Collections.Generic;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>All threads' caches of one arena or heap. Creates them, freezes them, drains them: all of it, or what has rested, and all of a
/// thread that has ended. Whoever drains must not be inside its own cache and must hold no lock that an owner waits for while busy.</summary>
internal abstract class ThreadCacheRegistry<T>
    where T : ThreadCache
{
    [ThreadStatic]
    private static List<T>? t_mine;

    private readonly Lock _lock = new();
    private readonly List<T> _all = [];
    private readonly List<T> _chosen = []; // of one drain; kept, because an idle program passes here for ever and must not grow by it
    private readonly int _number;
    private int _shut;
    private bool _closed;

    /// <summary>The registry of the arena or heap with this number.</summary>
    protected ThreadCacheRegistry(int number) => _number = number;

    /// <summary>Threads that have a cache. Those that ended are gone after the next drain.</summary>
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

    /// <summary>The calling thread's cache, made at its first call; null once the arena or heap was disposed.</summary>
    public T? GetOrCreate()
    {
        List<T> mine = t_mine ??= [];
        foreach (T cache in mine)
        {
            if (cache.Number == _number)
            {
                Remember(cache);
                return cache;
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
            mine.RemoveAll(static old => old.IsOrphan);
            T made = Make(Thread.CurrentThread);
            if (_shut == 0)
            {
                made.Thaw();
            }

            _all.Add(made);
            mine.Add(made);
            Remember(made);
            return made;
        }
    }

    /// <summary>Adds up a figure over all threads' caches. A hint, because nobody is stopped.</summary>
    public long Sum(Func<T, long> figure)
    {
        lock (_lock)
        {
            long sum = 0;
            foreach (T one in _all)
            {
                sum += figure(one);
            }

            return sum;
        }
    }

    /// <summary>Gives everything back. True: there was something.</summary>
    public bool DrainAll() => Drain(restedOnly: false, close: false);

    /// <summary>Gives back what has rested, and all that ended threads have left. True: there was something.</summary>
    public bool DrainRested() => Drain(restedOnly: true, close: false);

    /// <summary>Gives everything back, for good: the caches stay frozen, so that every thread goes without, and nobody gets a new one.</summary>
    public void Close() => Drain(restedOnly: false, close: true);

    /// <summary>Gives everything back, and until <see cref="Reopen"/> every thread goes without. Counted: open again when the last one has
    /// reopened.</summary>
    public void Shut()
    {
        lock (_lock)
        {
            if (_shut++ == 0)
            {
                ReapEnded();
                Freeze(_all);
                foreach (T one in _all)
                {
                    DrainFrozen(one, restedOnly: false);
                }
            }
        }
    }

    /// <summary>Ends one <see cref="Shut"/>.</summary>
    public void Reopen()
    {
        lock (_lock)
        {
            _shut--;
            Thaw(_all);
        }
    }

    /// <summary>Runs an action while nobody works on any thread's cache.</summary>
    public void WhileFrozen(Action<IReadOnlyList<T>> action)
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

    /// <summary>A new cache, shut. Under the lock.</summary>
    protected abstract T Make(Thread owner);

    /// <summary>The calling thread's fast path uses this one from now on.</summary>
    protected abstract void Remember(T cache);

    /// <summary>Whether anything in it has rested. The owner may be at work: a hint.</summary>
    protected abstract bool LooksRested(T cache);

    /// <summary>Gives back what there is, or what has rested. Its gate is shut, or its owner has ended. True: there was something.</summary>
    protected abstract bool DrainFrozen(T cache, bool restedOnly);

    private bool Drain(bool restedOnly, bool close)
    {
        lock (_lock)
        {
            bool any = ReapEnded();
            _closed |= close;

            // Only who has something to give is stopped: a frozen thread goes to the locks for everything, and a busy program that was
            // stopped in each pass would pay for it with much of its speed.
            _chosen.Clear();
            foreach (T one in _all)
            {
                if (close || (restedOnly ? LooksRested(one) : !one.LooksEmpty))
                {
                    _chosen.Add(one);
                }
            }

            if (_chosen.Count == 0)
            {
                return any;
            }

            Freeze(_chosen);
            foreach (T one in _chosen)
            {
                any |= DrainFrozen(one, restedOnly);
            }

            Thaw(_chosen);
            _chosen.Clear();
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
                any |= DrainFrozen(_all[i], restedOnly: false);
                _all.RemoveAt(i);
            }
        }

        return any;
    }

    private static void Freeze(List<T> all)
    {
        foreach (T one in all)
        {
            one.Freeze();
        }

        // Every processor that runs one of our threads executes a full fence: a thread that is not seen busy below sees frozen.
        Interlocked.MemoryBarrierProcessWide();
        foreach (T one in all)
        {
            one.WaitUntilIdle();
        }
    }

    private void Thaw(List<T> all)
    {
        if (_closed || _shut != 0)
        {
            return;
        }

        foreach (T one in all)
        {
            one.Thaw();
        }
    }
}
