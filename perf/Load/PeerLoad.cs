using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>What one batch took.</summary>
/// <param name="NanosecondsPerPair">Of one thread, the mean over the threads: two threads that do not disturb each other take as long as one.
/// prodcons: from the first allocation to the last free, for each block.</param>
/// <param name="Pairs">Of each thread.</param>
internal readonly record struct PeerTiming(double NanosecondsPerPair, long Pairs);

/// <summary>Runs cells with one contestant.</summary>
internal abstract class PeerLoad : IDisposable
{
    public const int ThreadsMax = 2;

    // Long against the clock (30 ns) and a timer tick (1 to 4 ms), short enough for three thousand cells in a few minutes.
    private const double WarmNanoseconds = 6e6;
    private const double BatchNanoseconds = 20e6;

    // A batch that takes so long, although it is as small as can be, is repeated as long as that halves it.
    private const double SlowNanoseconds = 50e6;

    private const int RepeatsMax = 4;
    private const int CallsPairs = 1024;
    private const int RehearsalPairs = 256;
    private const int RehearsalCallsPairs = 8;

    // The least time of a pair in earlier rounds: a contestant that is as slow as it always was need not be warmed again.
    private readonly Dictionary<PeerCell, double> _least = [];

    protected PeerThreads Threads { get; } = new(ThreadsMax);

    /// <summary>Brings the contestant to where a running program would have it: batches that grow until one takes 6 ms; then times one batch of
    /// 10 ms at least, about 20 ms. A batch is at least one pair or, in bulk, one pass, however slow the contestant is. Nothing is left allocated.</summary>
    public PeerTiming Measure(PeerCell cell)
    {
        Begin(cell);
        long unit = cell.PairsUnit;
        long pairs = Math.Max(unit, 16);
        double took = Batch(cell, pairs, CallsPairs);
        while (took < WarmNanoseconds)
        {
            double factor = Math.Clamp(WarmNanoseconds * 1.5 / Math.Max(took, 1), 2, 32);
            pairs = RoundUp((long)(pairs * factor), unit);
            took = Batch(cell, pairs, CallsPairs);
        }

        // The first to touch memory that the machine's own host, or a reactor, has taken meanwhile times the host. (So long a pass lets the
        // blocks of a thread that ended early rest, too.)
        bool isAsBefore = _least.TryGetValue(cell, out double least) && took <= 2 * least * pairs;
        for (double before = took * 2; took > SlowNanoseconds && took * 2 <= before && cell.Touched && !isAsBefore;)
        {
            before = took;
            took = Batch(cell, pairs, CallsPairs);
        }

        long timed = RoundUp((long)(pairs * BatchNanoseconds / took), unit);
        double nanoseconds = Batch(cell, timed, CallsPairs);
        for (int i = 0; i < RepeatsMax && nanoseconds < BatchNanoseconds / 2; i++)
        {
            // The batch before had lost its processor for a while, and told little of how many pairs are 20 ms.
            timed = RoundUp((long)(timed * Math.Min(BatchNanoseconds / Math.Max(nanoseconds, 1), 32)), unit);
            nanoseconds = Batch(cell, timed, CallsPairs);
        }

        End(cell);
        double pair = nanoseconds / timed;
        _least[cell] = _least.TryGetValue(cell, out least) ? Math.Min(least, pair) : pair;
        return new PeerTiming(pair, timed);
    }

    /// <summary>Many short calls of a cell's loops, so that they are compiled for good.</summary>
    public void Rehearse(PeerCell cell)
    {
        Begin(cell);
        Batch(cell, RoundUp(RehearsalPairs, cell.PairsUnit), RehearsalCallsPairs);
        End(cell);
    }

    /// <summary>So many pairs and no more.</summary>
    public void RunPairs(PeerCell cell, int pairs)
    {
        Begin(cell);
        Batch(cell, pairs, CallsPairs);
        End(cell);
    }

    /// <summary>Gives back to the system what the contestant holds and does not use, where a program can make it do so.</summary>
    public virtual void Release()
    {
    }

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing) => Threads.Dispose();

    /// <summary>Not timed: what must be live before the first batch.</summary>
    protected abstract void Begin(PeerCell cell);

    /// <summary>One batch; nanoseconds of a thread, the mean.</summary>
    /// <param name="cell">As begun.</param>
    /// <param name="pairs">Of each thread.</param>
    /// <param name="callPairs">Pairs for each call of a loop that takes a count.</param>
    protected abstract double Batch(PeerCell cell, long pairs, int callPairs);

    /// <summary>Not timed: frees what is live.</summary>
    protected abstract void End(PeerCell cell);

    private static long RoundUp(long pairs, long unit) => Math.Max(1, (pairs + unit - 1) / unit) * unit;
}

/// <summary>Runs cells with contestants of one kind.</summary>
internal abstract class PeerLoad<TPeer, TBlock> : PeerLoad
    where TPeer : struct, IPeer<TBlock>
    where TBlock : struct
{
    private readonly TBlock[][] _live = [.. Enumerable.Repeat<TBlock[]>([], ThreadsMax)];
    private readonly SplitMix[] _randoms = [new(1), new(2)];
    private PeerRing<TBlock> _ring = new(1);
    private TPeer _peer;

    /// <summary>The contestant for a size.</summary>
    protected abstract TPeer Create(int bytes);

    protected override void Begin(PeerCell cell)
    {
        _peer = Create(cell.Bytes);
        _ring = new PeerRing<TBlock>(cell.RingSlots);
        bool holds = cell.Pattern is "bulk" or "rand";
        for (int i = 0; i < ThreadsMax; i++)
        {
            _live[i] = holds ? new TBlock[cell.LiveBlocks] : [];
        }

        if (cell.Pattern == "rand")
        {
            Threads.Run(cell.Threads, i => PeerPatterns<TPeer, TBlock>.Fill(_peer, cell.Touched, _live[i]));
        }
        else if (cell.Pattern == "bulk" && cell.Touched)
        {
            // Both threads have all of their blocks at one time, as it will happen sooner or later: else a timed pass is the first to touch some.
            Threads.Run(cell.Threads, i => PeerPatterns<TPeer, TBlock>.Fill(_peer, cell.Touched, _live[i]));
            Threads.Run(cell.Threads, i => PeerPatterns<TPeer, TBlock>.Drain(_peer, _live[i]));
        }
    }

    protected override double Batch(PeerCell cell, long pairs, int callPairs)
    {
        ReadOnlySpan<PeerSpan> spans = Threads.Run(cell.Threads, i => Part(cell, i, pairs, callPairs), _ring.Abandon);
        double sum = 0;
        foreach (PeerSpan span in spans)
        {
            sum += span.Nanoseconds;
        }

        return cell.Pattern == "prodcons"
            ? (Math.Max(spans[0].End, spans[1].End) - Math.Min(spans[0].Start, spans[1].Start)) * (1e9 / Stopwatch.Frequency)
            : sum / spans.Length;
    }

    protected override void End(PeerCell cell)
    {
        if (cell.Pattern == "rand")
        {
            Threads.Run(cell.Threads, i => PeerPatterns<TPeer, TBlock>.Drain(_peer, _live[i]));
        }
    }

    private void Part(PeerCell cell, int thread, long pairs, int callPairs)
    {
        TBlock[] live = _live[thread];
        SplitMix random = _randoms[thread]; // a copy: the two lie in one cache line, and the threads would take it from each other at every step
        int calls = cell.Pattern == "bulk" ? cell.LiveBlocks : callPairs;
        for (long left = pairs; left > 0; left -= calls)
        {
            var now = (int)Math.Min(left, calls);
            switch (cell.Pattern)
            {
                case "lifo":
                    PeerPatterns<TPeer, TBlock>.Lifo(_peer, cell.Touched, now);
                    break;
                case "bulk":
                    PeerPatterns<TPeer, TBlock>.Fill(_peer, cell.Touched, live);
                    PeerPatterns<TPeer, TBlock>.Drain(_peer, live);
                    break;
                case "rand":
                    PeerPatterns<TPeer, TBlock>.Replace(_peer, cell.Touched, live, ref random, now);
                    break;
                default:
                    if (thread == 0)
                    {
                        PeerPatterns<TPeer, TBlock>.Produce(_peer, cell.Touched, _ring, now);
                    }
                    else
                    {
                        PeerPatterns<TPeer, TBlock>.Consume(_peer, _ring, now);
                    }

                    break;
            }
        }

        _randoms[thread] = random;
    }
}
