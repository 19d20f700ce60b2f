using System;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>A thread that changes one byte of a ring, there and back, as fast as it can, while the code under attack reads: what is read twice is two
/// things.</summary>
internal sealed class RingScribbler : IDisposable
{
    private const int Flips = 64;

    private readonly Thread _thread;
    private SplitMix _random = new(20_26);
    private nint _place;
    private volatile bool _ends;

    public RingScribbler()
    {
        _thread = new Thread(Run) { IsBackground = true, Name = "ring scribbler" };
        _thread.Start();
    }

    /// <summary>From now on a byte of this ring, or of its tables.</summary>
    /// <param name="view">The ring.</param>
    /// <param name="table">The tables.</param>
    /// <param name="tableBytes">Their length.</param>
    public unsafe void Begin(RingView view, nint table, int tableBytes)
    {
        Span<byte> part = _random.Below(8) switch
        {
            0 or 1 => new Span<byte>((void*)table, tableBytes),
            2 => view.Available,
            3 or 4 => view.Used,
            _ => view.Descriptors,
        };

        // Sound: it lies in memory of the target's, which outlives this thread.
        fixed (byte* place = &part[_random.Below(part.Length)])
        {
            Volatile.Write(ref _place, (nint)place);
        }
    }

    /// <summary>From now on none.</summary>
    public void Rest() => Volatile.Write(ref _place, 0);

    public void Dispose()
    {
        _ends = true;
        _thread.Join();
    }

    private unsafe void Run()
    {
        uint mask = 1;
        while (!_ends)
        {
            var place = (byte*)Volatile.Read(ref _place);
            mask = unchecked((mask * 5) + 1);
            for (int i = 0; i < Flips && place is not null; i++)
            {
                Volatile.Write(ref *place, unchecked((byte)(*place ^ (mask >> 8))));
            }
        }
    }
}
