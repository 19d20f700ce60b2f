using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>All threads' pages of one arena. Creates them, freezes them, drains them: all of it, or what has rested, and all of a
/// thread that has ended. Whoever drains must not be inside its own pages and must hold no zone lock.</summary>
internal sealed class ThreadPagesRegistry
{
    [ThreadStatic]
    private static List<ThreadPages>? t_mine;

    private readonly PageArena _arena;
    private readonly Lock _lock = new();
    private readonly List<ThreadPages> _all = [];
    private int _created;
    private int _shut;
    private bool _closed;

    /// <summary>The registry of an arena.</summary>
    public ThreadPagesRegistry(PageArena arena) => _arena = arena;

    /// <summary>The calling thread's pages, made at its first call; null once the arena was disposed.</summary>
    public ThreadPages? GetOrCreate()
    {
        List<ThreadPages> mine = t_mine ??= [];
        foreach (ThreadPages pages in mine)
        {
            if (pages.Arena == _arena)
            {
                ThreadPages.Last = pages;
                return pages;
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
            mine.RemoveAll(static old => old.Arena.IsDisposed);
            ThreadPages made = new(_arena, Thread.CurrentThread, _arena.PreferredZone(_created++));
            if (_shut != 0)
            {
                made.Freeze();
            }

            _all.Add(made);
            mine.Add(made);
            ThreadPages.Last = made;
            return made;
        }
    }

    /// <summary>Pages that all threads keep together. A hint.</summary>
    public long Pages
    {
        get
        {
            lock (_lock)
            {
                long pages = 0;
                foreach (ThreadPages one in _all)
                {
                    pages += one.Pages;
                }

                return pages;
            }
        }
    }

    /// <summary>Resident bytes of bookkeeping.</summary>
    public long MetadataBytes
    {
        get
        {
            lock (_lock)
            {
                long bytes = 0;
                foreach (ThreadPages one in _all)
                {
                    bytes += one.ResidentBytes;
                }

                return bytes;
            }
        }
    }

    /// <summary>Threads that have pages. Those that ended are gone after the next drain.</summary>
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

    /// <summary>Gives everything back to the zones. True: there was something.</summary>
    public bool DrainAll() => Drain(restedOnly: false, close: false);

    /// <summary>Gives back what has rested, and all that ended threads have left.</summary>
    public bool DrainRested() => Drain(restedOnly: true, close: false);

    /// <summary>Gives everything back, and until <see cref="Reopen"/> every thread goes to the zones, so that what is freed anywhere reaches the
    /// budget at once: somebody waits for it. Counted: open again when the last one has reopened.</summary>
    public void Shut()
    {
        lock (_lock)
        {
            if (_shut++ == 0)
            {
                ReapEnded();
                Freeze(_all);
                foreach (ThreadPages one in _all)
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

    /// <summary>Gives everything back, for good: the threads' pages stay frozen, so that every thread goes to the zones.</summary>
    public void Close() => Drain(restedOnly: false, close: true);

    /// <summary>Runs an action while nobody works on any thread's pages.</summary>
    public void WhileFrozen(Action<IReadOnlyList<ThreadPages>> action)
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

    private void ReapEnded()
    {
        for (int i = _all.Count - 1; i >= 0; i--)
        {
            // An ended thread is not at work, and its last writes came before its end was seen: no freezing.
            if (!_all[i].Owner.IsAlive)
            {
                DrainFrozen(_all[i], restedOnly: false);
                _all.RemoveAt(i);
            }
        }
    }

    private bool Drain(bool restedOnly, bool close)
    {
        lock (_lock)
        {
            ReapEnded();
            _closed |= close;

            // Only who has something to give is stopped: a frozen thread goes to the zones for every block, and a busy program that was
            // stopped in each pass would pay for it with much of its speed.
            List<ThreadPages> chosen = close ? _all : _all.FindAll(one => restedOnly ? LooksRested(one) : !one.LooksEmpty);
            if (chosen.Count == 0)
            {
                return false;
            }

            Freeze(chosen);
            bool any = false;
            foreach (ThreadPages one in chosen)
            {
                any |= DrainFrozen(one, restedOnly);
            }

            Thaw(chosen);
            return any;
        }
    }

    private static void Freeze(List<ThreadPages> all)
    {
        foreach (ThreadPages one in all)
        {
            one.Freeze();
        }

        // Every processor that runs one of our threads executes a full fence: a thread that is not seen busy below sees frozen.
        Interlocked.MemoryBarrierProcessWide();
        foreach (ThreadPages one in all)
        {
            one.WaitUntilIdle();
        }
    }

    private void Thaw(List<ThreadPages> all)
    {
        if (_closed || _shut != 0)
        {
            return;
        }

        foreach (ThreadPages one in all)
        {
            one.Thaw();
        }
    }

    /// <summary>Whether the oldest entry of any stack has rested. The owner may be at work: a hint, made of numbers that are always in
    /// the arena, because a stack's memory holds nothing else.</summary>
    private unsafe bool LooksRested(ThreadPages pages)
    {
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            for (int type = 0; type < MigrateTypes.PcpTypes; type++)
            {
                ThreadBin* bin = pages.Bin(new Order(order), (MigrateType)type);
                if (Volatile.Read(ref bin->Count) != 0 && _arena.IsRested(_arena.Map[new Pfn(bin->Entries[0])]->FreedAt))
                {
                    return true;
                }
            }
        }

        return false;
    }

    private unsafe bool DrainFrozen(ThreadPages pages, bool restedOnly)
    {
        bool any = false;
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            for (int type = 0; type < MigrateTypes.PcpTypes; type++)
            {
                ThreadBin* bin = pages.Bin(new Order(order), (MigrateType)type);
                int count = restedOnly ? Rested(bin) : bin->Count;
                if (count != 0)
                {
                    BatchNote note = BatchNote.Begin(_arena.ZoneOf(new Pfn(bin->Entries[0])));
                    note.Count = count;
                    ThreadDrain.Oldest(_arena, bin, new Order(order), (MigrateType)type, count);
                    note.TellDrain(new Order(order), (MigrateType)type);
                    ThreadPagesLimits.Shrink(bin, order);
                    any = true;
                }
            }
        }

        return any;
    }

    /// <summary>The bottom of a stack has rested longest, because nothing below another entry was pushed after it.</summary>
    private unsafe int Rested(ThreadBin* bin)
    {
        int count = 0;
        while (count < bin->Count && _arena.IsRested(_arena.Map[new Pfn(bin->Entries[count])]->FreedAt))
        {
            count++;
        }

        return count;
    }
}
