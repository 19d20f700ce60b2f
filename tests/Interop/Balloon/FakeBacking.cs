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

    public Errno Discard(ulong address, ulong bytes)
    {
        Entered.Set();
        Lets.Wait();
        if (Result == Errno.None)
        {
            lock (_guard)
            {
                _dropped.Add(new GuestRange(address, bytes));
            }
        }

        return Result;
    }

    public void Dispose()
    {
        Lets.Set();
        Lets.Dispose();
        Entered.Dispose();
    }
}
