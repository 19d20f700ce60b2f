using System;
using LowLevel.Interop.Linux;

namespace LowLevel.Interop.Balloon;

/// <summary>How the host drops guest memory.</summary>
internal enum DiscardMethod
{
    /// <summary>madvise MADV_DONTNEED: gone at once, reads zero (anonymous memory).</summary>
    DontNeed,

    /// <summary>madvise MADV_FREE: the kernel takes it when it needs it; until then it reads as before (anonymous memory).</summary>
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

    /// <summary>Drops a range of whole pages. Thread-safe; may block for as long as the system takes.</summary>
    Errno Discard(ulong address, ulong bytes);
}

/// <summary>An arena that this process has mapped: anonymous memory by address, a memfd by offset.</summary>
internal sealed class GuestBacking : IGuestBacking
{
    /// <summary>A signal, or a moment's shortage, is no failure; an endless one is.</summary>
    public const int AttemptsMax = 16;

    private readonly IOperatingSystem _system;
    private readonly nint _base;
    private readonly int _memfd;
    private readonly DiscardMethod _method;

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

    /// <summary>Private anonymous memory at an address of this process; <see cref="DiscardMethod.PunchHole"/> is refused.</summary>
    public static GuestBacking Anonymous(IOperatingSystem system, nint start, ulong bytes, DiscardMethod method) =>
        method is DiscardMethod.DontNeed or DiscardMethod.Free
            ? new GuestBacking(system, start, bytes, -1, method)
            : throw new ArgumentOutOfRangeException(nameof(method), method, "anonymous memory is dropped by DontNeed or Free");

    /// <summary>A memfd whose offset 0 is guest address 0.</summary>
    public static GuestBacking Memfd(IOperatingSystem system, int memfd, ulong bytes) =>
        new(system, 0, bytes, memfd, DiscardMethod.PunchHole);

    /// <inheritdoc/>
    public Errno Discard(ulong address, ulong bytes)
    {
        Errno result = Errno.EAGAIN;
        for (int attempt = 0; attempt < AttemptsMax && result is Errno.EINTR or Errno.EAGAIN; attempt++)
        {
            result = _method switch
            {
                DiscardMethod.PunchHole => _system.PunchHole(_memfd, address, (nuint)bytes),
                DiscardMethod.Free => _system.Advise(_base + (nint)address, (nuint)bytes, MemoryAdvice.Free),
                _ => _system.Advise(_base + (nint)address, (nuint)bytes, MemoryAdvice.DontNeed),
            };
        }

        return result;
    }
}
