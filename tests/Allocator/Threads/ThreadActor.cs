using System;
using System.Collections.Concurrent;
using System.Threading;

namespace LowLevel.Tests.Allocator.Threads;

/// <summary>A thread of its own that does what it is told, one thing at a time, and then waits for the next; the caller waits for the
/// end of each. Its end is joined.</summary>
internal sealed class ThreadActor : IDisposable
{
    private readonly BlockingCollection<(Action Work, ManualResetEventSlim Done)> _work = [];
    private readonly Thread _thread;
    private Exception? _failure;

    public ThreadActor()
    {
        _thread = new Thread(Run);
        _thread.Start();
    }

    /// <summary>Does it there and waits.</summary>
    public void Do(Action work)
    {
        using ManualResetEventSlim done = new();
        _work.Add((work, done));
        done.Wait();
        if (_failure is Exception failure)
        {
            _failure = null;
            throw new InvalidOperationException(failure.Message, failure);
        }
    }

    /// <summary>Does it there and gives the result.</summary>
    public T Get<T>(Func<T> work)
    {
        T result = default!;
        Do(() => result = work());
        return result;
    }

    /// <summary>Ends the thread; afterwards it is dead.</summary>
    public void Dispose()
    {
        if (_thread.IsAlive)
        {
            _work.CompleteAdding();
            _thread.Join();
            _work.Dispose();
        }
    }

    private void Run()
    {
        foreach ((Action work, ManualResetEventSlim done) in _work.GetConsumingEnumerable())
        {
            try
            {
                work();
            }
            catch (Exception e)
            {
                _failure = e;
            }

            done.Set();
        }
    }
}
