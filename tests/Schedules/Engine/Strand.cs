using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

namespace Schedules;

/// <summary>What a strand waits for.</summary>
internal enum StrandState
{
    NotStarted,
    Ready,
    AtGuard,
    Waiting,
    Spinning,
    Joining,
    Ended,
}

/// <summary>A thread of a schedule. It runs on a thread of the system, and only when the scheduler lets it.</summary>
internal sealed class Strand
{
    [ThreadStatic]
    private static Strand? t_current;

    private readonly List<Pending> _buffer = [];
    private long _ownWrites;
    private long _seenWrites = -1;

    public Strand(Scheduler scheduler, int id, string name, Action body, LowLevel.Thread? thread)
    {
        Scheduler = scheduler;
        Id = id;
        Name = $"{name}{id}";
        Body = body;
        Thread = thread ?? new LowLevel.Thread(this);
    }

    public static Strand? Current
    {
        get => t_current;
        set => t_current = value;
    }

    public Scheduler Scheduler { get; }

    public int Id { get; }

    public string Name { get; }

    public Action Body { get; }

    public LowLevel.Thread Thread { get; }

    public bool IsBackground { get; set; }

    public StrandState State { get; set; }

    public Guard? At { get; set; }

    public Strand? Joins { get; set; }

    public bool IsTimed { get; set; }

    public bool TimedOut { get; set; }

    public bool IsPulsed { get; set; }

    public Carrier? Carrier { get; set; }

    public bool IsAlive => State is not (StrandState.Ended or StrandState.NotStarted);

    public bool HasBuffered => _buffer.Count != 0;

    /// <summary>Whether it may go on.</summary>
    public bool CanRun => State switch
    {
        StrandState.Ready => true,
        StrandState.AtGuard => At!.IsFree || TimedOut,
        StrandState.Waiting => (IsPulsed || TimedOut) && At!.IsFree,
        StrandState.Spinning => Scheduler.Writes - _ownWrites != _seenWrites,
        StrandState.Joining => Joins!.State == StrandState.Ended || TimedOut,
        _ => false,
    };

    /// <summary>A write of this strand has become visible.</summary>
    public void Wrote()
    {
        _ownWrites++;
        Scheduler.Writes++;
    }

    /// <summary>It has looked in vain. True: others have written since it did so last, it may look again.</summary>
    public bool HasNews()
    {
        long others = Scheduler.Writes - _ownWrites;
        bool news = others != _seenWrites;
        _seenWrites = others;
        return news;
    }

    /// <summary>Puts a write into the store buffer. False: there is none, the write is to be done at once.</summary>
    public unsafe bool TryBuffer<T>(ref T word, T value)
    {
        if (Scheduler.BufferDepth == 0)
        {
            return false;
        }

        if (_buffer.Count == Scheduler.BufferDepth)
        {
            FlushOldest();
        }

        // Sound: nothing is moved while schedules run, see the explorer's region without collections.
        void* at = Unsafe.AsPointer(ref word);
        _buffer.Add(RuntimeHelpers.IsReferenceOrContainsReferences<T>()
            ? new Pending((nint)at, 0, 0, value)
            : new Pending((nint)at, Unsafe.SizeOf<T>(), Bits(value), null));
        return true;
    }

    /// <summary>A strand sees its own writes first.</summary>
    public unsafe bool TryForward<T>(ref T word, out T value)
    {
        // Sound: as above; addresses are compared, and a value of the same size is made from its bits.
        nint at = (nint)Unsafe.AsPointer(ref word);
        for (int i = _buffer.Count - 1; i >= 0; i--)
        {
            Pending pending = _buffer[i];
            if (pending.Address == at)
            {
                ulong bits = pending.Bits;
                value = pending.Bytes == 0 ? (T)pending.Reference! : Unsafe.As<ulong, T>(ref bits);
                return true;
            }
        }

        value = default!;
        return false;
    }

    /// <summary>The oldest buffered write becomes visible.</summary>
    public unsafe void FlushOldest()
    {
        Pending pending = _buffer[0];
        _buffer.RemoveAt(0);

        // Sound: the address was taken from a word of this size that lives as long as the schedule.
        void* at = (void*)pending.Address;
        switch (pending.Bytes)
        {
            case 0:
                Unsafe.AsRef<object?>(at) = pending.Reference;
                break;
            case 1:
                *(byte*)at = (byte)pending.Bits;
                break;
            case 2:
                *(ushort*)at = (ushort)pending.Bits;
                break;
            case 4:
                *(uint*)at = (uint)pending.Bits;
                break;
            default:
                *(ulong*)at = pending.Bits;
                break;
        }

        Wrote();
    }

    public void FlushAll()
    {
        while (_buffer.Count != 0)
        {
            FlushOldest();
        }
    }

    private static ulong Bits<T>(T value)
    {
        ulong bits = 0;
        Unsafe.As<ulong, T>(ref bits) = value;
        return bits;
    }

    private readonly record struct Pending(nint Address, int Bytes, ulong Bits, object? Reference);
}
