using System;

namespace LowLevel.Allocator;

/// <summary>What a pool looks out for. Read once by the pool's constructor. With any of it on, each rent makes new objects and
/// walks the stack (some microseconds, about 1 KiB of managed memory), and an owner never serves again, so that use after
/// return is always told. For tests, and for a service that leaks.</summary>
public sealed class ArenaMemoryPoolOptions
{
    /// <summary>Tells of each buffer that nobody can return any more, with the stack of the rent: by <see cref="OnLeak"/> and by the
    /// event MemoryLeaked of the EventSource "LowLevel-Allocator". A leak is found when the garbage collector finds its owner
    /// unreachable; what is still rented when the process ends is not told. Default false.</summary>
    public bool DetectLeaks { get; set; }

    /// <summary>Called on the finalizer thread for each leak: be quick, and let no exception out, which would end the process. Needs
    /// <see cref="DetectLeaks"/>.</summary>
    public Action<ArenaMemoryLeak>? OnLeak { get; set; }

    /// <summary>Frees the block of a leaked buffer. Not safe where code uses a span or a bare pointer of a buffer whose owner it
    /// has dropped, because neither keeps the owner. Needs <see cref="DetectLeaks"/>. Default false: leaks are told only.</summary>
    public bool FreeLeaks { get; set; }

    /// <summary>Tells of each return after the first, with the stacks of both: by <see cref="OnDoubleReturn"/> and by the event
    /// ReturnedTwice of the EventSource "LowLevel-Allocator". It stays without effect on the memory. Default false.</summary>
    public bool DetectDoubleReturns { get; set; }

    /// <summary>Called in the second return, on its thread; what it throws comes out of that Dispose. Needs
    /// <see cref="DetectDoubleReturns"/>.</summary>
    public Action<ArenaMemoryDoubleReturn>? OnDoubleReturn { get; set; }

    /// <summary>An option that can have no effect is a mistake.</summary>
    internal void Validate()
    {
        if (!DetectLeaks && (OnLeak is not null || FreeLeaks))
        {
            string which = OnLeak is not null ? nameof(OnLeak) : nameof(FreeLeaks);
            throw new ArgumentException($"{which} is set and {nameof(DetectLeaks)} is false: no leak would be found. Set {nameof(DetectLeaks)}.", which);
        }

        if (!DetectDoubleReturns && OnDoubleReturn is not null)
        {
            throw new ArgumentException(
                $"{nameof(OnDoubleReturn)} is set and {nameof(DetectDoubleReturns)} is false: none would be found. Set {nameof(DetectDoubleReturns)}.",
                nameof(OnDoubleReturn));
        }
    }
}

/// <summary>A buffer that was rented, and that nobody can return any more.</summary>
/// <param name="Bytes">The buffer's length.</param>
/// <param name="RentedAt">The stack of the rent, the renting method first.</param>
/// <param name="Freed">Whether the block went back to the arena (<see cref="ArenaMemoryPoolOptions.FreeLeaks"/>).</param>
public sealed record ArenaMemoryLeak(int Bytes, string RentedAt, bool Freed);

/// <summary>A buffer that was returned again.</summary>
/// <param name="Bytes">The buffer's length.</param>
/// <param name="RentedAt">The stack of the rent, the renting method first.</param>
/// <param name="FirstReturnAt">The stack of the return that counted.</param>
/// <param name="SecondReturnAt">The stack of this one.</param>
public sealed record ArenaMemoryDoubleReturn(int Bytes, string RentedAt, string FirstReturnAt, string SecondReturnAt);
