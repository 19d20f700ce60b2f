using System;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>The rhythm of whoever watches other processes.</summary>
internal static class Sampling
{
    /// <summary>Sleeps until an interval after a beginning is over: it is the clock that is sampled along, so there is no event to wait for.</summary>
    /// <param name="start">When the interval began, in seconds of <see cref="ChildProcess.Now"/>.</param>
    /// <param name="interval">Its length.</param>
    public static void RestOf(double start, TimeSpan interval)
    {
        TimeSpan rest = interval - TimeSpan.FromSeconds(ChildProcess.Now - start);
        Thread.Sleep(rest > TimeSpan.Zero ? rest : TimeSpan.Zero);
    }
}
