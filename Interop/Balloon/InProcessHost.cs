using System;
using System.Numerics;
using System.Threading;
using LowLevel.Interop.Virtio;
using LowLevel.Native;

namespace LowLevel.Interop.Balloon;

/// <summary>Which thread serves an in-process device.</summary>
internal enum HostMode
{
    /// <summary>A background thread of its own, asleep until notified.</summary>
    Thread,

    /// <summary>The thread that notifies, before the notification returns, as a VM exit is served.</summary>
    Inline,

    /// <summary>Nobody, until <see cref="InProcessHost.Process"/> is called.</summary>
    Manual,
}

/// <summary>The host in this process: serves a <see cref="BalloonDevice"/> and speaks for whoever runs the machine (target,
/// statistics). Thread-safe.</summary>
internal sealed class InProcessHost : IDisposable
{
    private readonly HostMode _mode;
    private readonly Signal _work = new();
    private readonly Thread? _thread;
    private volatile bool _ends;
    private uint _pending;

    /// <summary>Begins to serve.</summary>
    public InProcessHost(BalloonDevice device, HostMode mode)
    {
        ArgumentNullException.ThrowIfNull(device);
        Device = device;
        _mode = mode;
        Transport = new InProcessTransport(device, Notify);
        if (mode == HostMode.Thread)
        {
            _thread = new Thread(Run) { IsBackground = true, Name = "LowLevel balloon host" };
            _thread.Start();
        }
    }

    /// <summary>The device.</summary>
    public BalloonDevice Device { get; }

    /// <summary>What the driver holds of it.</summary>
    public InProcessTransport Transport { get; }

    /// <summary>Sets what the balloon shall hold, in 4 KiB pages.</summary>
    public void SetTarget(uint pages) => Device.SetTarget(pages);

    /// <summary>Asks the driver for new statistics; they arrive in <see cref="BalloonDevice.Statistics"/>.</summary>
    public void RequestStatistics()
    {
        Device.WantStatistics();
        Notify(BalloonLimits.StatsQueue);
    }

    /// <summary>Serves every queue that was notified, in the calling thread; for <see cref="HostMode.Manual"/>.</summary>
    public void Process()
    {
        for (uint pending = Interlocked.Exchange(ref _pending, 0); pending != 0; pending &= pending - 1)
        {
            Device.Serve(BitOperations.TrailingZeroCount(pending));
        }
    }

    /// <summary>Ends the serving thread. False: it is still inside a call to the system, and what the call may touch must stay
    /// mapped; it ends by itself when that call returns. May be called again.</summary>
    public bool TryStop(in Deadline deadline)
    {
        _ends = true;
        _work.Set();
        if (_thread is null)
        {
            return true;
        }

        TimeSpan left = deadline.Left;
        return _thread.Join(left < TimeSpan.FromDays(1) ? left : TimeSpan.FromDays(1));
    }

    /// <summary>Asks the serving thread to end and does not wait.</summary>
    public void Dispose()
    {
        _ends = true;
        _work.Set();
    }

    private void Notify(int queue)
    {
        if (_ends)
        {
            return;
        }

        if (_mode == HostMode.Inline)
        {
            Device.Serve(queue);
            return;
        }

        Interlocked.Or(ref _pending, 1u << queue);
        _work.Set();
    }

    private void Run()
    {
        Deadline never = new(TimeProvider.System, Timeout.InfiniteTimeSpan);
        while (!_ends && _work.Wait(never))
        {
            Process();
        }
    }
}
