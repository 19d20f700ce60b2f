using System;
using System.IO;
using System.Threading;

namespace LowLevel.Perf;

/// <summary>A host that is killed at random moments and started again, as long as the stress lasts.</summary>
internal sealed class StressHosts : IDisposable
{
    private const int LifeMillisecondsMin = 100;
    private const int LifeMillisecondsMax = 1500;

    private readonly ManualResetEvent end = new(false);
    private readonly Thread thread;
    private SplitMix random;
    private long killed;

    public StressHosts(ulong seed)
    {
        random = new SplitMix(seed);
        thread = new Thread(Work) { IsBackground = true, Name = "stress: hosts" };
        thread.Start();
    }

    /// <summary>Where it listens, while it lives.</summary>
    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"lowlevel-stress-{Environment.ProcessId}");

    /// <summary>How many were killed so far.</summary>
    public long Killed => Volatile.Read(ref killed);

    /// <summary>Null, or why there are no hosts any more.</summary>
    public Exception? Failure { get; private set; }

    public void Dispose()
    {
        end.Set();
        thread.Join();
        File.Delete(Path);
        end.Dispose();
    }

    private void Work()
    {
        try
        {
            bool ended = false;
            while (!ended)
            {
                File.Delete(Path); // who was killed has left it
                using ChildProcess host = ChildProcess.Start("host", "stress-host", "--path", Path);
                host.WaitFor("up");
                ended = end.WaitOne(LifeMillisecondsMin + random.Below(LifeMillisecondsMax - LifeMillisecondsMin));
                host.Kill();
                Interlocked.Increment(ref killed);
            }
        }
        catch (Exception e) when (e is MeasurementException or IOException)
        {
            Failure = e;
        }
    }
}
