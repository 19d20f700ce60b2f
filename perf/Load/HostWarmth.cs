using System;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>A machine that is itself a guest reports its free memory to its own host, and touching such memory again runs an order
/// of magnitude slower. So each timed phase is preceded, by less than two seconds, by touching and freeing as much memory as it
/// will need, for every contestant alike: then it times the contestant and not the host.</summary>
internal static class HostWarmth
{
    private const int PageSize = 4096;

    /// <summary>Touches and unmaps this many bytes, in as many threads as there are processors.</summary>
    public static void Warm(long bytes)
    {
        LinuxSystem os = LinuxSystem.Instance;
        Errno error = os.MapAnonymous((nuint)bytes, MemoryProtection.ReadWrite, out nint address);
        if (error != Errno.None)
        {
            throw new MeasurementException($"mmap of {bytes} bytes for the warm-up: {error}");
        }

        _ = os.Advise(address, (nuint)bytes, MemoryAdvice.HugePage);
        long share = bytes / Environment.ProcessorCount;
        var threads = new Thread[Environment.ProcessorCount];
        for (int i = 0; i < threads.Length; i++)
        {
            nint from = address + (nint)(i * share);
            threads[i] = new Thread(() => Touch(from, share));
            threads[i].Start();
        }

        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        _ = os.Unmap(address, (nuint)bytes);
    }

    private static void Touch(nint address, long bytes)
    {
        for (long offset = 0; offset < bytes; offset += PageSize)
        {
            Marshal.WriteByte(address + (nint)offset, 1);
        }
    }
}
