using System;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The free objects that one thread keeps of one heap, a sheaf for each size class (the kernel's slab_sheaf of Linux 6.18, which
/// took the place of its per-cpu slabs).
/// <code>
/// 0 &lt;= count &lt;= high of each sheaf;  each entry is an object that is out of its slab, in no other sheaf and with no user
/// </code></summary>
internal sealed class ThreadSheaves : ThreadCache
{
    [ThreadStatic]
    private static ThreadSheaves? t_last;

    [ThreadStatic]
    private static unsafe ThreadSheavesData* t_mine; // the data of t_last

    private readonly unsafe ThreadSheavesData* _data;

    /// <summary>Empty sheaves for a thread, shut.</summary>
    public unsafe ThreadSheaves(NativeHeap heap, Thread owner)
        : base(owner, heap.Id, ThreadSheavesData.SizeInBytes, ThreadSheavesData.Alignment, EntryWords * sizeof(ulong))
    {
        Heap = heap;
        _data = (ThreadSheavesData*)Data;
        ulong* next = (ulong*)((byte*)_data + ThreadSheavesData.SizeInBytes);
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            Sheaf* sheaf = Of(i);
            *next = 0; // is never the address of an object: an empty sheaf has none on top
            sheaf->Entries = next + 1;
            sheaf->High = SizeClasses.SheafEntries(i);
            sheaf->Reciprocal = SizeClasses.Reciprocal(i);
            sheaf->Limit = (uint)(SizeClasses.Capacity(i) * SizeClasses.Bytes(i));
            next += sheaf->High + 1;
        }
    }

    /// <summary>The entries of all sheaves, and a word before each sheaf's first.</summary>
    private static int EntryWords => Enumerable.Range(0, SizeClasses.Count).Sum(i => SizeClasses.SheafEntries(i) + 1);

    /// <summary>The heap that the objects are from.</summary>
    public NativeHeap Heap { get; }

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
    public int SizeBytes => Storage.Length;

    /// <summary>The sheaf of a size class.</summary>
    public unsafe Sheaf* Of(int sizeClass) => ThreadSheavesData.Sheaves(_data, 0) + sizeClass;

    /// <summary>Takes the youngest object. The fast path of allocation.</summary>
    /// <param name="mine">The calling thread's <see cref="Mine"/>, not null; it may be another heap's.</param>
    /// <param name="gate">The heap's number.</param>
    /// <param name="sizeClass">Below <see cref="SizeClasses.Count"/>.</param>
    /// <param name="address">The object.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static unsafe bool TryPop(ThreadSheavesData* mine, int gate, uint sizeClass, out void* address)
    {
        if (TryEnter(&mine->Gate, gate))
        {
            Sheaf* sheaf = ThreadSheavesData.Sheaves(mine, 0) + sizeClass;
            uint count = (uint)sheaf->Count;
            if (count != 0)
            {
                count--;
                address = (void*)sheaf->Entries[count];
                SchedulePoint.Here();
                sheaf->Count = (int)count;
                Exit(&mine->Gate);
                return true;
            }

            Exit(&mine->Gate);
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
        if (TryEnter(&mine->Gate, gate))
        {
            uint count = (uint)sheaf->Count;
            ulong* top = sheaf->Entries + count;
            if (count < (uint)sheaf->High && top[-1] != (ulong)address)
            {
                *top = (ulong)address;
                SchedulePoint.Here();
                sheaf->Count = (int)(count + 1);
                Exit(&mine->Gate);
                return true;
            }

            Exit(&mine->Gate);
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

    /// <inheritdoc/>
    public override bool LooksEmpty => Bytes == 0;

    /// <inheritdoc/>
    public override bool IsOrphan => Heap.IsDisposed;

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
