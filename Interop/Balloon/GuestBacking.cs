using System;
using System.Threading;
using LowLevel.Interop.Linux;

namespace LowLevel.Interop.Balloon;

/// <summary>How the host drops guest memory.</summary>
internal enum DiscardMethod
{
    /// <summary>MADV_DONTNEED: gone at once, reads zero (anonymous memory).</summary>
    DontNeed,

    /// <summary>MADV_FREE: the kernel takes it when it needs it; until then it reads as before (anonymous memory).</summary>
    Free,

    /// <summary>fallocate FALLOC_FL_PUNCH_HOLE: gone at once from every mapping of the memfd, reads zero.</summary>
    PunchHole,
}

/// <summary>What lies under guest memory from address 0 on, as the host can drop it.</summary>
internal interface IGuestBacking
{
    /// <summary>Bytes from guest address 0 that may be dropped.</summary>
    ulong Bytes { get; }

    /// <summary>Whether what was dropped reads zero from then on.</summary>
    bool LeavesZero { get; }

    /// <summary>Drops ranges of whole pages, each for itself: one that fails keeps none of the others. Thread-safe; may block for as
    /// long as the system takes.</summary>
    /// <param name="ranges">The ranges, at least one.</param>
    /// <param name="dropped">For each range the bytes dropped, from its start on; at least as many elements.</param>
    /// <returns>The last error; None where every byte was dropped.</returns>
    Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped);
}

/// <summary>An arena that this process has mapped: anonymous memory by address, a memfd by offset. Anonymous memory is dropped by one
/// call for many ranges (process_madvise on oneself) where the kernel takes that, which is asked once, on a mapping of our own:
/// kernels before 6.13 refuse it with EINVAL, containers with EPERM or ENOSYS. Else, and for a range at which such a call stopped, by one
/// madvise each.</summary>
internal sealed class GuestBacking : IGuestBacking
{
    /// <summary>A signal, or a moment's shortage, is no failure; an endless one is.</summary>
    public const int AttemptsMax = 16;

    /// <summary>Ranges of one call: enough that the call's own cost is nothing beside the work, few enough that whoever waits for the
    /// process's memory map (a page fault on a huge page, mmap) does not wait for long.</summary>
    public const int RangesPerCallMax = 32;

    private readonly IOperatingSystem _system;
    private readonly nint _base;
    private readonly int _memfd;
    private readonly DiscardMethod _method;
    private volatile bool _takesMany;
    private long _calls;

    private GuestBacking(IOperatingSystem system, nint start, ulong bytes, int memfd, DiscardMethod method)
    {
        ArgumentNullException.ThrowIfNull(system);
        _system = system;
        _base = start;
        _memfd = memfd;
        _method = method;
        Bytes = bytes;
    }

    /// <inheritdoc/>
    public ulong Bytes { get; }

    /// <inheritdoc/>
    public bool LeavesZero => _method != DiscardMethod.Free;

    /// <summary>Whether many ranges go to the kernel in one call.</summary>
    public bool TakesMany => _takesMany;

    /// <summary>Calls to the system that were made to drop memory. Any thread.</summary>
    public long Calls => Interlocked.Read(ref _calls);

    private MemoryAdvice Advice => _method == DiscardMethod.Free ? MemoryAdvice.Free : MemoryAdvice.DontNeed;

    /// <summary>Private anonymous memory at an address of this process; <see cref="DiscardMethod.PunchHole"/> is refused.</summary>
    /// <param name="system">The operating system.</param>
    /// <param name="start">The address.</param>
    /// <param name="bytes">The length.</param>
    /// <param name="method">DontNeed or Free.</param>
    /// <param name="oneByOne">One call for each range, whatever the kernel takes.</param>
    public static GuestBacking Anonymous(IOperatingSystem system, nint start, ulong bytes, DiscardMethod method, bool oneByOne = false)
    {
        if (method is not (DiscardMethod.DontNeed or DiscardMethod.Free))
        {
            throw new ArgumentOutOfRangeException(nameof(method), method, "anonymous memory is dropped by DontNeed or Free");
        }

        GuestBacking backing = new(system, start, bytes, -1, method);
        backing._takesMany = !oneByOne && Probe(system, backing.Advice);
        return backing;
    }

    /// <summary>A memfd whose offset 0 is guest address 0. Holes are punched one by one.</summary>
    public static GuestBacking Memfd(IOperatingSystem system, int memfd, ulong bytes) =>
        new(system, 0, bytes, memfd, DiscardMethod.PunchHole);

    /// <inheritdoc/>
    public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped)
    {
        Errno last = Errno.None;
        int next = 0;
        while (next < ranges.Length)
        {
            ulong begun = 0;
            if (_takesMany && ranges.Length - next > 1)
            {
                next += DiscardMany(ranges[next..], dropped[next..], out begun);
                if (next == ranges.Length)
                {
                    break;
                }
            }

            // A single range, or the one at which the call stopped: its own call judges it.
            Errno error = DiscardOne(ranges[next].Address + begun, ranges[next].Bytes - begun);
            dropped[next] = error == Errno.None ? ranges[next].Bytes : begun;
            last = error == Errno.None ? last : error;
            next++;
        }

        return last;
    }

    /// <summary>Whether the kernel does this to two ranges of our own in one call, and what was written is gone where it should be.</summary>
    private static unsafe bool Probe(IOperatingSystem system, MemoryAdvice advice)
    {
        nuint page = (nuint)system.PageSize;
        if (system.MapAnonymous(3 * page, MemoryProtection.ReadWrite, out nint start) != Errno.None)
        {
            return false;
        }

        // Sound: three pages of our own, just mapped.
        byte* pages = (byte*)start;
        pages[0] = pages[2 * page] = 1;
        ReadOnlySpan<AddressRange> ends = [new(start, page), new(start + (nint)(2 * page), page)];
        bool works = system.AdviseMany(ends, advice, out nuint done) == Errno.None && done == 2 * page;
        if (advice == MemoryAdvice.DontNeed)
        {
            works &= (pages[0] | pages[2 * page]) == 0;
        }

        system.Unmap(start, 3 * page);
        return works;
    }

    /// <summary>Calls for many ranges until all are dropped or a call stops.</summary>
    /// <param name="ranges">The ranges.</param>
    /// <param name="dropped">Filled in for those that were dropped whole.</param>
    /// <param name="begun">Bytes dropped of the next one.</param>
    /// <returns>How many were dropped whole.</returns>
    private int DiscardMany(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped, out ulong begun)
    {
        Span<AddressRange> vector = stackalloc AddressRange[RangesPerCallMax];
        int next = 0;
        begun = 0;
        for (int attempt = 0; next < ranges.Length && attempt < AttemptsMax; attempt++)
        {
            int count = Fill(vector, ranges[next..], begun);
            Interlocked.Increment(ref _calls);
            Errno error = _system.AdviseMany(vector[..count], Advice, out nuint done);
            if (error is not (Errno.None or Errno.EINTR or Errno.EAGAIN))
            {
                // No longer allowed at all (a filter that came later), or not for this range: the caller's own call tells.
                _takesMany &= error is not (Errno.EPERM or Errno.ENOSYS);
                return next;
            }

            attempt = done != 0 ? -1 : attempt;
            for (begun += done; next < ranges.Length && begun >= ranges[next].Bytes; next++)
            {
                dropped[next] = ranges[next].Bytes;
                begun -= ranges[next].Bytes;
            }
        }

        return next;
    }

    private int Fill(Span<AddressRange> vector, ReadOnlySpan<GuestRange> ranges, ulong begun)
    {
        int count = Math.Min(vector.Length, ranges.Length);
        for (int i = 0; i < count; i++)
        {
            vector[i] = new AddressRange(_base + (nint)ranges[i].Address, (nuint)ranges[i].Bytes);
        }

        vector[0] = new AddressRange(vector[0].Address + (nint)begun, vector[0].Bytes - (nuint)begun);
        return count;
    }

    private Errno DiscardOne(ulong address, ulong bytes)
    {
        Errno result = Errno.EAGAIN;
        for (int attempt = 0; attempt < AttemptsMax && result is Errno.EINTR or Errno.EAGAIN; attempt++)
        {
            Interlocked.Increment(ref _calls);
            result = _method == DiscardMethod.PunchHole
                ? _system.PunchHole(_memfd, address, (nuint)bytes)
                : _system.Advise(_base + (nint)address, (nuint)bytes, Advice);
        }

        return result;
    }
}
