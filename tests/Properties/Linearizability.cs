using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;

namespace LowLevel.Tests.Properties;

/// <summary>One operation of a history: who, what, what came of it, and when it began and ended by a counter that all threads share.</summary>
internal sealed record Call(int Thread, string What, long Argument, long Result, long Began, long Ended)
{
    public override string ToString() => $"[{Began}..{Ended}] thread {Thread}: {What}({Argument}) = {Result}";
}

/// <summary>Histories of real threads, and whether each could have come from one operation after the other (Wing and Gong: try each operation
/// that nobody's end precedes; what was tried with the same state is not tried again).</summary>
internal static class Linearizability
{
    /// <summary>Runs each thread's operations at once and writes down what happened. An operation gives what, argument and result.</summary>
    public static List<Call> Record(params Func<(string What, long Argument, long Result)>[][] threads)
    {
        long time = 0;
        Call[][] calls = [.. threads.Select(static operations => new Call[operations.Length])];
        int waiting = threads.Length;
        Thread[] running = [.. threads.Select((operations, number) => new Thread(() =>
        {
            Interlocked.Decrement(ref waiting);
            SpinWait spin = default;
            while (Volatile.Read(ref waiting) != 0)
            {
                spin.SpinOnce(sleep1Threshold: -1);
            }

            for (int i = 0; i < operations.Length; i++)
            {
                long began = Interlocked.Increment(ref time);
                (string what, long argument, long result) = operations[i]();
                calls[number][i] = new Call(number, what, argument, result, began, Interlocked.Increment(ref time));
            }
        }))];
        Array.ForEach(running, static thread => thread.Start());
        Array.ForEach(running, static thread => thread.Join());
        return [.. calls.SelectMany(static each => each)];
    }

    /// <summary>Whether some order of the calls that keeps to their times is one of the model's. At most 63 calls.</summary>
    /// <param name="calls">The history.</param>
    /// <param name="start">The model's first state; states are compared by value.</param>
    /// <param name="step">The state after a call, null where the model would not have answered so.</param>
    public static bool Holds<TState>(IReadOnlyList<Call> calls, TState start, Func<TState, Call, TState?> step)
        where TState : class => Search(calls, 0, start, step, []);

    private static bool Search<TState>(IReadOnlyList<Call> calls, ulong done, TState state, Func<TState, Call, TState?> step, HashSet<(ulong, TState)> seen)
        where TState : class
    {
        if (done == (1ul << calls.Count) - 1)
        {
            return true;
        }

        if (!seen.Add((done, state)))
        {
            return false;
        }

        long firstEnd = long.MaxValue;
        for (int i = 0; i < calls.Count; i++)
        {
            firstEnd = (done & (1ul << i)) == 0 ? Math.Min(firstEnd, calls[i].Ended) : firstEnd;
        }

        for (int i = 0; i < calls.Count; i++)
        {
            if ((done & (1ul << i)) == 0 && calls[i].Began < firstEnd
                && step(state, calls[i]) is TState next && Search(calls, done | (1ul << i), next, step, seen))
            {
                return true;
            }
        }

        return false;
    }
}
