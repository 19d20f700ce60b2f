using System;
using System.Threading;

namespace LowLevel.Tests.Interop.Virtio;

/// <summary>Two threads that meet and leave within about the time that a cache line takes from one to the other, each time a
/// little differently: now one is ahead by a few steps, now the other.</summary>
internal sealed class SpinningPair : IDisposable
{
    private const int Stagger = 24;

    // A line each.
    private readonly int[] _arrived = new int[64];
    private volatile bool _isOver;

    /// <summary>Waits for the other side; 0 and 1 are the two sides.</summary>
    public void Meet(int side)
    {
        int round = ++_arrived[side * 32];
        Interlocked.MemoryBarrier();
        SpinWait spin = default;
        while (Volatile.Read(ref _arrived[(1 - side) * 32]) < round && !_isOver)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }

        int steps = side == 0 ? round % Stagger : round / Stagger % Stagger;
        while (steps-- > 0)
        {
            _ = Volatile.Read(ref _arrived[side * 32]);
        }
    }

    /// <summary>A side that failed does not leave the other one spinning.</summary>
    public void Dispose() => _isOver = true;
}
