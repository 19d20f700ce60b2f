using System.Runtime.CompilerServices;
using System.Threading;

namespace LowLevel.Native;

/// <summary>A pure step from one value of a word to the next. A struct that implements it is specialised by the JIT: no
/// virtual call, no closure.</summary>
internal interface ITransition
{
    /// <summary>The value that follows. May be called several times for one update, so it must have no effect.</summary>
    ulong Next(ulong value);
}

/// <summary>Compare-exchange loops over one word. Whoever explores schedules of threads compiles this, as all other code, against its own
/// Volatile, Interlocked and Monitor (tests/Schedules).</summary>
internal static class AtomicWord
{
    /// <summary>Replaces the word by its successor atomically, with a full barrier where it changes.</summary>
    /// <returns>The value that was replaced.</returns>
    public static ulong Update<TTransition>(ref ulong word, TTransition transition)
        where TTransition : struct, ITransition
    {
        ulong seen = Volatile.Read(ref word);
        while (true)
        {
            ulong next = transition.Next(seen);
            if (next == seen)
            {
                return seen;
            }
            ulong found = Interlocked.CompareExchange(ref word, next, seen);
            if (found == seen)
            {
                return seen;
            }
            seen = found;
        }
    }
}
