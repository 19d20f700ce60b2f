using System;
using System.Linq;
using System.Threading;
using Xunit;

namespace LowLevel.Tests.Allocator.Pools;

/// <summary>Threads that begin at one instant.</summary>
internal static class Together
{
    /// <summary>Runs the body on that many threads, all let go at one barrier; a failure on any of them is the caller's.</summary>
    public static void Run(int threads, Action<int> body)
    {
        using var start = new Barrier(threads);
        Exception? failure = null;
        Thread[] running = [.. Enumerable.Range(0, threads).Select(i => new Thread(() =>
        {
            start.SignalAndWait();
            try
            {
                body(i);
            }
            catch (Exception e)
            {
                Volatile.Write(ref failure, e);
            }
        }))];
        Array.ForEach(running, t => t.Start());
        Array.ForEach(running, t => t.Join());
        Assert.Null(failure);
    }
}
