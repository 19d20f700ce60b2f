using System;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The bound on pages taken from an arena at one time: the user's, the threads' and the balloon's. A cap below the bound is kept
/// by withholding pages from everybody, so that one word says what is left, whoever moves the cap meanwhile.
/// <code>
/// taken + withheld &lt;= bound - floor(flags);   cap = bound - withheld;   so taken &lt;= cap
/// taken >= pages that the zones have handed out
/// cap >= the limit that was set; equal unless more was taken: then what comes back is withheld at once, until it is
/// </code>
/// Changed per batch, never on the fast path. Who wants to hear of what comes back (waiters, a cap that is to fall) raises one number that
/// <see cref="Release"/> looks at. The arena lives on after Dispose until nothing is taken and nobody is inside.</summary>
internal sealed class Budget
{
    private readonly Watermarks _marks;
    private readonly ulong _bound;
    private readonly Lock _lock = new();
    private readonly CapQueue _queue = new();
    private long _committed; // taken + withheld
    private long _withheld; // changed under the lock
    private long _wantWithheld;
    private int _attention; // waiters, plus one while what is withheld is not what it is to be
    private bool _isBehind;
    private bool _closed;

    /// <summary>A budget whose cap cannot move.</summary>
    public Budget(ulong capPages, Watermarks marks)
        : this(capPages, capPages, marks)
    {
    }

    /// <summary>A budget of at most <paramref name="boundPages"/>, now of <paramref name="capPages"/>.</summary>
    public Budget(ulong boundPages, ulong capPages, Watermarks marks)
    {
        _bound = boundPages;
        _marks = marks;
        _withheld = _wantWithheld = _committed = (long)(boundPages - capPages);
    }

    /// <summary>The cap.</summary>
    public ulong CapPages => _bound - (ulong)Volatile.Read(ref _withheld);

    /// <summary>Pages taken.</summary>
    public ulong TakenPages => Read().Taken;

    /// <summary>Called after each release, when nothing is taken and the budget is closed: the arena may have to end.</summary>
    public Action? Emptied { get; set; }

    /// <summary>Whether less than the low watermark is left.</summary>
    public bool IsBelowLow => LeftPages < _marks.Low;

    /// <summary>Pages missing to the high watermark, where shortage ends.</summary>
    public ulong MissingToHigh => _marks.High - Math.Min(LeftPages, _marks.High);

    /// <summary>Whether anybody waits for pages to come back.</summary>
    public bool HasWaiters => _queue.Count != 0;

    private ulong LeftPages => _bound - Math.Min(_bound, (ulong)Volatile.Read(ref _committed));

    /// <summary>What is taken, and the cap at the same instant.</summary>
    public (ulong Taken, ulong Cap) Read()
    {
        lock (_lock)
        {
            return ((ulong)(Volatile.Read(ref _committed) - _withheld), _bound - (ulong)_withheld);
        }
    }

    /// <summary>Takes pages, unless the cap or the reserve forbids it.</summary>
    public bool TryTake(ulong pages, AllocFlags flags)
    {
        ulong floor = Watermarks.Floor(_marks.Min, flags);
        long committed = Volatile.Read(ref _committed);
        while (true)
        {
            if ((ulong)committed + pages + floor > _bound)
            {
                return false;
            }

            long seen = Interlocked.CompareExchange(ref _committed, committed + (long)pages, committed);
            if (seen == committed)
            {
                return true;
            }

            committed = seen;
        }
    }

    /// <summary>Gives pages back.</summary>
    public void Release(ulong pages)
    {
        if (pages == 0)
        {
            return;
        }

        if (Interlocked.Add(ref _committed, -(long)pages) == 0)
        {
            Emptied?.Invoke();
        }

        // The interlocked operation above is a full fence: whoever raised this number before its last look at what is left is seen.
        if (Volatile.Read(ref _attention) != 0)
        {
            Attend();
        }
    }

    /// <summary>Moves the cap. Below what is taken it stands at what is taken, and falls as that comes back.</summary>
    public void SetLimit(ulong pages)
    {
        lock (_lock)
        {
            if (!_closed)
            {
                _wantWithheld = (long)(_bound - Math.Min(pages, _bound));
                Withhold();
            }
        }

        WakeFirst();
    }

    /// <summary>Gets in line, behind all who wait already. The waiter looks again after this, so that nothing that comes back goes unseen.</summary>
    public CapWaiter Enlist(ulong pages, AllocFlags flags, TimeProvider clock, TimeSpan timeout)
    {
        CapWaiter waiter = new(pages, flags, clock, timeout);
        lock (_lock)
        {
            Interlocked.Increment(ref _attention);
            _queue.Add(waiter);
        }

        return waiter;
    }

    /// <summary>Leaves the line; the next one gets its turn.</summary>
    public void Leave(CapWaiter waiter)
    {
        lock (_lock)
        {
            _queue.Remove(waiter);
            Interlocked.Decrement(ref _attention);
        }
    }

    /// <summary>Lets the first in line try again, if what is left could do.</summary>
    public void WakeFirst()
    {
        if (_queue.First is CapWaiter first && first.Pages + Watermarks.Floor(_marks.Min, first.Flags) <= LeftPages)
        {
            first.Wake();
        }
    }

    /// <summary>The arena ends: nobody waits any more, nothing is withheld, and the cap moves no longer.</summary>
    public void Close()
    {
        lock (_lock)
        {
            _closed = true;
            _wantWithheld = 0;
            Withhold();
            _queue.Close();
        }
    }

    private void Attend()
    {
        lock (_lock)
        {
            Withhold();
        }

        WakeFirst();
    }

    /// <summary>Withholds what is to be, as far as it is there, or lets go. Lock held. A releaser that is missed here, because it looked
    /// before attention was raised, gave its pages back before the last look at what is left.</summary>
    private void Withhold()
    {
        if (!_isBehind)
        {
            _isBehind = true;
            Interlocked.Increment(ref _attention);
        }

        long missing = _wantWithheld - _withheld;
        long committed = Volatile.Read(ref _committed);
        while (missing != 0)
        {
            long step = Math.Min(missing, (long)_bound - committed);
            long seen = Interlocked.CompareExchange(ref _committed, committed + step, committed);
            if (seen == committed)
            {
                Volatile.Write(ref _withheld, _withheld + step);
                break;
            }

            committed = seen;
        }

        if (_withheld == _wantWithheld)
        {
            _isBehind = false;
            Interlocked.Decrement(ref _attention);
        }
    }
}
