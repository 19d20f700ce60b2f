using System;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>What one thread keeps for itself of an arena or a heap, in pinned memory that begins with an <see cref="OwnerGate"/>. Its owner
/// works on it without a lock: it says busy, looks whether the gate is open, and does its work. Who wants in from outside shuts the
/// gate, makes every processor see that (membarrier), and waits until the owner is not busy; from then on the owner goes without. No
/// interlocked operation on the owner's side. An open gate holds the arena's or heap's number, so that one comparison answers both "is
/// this of the one that I was asked for" and "may I".
/// <code>
/// owner:   busy = 1;   open_for == the number?  no: busy = 0, go without      yes: push or pop;  busy = 0
/// drainer: open_for = 0; membarrier; wait for busy == 0; drain; open_for = the number
/// </code>
/// The drainer holds no lock that an owner may wait for while it is busy.</summary>
internal abstract class ThreadCache
{
    private readonly byte[] _storage; // pinned: what lies in it stays where it is, and lives as long as anybody knows this object
    private readonly unsafe OwnerGate* _gate;

    /// <summary>Storage for a struct that begins with a gate, all zero, and behind it entries that are not; of them only what is used
    /// becomes resident. The gate is shut until <see cref="Thaw"/>.</summary>
    protected unsafe ThreadCache(Thread owner, int number, int structBytes, int alignment, int entryBytes)
    {
        Owner = owner;
        Number = number;
        _storage = GC.AllocateUninitializedArray<byte>(structBytes + entryBytes + alignment, pinned: true);

        // Sound: the array is pinned for life and long enough for the struct, its alignment and all entries.
        nint start = (nint)Unsafe.AsPointer(ref _storage[0]);
        _gate = (OwnerGate*)((start + alignment - 1) & ~(nint)(alignment - 1));
        new Span<byte>(_gate, structBytes).Clear();
    }

    /// <summary>The thread that may touch it without shutting the gate.</summary>
    public Thread Owner { get; }

    /// <summary>The arena's or heap's number.</summary>
    public int Number { get; }

    /// <summary>Whether nothing is kept. Without freezing: a hint.</summary>
    public abstract bool LooksEmpty { get; }

    /// <summary>Whether that of which it is was disposed.</summary>
    public abstract bool IsOrphan { get; }

    /// <summary>The struct's first byte.</summary>
    protected unsafe void* Data => _gate;

    /// <summary>The memory that it takes.</summary>
    protected Span<byte> Storage => _storage;

    /// <summary>The owner begins. False: the gate is shut or another's, hands off. On the fast path.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool TryEnter(OwnerGate* gate, int number)
    {
        // The processor may let the read pass the write; the drainer's membarrier makes up for it, so that no fence is paid here.
        Volatile.Write(ref gate->Busy, 1);
        if (Volatile.Read(ref gate->OpenFor) == number)
        {
            return true;
        }

        Volatile.Write(ref gate->Busy, 0);
        return false;
    }

    /// <summary>The owner has done.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe void Exit(OwnerGate* gate) => Volatile.Write(ref gate->Busy, 0);

    /// <summary>The owner begins. False: the gate is shut, hands off.</summary>
    public unsafe bool TryEnter() => TryEnter(_gate, Number);

    /// <summary>The owner has done.</summary>
    public unsafe void Exit() => Exit(_gate);

    /// <summary>Another thread wants in; it then calls <see cref="WaitUntilIdle"/> after the membarrier. Under the registry's lock.</summary>
    public unsafe void Freeze() => Volatile.Write(ref _gate->OpenFor, 0);

    /// <summary>The owner may come back.</summary>
    public unsafe void Thaw() => Volatile.Write(ref _gate->OpenFor, Number);

    /// <summary>Waits until the owner is not at work. It is for a few instructions, or for a refill, at a time; a dead one never.</summary>
    public unsafe void WaitUntilIdle()
    {
        SpinWait spin = default;
        while (Volatile.Read(ref _gate->Busy) != 0)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }
}
