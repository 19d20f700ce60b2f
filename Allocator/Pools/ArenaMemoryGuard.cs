using System;
using System.Diagnostics;
using System.Diagnostics.Tracing;
using System.Runtime.CompilerServices;
using System.Threading;

namespace LowLevel.Allocator;

/// <summary>Goes with one rent of a pool that looks out, and dies with its owner. It has the finalizer that the owner must not have
/// (CA2015). That is sound for reporting: whoever holds a span, but neither the owner nor a pin, can return the buffer no more. For
/// freeing it is sound only as far as <see cref="ArenaMemoryPoolOptions.FreeLeaks"/> says.</summary>
internal sealed class ArenaMemoryGuard : IDisposable
{
    /// <summary>An event longer than 64 KiB is dropped by the tracing layer; a stack's beginning is what tells.</summary>
    private const int EventCharactersMax = 16_000;

    private readonly PageArena arena;
    private readonly ArenaMemoryWatch watch;
    private readonly StackTrace rentedAt;
    private readonly nint block;
    private readonly int length;
    private StackTrace? returnedAt;
    private int settled;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public unsafe ArenaMemoryGuard(PageArena arena, ArenaMemoryWatch watch, void* block, int length)
    {
        this.arena = arena;
        this.watch = watch;
        this.block = (nint)block;
        this.length = length;
        rentedAt = new StackTrace(skipFrames: 3, fNeedFileInfo: false); // this constructor, GuardedOwner and Rent
    }

    ~ArenaMemoryGuard()
    {
        if (watch.Leaks && Interlocked.Exchange(ref settled, 1) == 0)
        {
            Leaked();
        }
    }

    /// <summary>The rent has ended in order; the caller frees the block.</summary>
    public void Dispose()
    {
        Interlocked.Exchange(ref settled, 1);
        GC.SuppressFinalize(this);
    }

    /// <summary>True for the return that counts; any other is reported. Where double returns are not looked for, always true: the
    /// owner's state word decides.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public bool TryReturn()
    {
        if (!watch.DoubleReturns)
        {
            return true;
        }

        StackTrace here = new(skipFrames: 2, fNeedFileInfo: false); // this method and the owner's Dispose
        StackTrace? first = Interlocked.CompareExchange(ref returnedAt, here, null);
        if (first is not null)
        {
            ReturnedAgain(first, here);
        }

        return first is null;
    }

    private unsafe void Leaked()
    {
        if (watch.FreeLeaks)
        {
            // Sound: the rent had not ended when the flag was exchanged, and whoever held it is gone.
            arena.FreeQuietly((void*)block);
        }

        string stack = rentedAt.ToString();
        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Allocation))
        {
            ArenaEvents.Log.MemoryLeaked(length, ForEvent(stack));
        }

        watch.OnLeak?.Invoke(new ArenaMemoryLeak(length, stack, watch.FreeLeaks));
    }

    private void ReturnedAgain(StackTrace first, StackTrace second)
    {
        string stack = first.ToString();
        if (ArenaEvents.Log.IsEnabled(EventLevel.Warning, ArenaEvents.Keywords.Allocation))
        {
            ArenaEvents.Log.ReturnedTwice(length, ForEvent(stack));
        }

        watch.OnDoubleReturn?.Invoke(new ArenaMemoryDoubleReturn(length, rentedAt.ToString(), stack, second.ToString()));
    }

    private static string ForEvent(string stack) => stack.Length <= EventCharactersMax ? stack : stack[..EventCharactersMax];
}

/// <summary>The pool's options, as they were when it was made.</summary>
internal sealed record ArenaMemoryWatch(
    bool Leaks, Action<ArenaMemoryLeak>? OnLeak, bool FreeLeaks, bool DoubleReturns, Action<ArenaMemoryDoubleReturn>? OnDoubleReturn)
{
    /// <summary>Null where there is nothing to look out for.</summary>
    public static ArenaMemoryWatch? From(ArenaMemoryPoolOptions? options)
    {
        options?.Validate();
        return options is null || !(options.DetectLeaks || options.DetectDoubleReturns)
            ? null
            : new(options.DetectLeaks, options.OnLeak, options.FreeLeaks, options.DetectDoubleReturns, options.OnDoubleReturn);
    }
}
