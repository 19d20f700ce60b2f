using System;
using System.Diagnostics;
using System.Threading;
using LowLevel.Interop.Linux;
using LowLevel.Interop.Virtio;

namespace LowLevel.Perf;

/// <summary>How the two sides of a ring learn of each other.</summary>
internal enum RingMode
{
    /// <summary>A word goes to and fro; no ring. What the processors' caches allow.</summary>
    Exchange,

    /// <summary>Both look without pause.</summary>
    Polling,

    /// <summary>Both sleep until told, by eventfd and EVENT_IDX, as a driver and a device do that have other work.</summary>
    Notifications,
}

/// <summary>The two loops. The device's ends when the shared word says so, the driver's when its time is over.</summary>
internal static class RingLoops
{
    private const int BetweenLooksAtTheClock = 256;

    /// <summary>The device's side: gives back what it takes, and does nothing with it.</summary>
    public static void Device(RingMemory memory, RingMode mode)
    {
        switch (mode)
        {
            case RingMode.Exchange:
                Answer(memory);
                break;
            case RingMode.Polling:
                Poll(memory);
                break;
            default:
                Listen(memory);
                break;
        }
    }

    /// <summary>The driver's side.</summary>
    /// <param name="memory">Shared memory.</param>
    /// <param name="mode">How it learns of answers.</param>
    /// <param name="chain">Buffers of a chain.</param>
    /// <param name="inFlight">Chains under way at one time.</param>
    /// <param name="time">How long.</param>
    /// <returns>Nanoseconds per chain, or per exchange (there and back).</returns>
    public static double Driver(RingMemory memory, RingMode mode, int chain, int inFlight, TimeSpan time)
    {
        Volatile.Write(ref memory.Stop, 0);
        double nanoseconds = mode == RingMode.Exchange ? Ask(memory, time) : Drive(memory, mode, RingMemory.Chain(chain), inFlight, time);
        Volatile.Write(ref memory.Stop, 1);
        LinuxDescriptors.Instance.Signal(memory.Kick);
        return nanoseconds;
    }

    private static void Answer(RingMemory memory)
    {
        for (long next = 1; Volatile.Read(ref memory.Stop) == 0;)
        {
            if (Volatile.Read(ref memory.Word(0)) == next)
            {
                Volatile.Write(ref memory.Word(1), next++);
            }
        }
    }

    private static double Ask(RingMemory memory, TimeSpan time)
    {
        Stopwatch watch = Stopwatch.StartNew();
        long done = 0;
        while (done % BetweenLooksAtTheClock != 0 || watch.Elapsed < time)
        {
            Volatile.Write(ref memory.Word(0), ++done);
            while (Volatile.Read(ref memory.Word(1)) != done)
            {
            }
        }

        double nanoseconds = watch.Elapsed.TotalNanoseconds / done;
        Volatile.Write(ref memory.Word(0), 0);
        return nanoseconds;
    }

    private static void Poll(RingMemory memory)
    {
        DeviceQueue queue = memory.MakeDevice();
        DescriptorChain chain = new(RingMemory.QueueSize);
        while (Volatile.Read(ref memory.Stop) == 0)
        {
            while (queue.TryTake(chain))
            {
                queue.Complete(chain.Head, 0);
            }
        }
    }

    private static void Listen(RingMemory memory)
    {
        DeviceQueue queue = memory.MakeDevice();
        DescriptorChain chain = new(RingMemory.QueueSize);
        PollEntry[] kick = [new PollEntry(memory.Kick)];
        while (Volatile.Read(ref memory.Stop) == 0)
        {
            LinuxDescriptors.Instance.Poll(kick, -1, out _);
            LinuxDescriptors.Instance.Drain(memory.Kick);
            do
            {
                queue.DisableNotifications();
                while (queue.TryTake(chain))
                {
                    queue.Complete(chain.Head, 0);
                    if (queue.MustInterrupt())
                    {
                        LinuxDescriptors.Instance.Signal(memory.Call);
                    }
                }
            }
            while (queue.EnableNotifications());
        }
    }

    private static double Drive(RingMemory memory, RingMode mode, QueueBuffer[] chain, int inFlight, TimeSpan time)
    {
        DriverQueue queue = memory.MakeDriver();
        queue.DisableInterrupts();
        Stopwatch watch = Stopwatch.StartNew();
        long done = 0;
        while (done % BetweenLooksAtTheClock != 0 || watch.Elapsed < time)
        {
            while (queue.Outstanding < inFlight && queue.TryAdd(chain, 0))
            {
            }

            if (queue.Publish() && mode == RingMode.Notifications)
            {
                LinuxDescriptors.Instance.Signal(memory.Kick);
            }

            while (!queue.TryReap(out _))
            {
                if (queue.Fault != DriverQueueFault.None)
                {
                    throw new MeasurementException($"the device broke the ring's rules: {queue.Fault}");
                }

                if (mode == RingMode.Notifications)
                {
                    Sleep(memory, queue);
                }
            }

            done++;
        }

        return watch.Elapsed.TotalNanoseconds / done;
    }

    /// <summary>As the balloon driver sleeps: one wake-up for all but one of what is under way.</summary>
    private static void Sleep(RingMemory memory, DriverQueue queue)
    {
        if (!queue.EnableInterrupts(Math.Max(queue.Outstanding - 1, 1)))
        {
            PollEntry[] call = [new PollEntry(memory.Call)];
            LinuxDescriptors.Instance.Poll(call, -1, out _);
            LinuxDescriptors.Instance.Drain(memory.Call);
        }

        queue.DisableInterrupts();
    }
}
