using System;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The free objects that one thread keeps of one heap, a sheaf for each size class (the kernel's slab_sheaf of Linux 6.18, which
/// took the place of its per-cpu slabs). Owner and drainer go by the rules of <see cref="ThreadPages"/>: busy, gate, membarrier.
/// <code>
/// 0 &lt;= count &lt;= high of each sheaf;  each entry is an object that is out of its slab, in no other sheaf and with no user
/// </code></summary>
internal sealed class ThreadSheaves
{
    [ThreadStatic]
    private static ThreadSheaves? t_last;

    [ThreadStatic]
    private static unsafe ThreadSheavesData* t_mine; // the data of t_last

    private readonly byte[] _storage; // pinned: the struct below stays where it is, and lives as long as anybody knows this object
    private readonly unsafe ThreadSheavesData* _data;

    /// <summary>Empty sheaves for a thread.</summary>
    public unsafe ThreadSheaves(NativeHeap heap, Thread owner)
    {
        Heap = heap;
        Owner = owner;
        int entries = 0;
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            entries += SizeClasses.SheafEntries(i) + 1;
        }

        _storage = GC.AllocateArray<byte>(ThreadSheavesData.SizeInBytes + (entries * sizeof(ulong)) + ThreadSheavesData.Alignment, pinned: true);
        // Sound: the array is pinned for life and long enough for the struct, its alignment and all entries.
        nint start = (nint)Unsafe.AsPointer(ref _storage[0]);
        _data = (ThreadSheavesData*)((start + ThreadSheavesData.Alignment - 1) & ~(nint)(ThreadSheavesData.Alignment - 1));
        ulong* next = (ulong*)((byte*)_data + ThreadSheavesData.SizeInBytes);
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            Sheaf* sheaf = Of(i);
            sheaf->Entries = next + 1;
            sheaf->High = SizeClasses.SheafEntries(i);
            sheaf->Reciprocal = SizeClasses.Reciprocal(i);
            sheaf->Limit = (uint)(SizeClasses.Capacity(i) * SizeClasses.Bytes(i));
            next += sheaf->High + 1;
        }

        Thaw();
    }

    /// <summary>The heap that the objects are from.</summary>
    public NativeHeap Heap { get; }

    /// <summary>The thread that may touch it without shutting the gate.</summary>
    public Thread Owner { get; }

    /// <summary>The sheaves of the calling thread for the heap that it used last; null before its first use of any.</summary>
    public static unsafe ThreadSheaves? Last
    {
        get => t_last;
        set
        {
            t_mine = value is null ? null : value._data;
            t_last = value;
        }
    }

    /// <summary>What the fast path works on: the data of <see cref="Last"/>; null where that is null.</summary>
    public static unsafe ThreadSheavesData* Mine
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => t_mine;
    }

    /// <summary>Bytes that one thread's sheaves take.</summary>
    public int SizeBytes => _storage.Length;

    /// <summary>The sheaf of a size class.</summary>
    public unsafe Sheaf* Of(int sizeClass) => ThreadSheavesData.Sheaves(_data, 0) + sizeClass;

    /// <summary>The owner begins. False: the gate is shut, hands off.</summary>
    public unsafe bool TryEnter() => TryEnter(_data, Heap.Id);

    /// <summary>The owner has done.</summary>
    public unsafe void Exit() => Volatile.Write(ref _data->Busy, 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static unsafe bool TryEnter(ThreadSheavesData* data, int gate)
    {
        // The drainer's membarrier makes up for the read that may pass the write (see ThreadPages).
        Volatile.Write(ref data->Busy, 1);
        if (Volatile.Read(ref data->Gate) == gate)
        {
            return true;
        }

        Volatile.Write(ref data->Busy, 0);
        return false;
    }

    /// <summary>Takes the youngest object. The fast path of allocation.</summary>
    /// <param name="mine">The calling thread's <see cref="Mine"/>, not null; it may be another heap's.</param>
    /// <param name="gate">The heap's number.</param>
    /// <param name="sizeClass">Below <see cref="SizeClasses.Count"/>.</param>
    /// <param name="address">The object.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool TryPop(ThreadSheavesData* mine, int gate, uint sizeClass, out void* address)
    {
        if (TryEnter(mine, gate))
        {
            Sheaf* sheaf = ThreadSheavesData.Sheaves(mine, 0) + sizeClass;
            uint count = (uint)sheaf->Count;
            if (count != 0)
            {
                count--;
                address = (void*)sheaf->Entries[count];
                sheaf->Count = (int)count;
                Volatile.Write(ref mine->Busy, 0);
                return true;
            }

            Volatile.Write(ref mine->Busy, 0);
        }

        address = null;
        return false;
    }

    /// <summary>Keeps an object that its user gives back. False: it is not the head of an object of this class, or the one freed last,
    /// the sheaf is full, or the gate is shut or another heap's. The fast path of freeing.</summary>
    /// <param name="mine">The calling thread's <see cref="Mine"/>, not null.</param>
    /// <param name="gate">The heap's number.</param>
    /// <param name="sizeClass">As the slab's head says; <see cref="SizeClasses.Whole"/> has a sheaf that takes nothing.</param>
    /// <param name="offset">In the slab.</param>
    /// <param name="address">The object.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool TryPush(ThreadSheavesData* mine, int gate, uint sizeClass, uint offset, void* address)
    {
        Sheaf* sheaf = ThreadSheavesData.Sheaves(mine, 0) + sizeClass;
        return SizeClasses.IsMultiple(offset, sheaf->Reciprocal) && offset < sheaf->Limit && TryPush(mine, gate, sheaf, address);
    }

    /// <summary>As above, for what is known to be the head of an object.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool TryPush(ThreadSheavesData* mine, int gate, Sheaf* sheaf, void* address)
    {
        if (TryEnter(mine, gate))
        {
            uint count = (uint)sheaf->Count;
            ulong* top = sheaf->Entries + count;
            if (count < (uint)sheaf->High && top[-1] != (ulong)address)
            {
                *top = (ulong)address;
                sheaf->Count = (int)(count + 1);
                Volatile.Write(ref mine->Busy, 0);
                return true;
            }

            Volatile.Write(ref mine->Busy, 0);
        }

        return false;
    }

    /// <summary>Moves the oldest entries out. Its gate is shut, or its owner busy.</summary>
    public static unsafe void MoveOldest(Sheaf* sheaf, ulong* into, int count)
    {
        ulong* entries = sheaf->Entries;
        new ReadOnlySpan<ulong>(entries, count).CopyTo(new Span<ulong>(into, count));
        int left = sheaf->Count - count;
        new ReadOnlySpan<ulong>(entries + count, left).CopyTo(new Span<ulong>(entries, left));
        sheaf->Count = left;
    }

    /// <summary>Another thread wants in; it then calls <see cref="WaitUntilIdle"/> after the membarrier. Under the registry's lock.</summary>
    public unsafe void Freeze() => Volatile.Write(ref _data->Gate, 0);

    /// <summary>The owner may come back.</summary>
    public unsafe void Thaw() => Volatile.Write(ref _data->Gate, Heap.Id);

    /// <summary>Waits until the owner is not at work: it is for a few instructions at a time; a dead one never.</summary>
    public unsafe void WaitUntilIdle()
    {
        SpinWait spin = default;
        while (Volatile.Read(ref _data->Busy) != 0)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    /// <summary>Whether anything is kept. Without freezing: a hint.</summary>
    public bool LooksEmpty => Bytes == 0;

    /// <summary>Bytes kept. Without freezing: a hint.</summary>
    public unsafe long Bytes
    {
        get
        {
            long bytes = 0;
            for (int i = 0; i < SizeClasses.Count; i++)
            {
                bytes += (long)Volatile.Read(ref Of(i)->Count) * SizeClasses.Bytes(i);
            }

            return bytes;
        }
    }
}
