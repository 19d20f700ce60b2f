using System;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>A thread that changes a ring's words, there and back, while the code under attack reads them: what is read twice is two things.</summary>
internal sealed class RingScribbler : IDisposable
{
    private const int TableBytes = 384;

    private readonly Thread _thread;
    private readonly Lock _guard = new();
    private RingView? _view;
    private nint _table;
    private ulong _seed;
    private volatile bool _ends;

    public RingScribbler()
    {
        _thread = new Thread(Run) { IsBackground = true, Name = "ring scribbler" };
        _thread.Start();
    }

    /// <summary>From now on this ring.</summary>
    public void Begin(RingView view, nint table, int seed)
    {
        lock (_guard)
        {
            (_view, _table, _seed) = (view, table, _seed + (ulong)seed);
        }
    }

    /// <summary>From now on none.</summary>
    public void Rest()
    {
        lock (_guard)
        {
            _view = null;
        }
    }

    public void Dispose()
    {
        _ends = true;
        _thread.Join();
    }

    private void Run()
    {
        while (!_ends)
        {
            lock (_guard)
            {
                if (_view is not null)
                {
                    Scribble(_view);
                }
            }
        }
    }

    // Unsafe by the table, which is as long as this class was told.
    private unsafe void Scribble(RingView view)
    {
        var random = new SplitMix(_seed++);
        for (int i = 0; i < 64; i++)
        {
            Span<byte> part = random.Below(4) switch
            {
                0 => new Span<byte>((void*)_table, TableBytes),
                1 => view.Available,
                _ => view.Descriptors,
            };
            ref byte place = ref part[random.Below(part.Length)];
            byte before = place;
            Volatile.Write(ref place, (byte)random.Next());
            Volatile.Write(ref place, before);
        }
    }
}
