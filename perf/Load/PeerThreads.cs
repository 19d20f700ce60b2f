using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>When one thread's part of a job began and ended, ticks of <see cref="Stopwatch"/>.</summary>
internal readonly record struct PeerSpan(long Start, long End)
{
    public double Nanoseconds => (End - Start) * (1e9 / Stopwatch.Frequency);
}

/// <summary>Threads that live as long as the process and do each job together: allocators keep blocks for each thread, and a thread that
/// ends after a few milliseconds is not what their caches are made for.</summary>
internal sealed class PeerThreads : IDisposable
{
    private readonly Thread[] _threads;
    private readonly SemaphoreSlim[] _starts;
    private readonly PeerSpan[] _spans;
    private readonly CountdownEvent _done = new(1);
    private Action<int>? _job;
    private Action? _onFailure;
    private Exception? _failure;
    private int _members;
    private int _arrived;

    public PeerThreads(int count)
    {
        _spans = new PeerSpan[count];
        _starts = [.. Enumerable.Range(0, count).Select(_ => new SemaphoreSlim(0))];
        _threads = [.. Enumerable.Range(0, count).Select(i => new Thread(() => Work(i)) { IsBackground = true, Name = $"load {i}" })];
        Array.ForEach(_threads, t => t.Start());
    }

    /// <summary>Runs the job in the first <paramref name="members"/> threads, which begin it together; returns when all have ended it.
    /// The spans are valid until the next call.</summary>
    /// <param name="members">1 to the number of threads.</param>
    /// <param name="job">Gets the thread's index.</param>
    /// <param name="onFailure">Called by a thread whose job has thrown, so that no other waits for it.</param>
    public ReadOnlySpan<PeerSpan> Run(int members, Action<int> job, Action? onFailure = null)
    {
        _job = job;
        _onFailure = onFailure;
        _members = members;
        _arrived = 0;
        _done.Reset(members);
        for (int i = 0; i < members; i++)
        {
            _starts[i].Release();
        }

        _done.Wait();
        Exception? failure = _failure;
        _failure = null;
        return failure is null ? _spans.AsSpan(0, members) : throw new MeasurementException($"the load failed: {failure.Message}", failure);
    }

    /// <summary>Ends the threads.</summary>
    public void Dispose()
    {
        _job = null;
        Array.ForEach(_starts, s => s.Release());
        Array.ForEach(_threads, t => t.Join());
        Array.ForEach(_starts, s => s.Dispose());
        _done.Dispose();
    }

    private void Work(int index)
    {
        while (true)
        {
            _starts[index].Wait();
            if (_job is not Action<int> job)
            {
                return;
            }

            Interlocked.Increment(ref _arrived);
            var wait = default(SpinWait);
            while (Volatile.Read(ref _arrived) < _members)
            {
                wait.SpinOnce(sleep1Threshold: -1);
            }

            long start = Stopwatch.GetTimestamp();
            try
            {
                job(index);
            }
            catch (Exception e)
            {
                _failure ??= e;
                _onFailure?.Invoke();
            }

            _spans[index] = new PeerSpan(start, Stopwatch.GetTimestamp());
            _done.Signal();
        }
    }
}
