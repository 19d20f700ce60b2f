using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Numerics;
using System.Runtime.InteropServices;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>How much the service does.</summary>
/// <param name="SmallestBytes">Least buffer, a power of two.</param>
/// <param name="Classes">Buffers are SmallestBytes x 1, 2, 4, ... 2^(Classes - 1).</param>
/// <param name="PeakBytes">Held by all threads at the top of a burst.</param>
/// <param name="Threads">Threads of the service.</param>
/// <param name="Bursts">Bursts one after another.</param>
/// <param name="Survivors">Share of PeakBytes that is still held when the last burst is over.</param>
/// <param name="Seed">Of everything random.</param>
internal sealed record LoadShape(int SmallestBytes, int Classes, long PeakBytes, int Threads, int Bursts, double Survivors, ulong Seed)
{
    /// <summary>4 KiB to 2 MiB.</summary>
    public static LoadShape Mixed(double scale, int threads, ulong seed) => new(4 << 10, 10, (long)(2048 * scale) << 20, threads, 3, 0.1, seed);

    /// <summary>Room for the buffers that one thread holds at the top: its share by the mean size, and a quarter more.</summary>
    public int MostHeldByThread
    {
        get
        {
            // Classes of equal bytes: their mean size is the harmonic mean of their sizes.
            double mean = Classes * (double)SmallestBytes / (2 - Math.Pow(0.5, Classes - 1));
            return (int)(PeakBytes / Threads / mean * 1.25) + 16;
        }
    }

    /// <summary>2 MiB and 4 MiB.</summary>
    public static LoadShape Large(double scale, int threads, ulong seed) => Mixed(scale, threads, seed) with { SmallestBytes = 2 << 20, Classes = 2 };
}

/// <summary>A service that works in bursts. In a burst each thread takes buffers until it holds its share of the peak, replaces
/// buffers at random (half the share again), and then gives back what its neighbour took, in random order, so that buffers
/// are freed by another thread than took them; one buffer in so many survives, scattered among the rest. Sizes are powers of two,
/// each as likely as its reciprocal, so that every size has the same bytes. Every page is written. The same seed takes and
/// gives the same sizes in the same order per thread, whatever the source.</summary>
internal sealed class ServiceLoad : IDisposable
{
    private const int PageSize = 4096;

    private readonly LoadShape _shape;
    private BufferSource? _source;
    private readonly Worker[] _workers;
    private readonly Barrier _barrier;
    private volatile bool _stopping;
    private volatile Exception? _failure;

    public ServiceLoad(LoadShape shape)
    {
        _shape = shape;
        _barrier = new Barrier(_shape.Threads + 1);
        _workers = new Worker[_shape.Threads];
        for (int i = 0; i < _workers.Length; i++)
        {
            _workers[i] = new Worker(new SplitMix(unchecked((_shape.Seed * 1_000_003) + (ulong)i)), _shape.MostHeldByThread);
        }

        for (int i = 0; i < _workers.Length; i++)
        {
            int index = i;
            new Thread(() => Serve(index)) { IsBackground = true, Name = $"service {i}" }.Start();
        }
    }

    /// <summary>Bytes requested and still held. Any thread, any time.</summary>
    public long LiveBytes
    {
        get
        {
            long sum = 0;
            foreach (Worker worker in _workers)
            {
                sum += Volatile.Read(ref worker.Live);
            }

            return sum;
        }
    }

    /// <summary>One burst from its start to its end; calls back about every 5 ms.</summary>
    /// <param name="from">Where buffers come from; the same for all bursts.</param>
    /// <param name="tick">Runs in the calling thread.</param>
    /// <param name="atPeak">Runs in the calling thread while every thread holds its share and waits.</param>
    public TimeSpan RunBurst(BufferSource from, Action tick, Action? atPeak = null)
    {
        _source = from;
        long start = Stopwatch.GetTimestamp();
        _barrier.SignalAndWait();
        for (int phase = 0; phase < 2; phase++)
        {
            // The coordinator takes part in both barriers of a burst but does not wait in them: it ticks.
            while (_barrier.ParticipantsRemaining > 1 && _failure is null)
            {
                Thread.Sleep(5); // the rhythm of the ticks
                tick();
            }

            if (phase == 0)
            {
                atPeak?.Invoke();
            }

            _barrier.SignalAndWait();
        }

        TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
        return _failure is null ? elapsed : throw new MeasurementException($"the load failed: {_failure.Message}", _failure);
    }

    /// <summary>Gives back every survivor, checking its contents.</summary>
    public void GiveBackAll()
    {
        foreach (Worker worker in _workers)
        {
            foreach (HeldBuffer buffer in worker.Survivors)
            {
                Check(buffer);
                _source!.Give(buffer);
                worker.Live -= buffer.Bytes;
            }

            worker.Survivors.Clear();
        }
    }

    public void Dispose()
    {
        _stopping = true;
        _barrier.SignalAndWait();
        _barrier.Dispose();
    }

    private void Serve(int index)
    {
        while (true)
        {
            _barrier.SignalAndWait();
            if (_stopping)
            {
                return;
            }

            Guarded(() => Rise(_workers[index]));
            _barrier.SignalAndWait();
            Guarded(() => Fall(_workers[index], _workers[(index + 1) % _workers.Length]));
            _barrier.SignalAndWait();
        }
    }

    private void Guarded(Action work)
    {
        try
        {
            work();
        }
        catch (Exception e)
        {
            // The threads go on to the barriers, so that the coordinator learns of it and nobody hangs.
            _failure = e;
        }
    }

    private void Rise(Worker worker)
    {
        long share = _shape.PeakBytes / _shape.Threads;
        long burst = 0;
        while (burst < share)
        {
            burst += Take(worker);
        }

        for (long replaced = 0; replaced < share / 2;)
        {
            int victim = worker.Random.Below(worker.Held.Count);
            HeldBuffer old = worker.Held[victim];
            worker.Held[victim] = worker.Held[^1];
            worker.Held.RemoveAt(worker.Held.Count - 1);
            Give(worker, old);
            replaced += Take(worker);
        }
    }

    // The lists change hands at the barrier between rise and fall: worker's Random and counters, its neighbour's buffers.
    private void Fall(Worker worker, Worker neighbour)
    {
        List<HeldBuffer> held = neighbour.Held;
        for (int i = held.Count - 1; i > 0; i--)
        {
            int j = worker.Random.Below(i + 1);
            (held[i], held[j]) = (held[j], held[i]);
        }

        double survives = _shape.Survivors / _shape.Bursts;
        foreach (HeldBuffer buffer in held)
        {
            if (worker.Random.Fraction() < survives)
            {
                worker.Survivors.Add(buffer);
            }
            else
            {
                Give(worker, buffer);
            }
        }

        held.Clear();
    }

    private int Take(Worker worker)
    {
        int step;
        do
        {
            // One more zero bit is half as likely: 2^-n for n, which is the reciprocal of the size.
            step = BitOperations.TrailingZeroCount(worker.Random.Next());
        }
        while (step >= _shape.Classes);

        int bytes = _shape.SmallestBytes << step;
        HeldBuffer buffer = _source!.Take(bytes);
        Span<byte> span = buffer.Span;
        for (int offset = 0; offset < bytes; offset += PageSize)
        {
            MemoryMarshal.Write(span[offset..], Mark(bytes, offset));
        }

        worker.Held.Add(buffer);
        Volatile.Write(ref worker.Live, worker.Live + bytes);
        return bytes;
    }

    private void Give(Worker worker, HeldBuffer buffer)
    {
        Check(buffer);
        _source!.Give(buffer);
        Volatile.Write(ref worker.Live, worker.Live - buffer.Bytes);
    }

    // Two buffers that overlap, or a page that was dropped while it was held, show in the marks.
    private static void Check(HeldBuffer buffer)
    {
        Span<byte> span = buffer.Span;
        int last = buffer.Bytes - PageSize;
        if (MemoryMarshal.Read<ulong>(span) != Mark(buffer.Bytes, 0) || MemoryMarshal.Read<ulong>(span[last..]) != Mark(buffer.Bytes, last))
        {
            throw new MeasurementException($"a buffer of {buffer.Bytes} bytes lost its contents while it was held");
        }
    }

    private static ulong Mark(int bytes, int offset) => ((ulong)bytes << 32) | (uint)offset | 1;

    private sealed class Worker
    {
        public SplitMix Random;
        public long Live;

        // The list's memory is touched here, before any baseline is taken: it is the load's and not the contestant's.
        public Worker(SplitMix random, int mostHeld)
        {
            Random = random;
            Held.AddRange(new HeldBuffer[mostHeld]);
            Held.Clear();
        }

        public List<HeldBuffer> Held { get; } = [];

        public List<HeldBuffer> Survivors { get; } = [];
    }
}
