using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The bound on pages taken from an arena at one time: the user's, the threads' and the balloon's.
/// <code>taken &lt;= cap - floor(flags);  taken >= pages that the zones have handed out</code>
/// Changed per batch, never on the fast path. The arena lives on after Dispose until nothing is taken and nobody is inside.</summary>
internal sealed class Budget
{
    private readonly Watermarks _marks;
    private long _taken;

    /// <summary>A budget of this many pages.</summary>
    public Budget(ulong capPages, Watermarks marks)
    {
        CapPages = capPages;
        _marks = marks;
    }

    /// <summary>The cap.</summary>
    public ulong CapPages { get; }

    /// <summary>Pages taken.</summary>
    public ulong TakenPages => (ulong)Volatile.Read(ref _taken);

    /// <summary>Called after each release, when nothing is taken: the arena may have to end.</summary>
    public System.Action? Emptied { get; set; }

    /// <summary>Whether less than the low watermark is left.</summary>
    public bool IsBelowLow => CapPages - System.Math.Min(CapPages, TakenPages) < _marks.Low;

    /// <summary>Pages missing to the high watermark, where shortage ends.</summary>
    public ulong MissingToHigh
    {
        get
        {
            ulong left = CapPages - System.Math.Min(CapPages, TakenPages);
            return left < _marks.High ? _marks.High - left : 0;
        }
    }

    /// <summary>Takes pages, unless the cap or the reserve forbids it.</summary>
    public bool TryTake(ulong pages, AllocFlags flags)
    {
        ulong floor = Watermarks.Floor(_marks.Min, flags);
        long taken = Volatile.Read(ref _taken);
        while (true)
        {
            if ((ulong)taken + pages + floor > CapPages)
            {
                return false;
            }

            long seen = Interlocked.CompareExchange(ref _taken, taken + (long)pages, taken);
            if (seen == taken)
            {
                return true;
            }

            taken = seen;
        }
    }

    /// <summary>Gives pages back.</summary>
    public void Release(ulong pages)
    {
        if (pages != 0 && Interlocked.Add(ref _taken, -(long)pages) == 0)
        {
            Emptied?.Invoke();
        }
    }
}
