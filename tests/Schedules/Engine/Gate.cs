using System.Runtime.InteropServices;
using System.Threading;

namespace Schedules;

/// <summary>One thread waits, another lets it through, once each time: a word and the kernel's futex.</summary>
internal sealed class Gate
{
    private const long FutexCall = 202;
    private const int Wait = 128; // FUTEX_WAIT | FUTEX_PRIVATE_FLAG
    private const int Wake = 129;
    private readonly unsafe int* _word = (int*)NativeMemory.AllocZeroed(64); // lives as long as the program

    /// <summary>Until <see cref="Open"/>; shut again behind who came through.</summary>
    public unsafe void Pass()
    {
        // Sound: the word is this object's and is never freed.
        while (Interlocked.Exchange(ref *_word, 0) == 0)
        {
            _ = SystemCall(FutexCall, _word, Wait, 0, 0, 0, 0);
        }
    }

    /// <summary>Lets one through, now or when it comes.</summary>
    public unsafe void Open()
    {
        // Sound: as above.
        Volatile.Write(ref *_word, 1);
        _ = SystemCall(FutexCall, _word, Wake, 1, 0, 0, 0);
    }

    /// <summary>All threads that are made from now on stay on one processor: a hand-over does not wait for another to wake up.</summary>
    public static unsafe void KeepToProcessor(int processor)
    {
        ulong* mask = stackalloc ulong[16];
        mask[processor / 64] = 1ul << processor;

        // Sound: the mask is as long as is said.
        _ = SetAffinity(0, 16 * sizeof(ulong), mask);
    }

    [DllImport("libc", EntryPoint = "syscall")]
    private static extern unsafe long SystemCall(long number, int* word, int operation, int value, nint timeout, nint word2, int value3);

    [DllImport("libc", EntryPoint = "sched_setaffinity")]
    private static extern unsafe int SetAffinity(int process, nuint bytes, ulong* mask);
}
