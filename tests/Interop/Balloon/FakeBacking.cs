using System;
using System.Collections.Generic;
using System.Threading;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;

namespace LowLevel.Tests.Interop.Balloon;

/// <summary>Guest memory that only remembers what was dropped; it can fail, and it can hold a caller inside.</summary>
internal sealed class FakeBacking : IGuestBacking, IDisposable
{
    private readonly Lock _guard = new();
    private readonly List<GuestRange> _dropped = [];

    public ulong Bytes { get; init; } = 1 << 30;

    public bool LeavesZero { get; init; } = true;

    public Errno Result { get; set; }

    /// <summary>Reset: whoever drops waits inside until it is set.</summary>
    public ManualResetEventSlim Lets { get; } = new(true);

    /// <summary>Somebody is inside.</summary>
    public ManualResetEventSlim Entered { get; } = new(false);

    public GuestRange[] Dropped
    {
        get
        {
            lock (_guard)
            {
                return [.. _dropped];
            }
        }
    }

    /// <summary>Calls so far.</summary>
    public int Calls { get; private set; }

    /// <summary>Which ranges fail with <see cref="Result"/>; null: all, if it is an error.</summary>
    public Predicate<GuestRange>? Fails { get; set; }

    public Errno Discard(ReadOnlySpan<GuestRange> ranges, Span<ulong> dropped)
    {
        Entered.Set();
        Lets.Wait();
        Errno last = Errno.None;
        lock (_guard)
        {
            Calls++;
            for (int i = 0; i < ranges.Length; i++)
            {
                bool fails = Result != Errno.None && (Fails is null || Fails(ranges[i]));
                last = fails ? Result : last;
                dropped[i] = fails ? 0 : ranges[i].Bytes;
                if (!fails)
                {
                    _dropped.Add(ranges[i]);
                }
            }
        }

        return last;
    }

    public void Dispose()
    {
        Lets.Set();
        Lets.Dispose();
        Entered.Dispose();
    }
}
