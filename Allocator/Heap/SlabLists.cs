using System;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The slabs of a heap, a list for each size class, shared by all threads. Objects come and go in batches: one hold of the class's
/// lock for as many as a thread's sheaf takes or gives at once, bounded work each. A new slab is got, and an empty one given back,
/// outside the lock.
/// <code>
/// a slab is on its class's partial list  =  0 &lt; free_objects &lt; capacity
/// an empty slab (free_objects = capacity) goes back to the arena at once; a full one is on no list
/// nr_slabs, nr_free, nr_partial of a class  =  slabs, free objects, slabs on the list
/// </code></summary>
internal sealed class SlabLists
{
    private readonly PageArena _arena;
    private readonly int _heap;
    private readonly byte[] _storage; // pinned: the list heads below stay where they are
    private readonly unsafe SlabClass* _classes;
    private bool _closed; // written and read under a class's lock

    /// <summary>No slabs.</summary>
    public unsafe SlabLists(PageArena arena, int heap)
    {
        _arena = arena;
        _heap = heap;
        _storage = GC.AllocateArray<byte>((SizeClasses.Count * SlabClass.SizeInBytes) + SlabClass.Alignment, pinned: true);
        // Sound: the array is pinned for life and long enough for the structs and their alignment.
        nint start = (nint)Unsafe.AsPointer(ref _storage[0]);
        _classes = (SlabClass*)((start + SlabClass.Alignment - 1) & ~(nint)(SlabClass.Alignment - 1));
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            _classes[i].Index = (uint)i;
            ListHeads.Init(&_classes[i].Partial);
        }
    }

    /// <summary>A size class. Its numbers are hints without the lock.</summary>
    public unsafe SlabClass* Class(int sizeClass) => _classes + sizeClass;

    /// <summary>Takes objects from slabs that have free ones; where there is none, from a new slab.</summary>
    /// <returns>How many; 0: the arena has no block for a slab.</returns>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public unsafe int Take(int sizeClass, ulong* into, int most)
    {
        SlabClass* slabs = _classes + sizeClass;
        uint size = (uint)SizeClasses.Bytes(sizeClass);
        int taken = 0;
        if (Volatile.Read(ref slabs->NrPartial) == 0)
        {
            return TakeFromNew(slabs, size, into, most); // the usual case while memory grows: one lock hold for a slab, not two
        }

        Enter(slabs);
        while (taken < most && !ListHeads.IsEmpty(&slabs->Partial))
        {
            Slab slab = new(PageMap.PageOf(slabs->Partial.Next));
            taken += slab.Take(AddressOf(slab), size, into + taken, most - taken);
            if (slab.Free == 0)
            {
                RemovePartial(slabs, slab);
            }
        }

        slabs->NrFree -= (ulong)taken;
        Exit(slabs);
        return taken != 0 ? taken : TakeFromNew(slabs, size, into, most);
    }

    /// <summary>Objects come back to their slabs; slabs that are empty then go back to the arena.</summary>
    /// <param name="sizeClass">Of all of them.</param>
    /// <param name="objects">Addresses of heads of objects of this heap.</param>
    /// <param name="count">How many.</param>
    /// <returns>0, or the address of one that was free already; all others were given back.</returns>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public unsafe ulong Give(int sizeClass, ulong* objects, int count)
    {
        SlabClass* slabs = _classes + sizeClass;
        uint reciprocal = SizeClasses.Reciprocal(sizeClass);
        uint capacity = (uint)SizeClasses.Capacity(sizeClass);
        int order = SizeClasses.Order(sizeClass);
        ListHead* empty = null;
        ulong twice = 0;
        Enter(slabs);
        for (int done = 0; done < count;)
        {
            Slab slab = SlabOf(objects[done], order, out uint offset);
            if (slab.Head->Heap != _heap || slab.Head->SizeClass != sizeClass)
            {
                twice = objects[done++]; // its slab has become empty and gone back already
                continue;
            }

            uint before = slab.Free;
            done += slab.Give(objects[done] - offset, new Order(order).Bytes, reciprocal, objects + done, count - done, ref twice);
            slabs->NrFree += slab.Free - before;
            Relist(slabs, slab, before, capacity, ref empty);
        }

        Exit(slabs);
        FreeAll(empty);
        return twice;
    }

    /// <summary>From now on whoever asks is told that the heap is disposed. When this returns, nobody is inside any more.</summary>
    public unsafe void Close()
    {
        LockAll();
        _closed = true;
        UnlockAll();
    }

    /// <summary>Locks every class, in ascending order.</summary>
    public unsafe void LockAll()
    {
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            ZoneLock.Enter(ref _classes[i].Lock);
        }
    }

    /// <summary>The counterpart.</summary>
    public unsafe void UnlockAll()
    {
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            ZoneLock.Exit(ref _classes[i].Lock);
        }
    }

    /// <summary>The slab of an object that is known to be one, and where in it the object lies.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe Slab SlabOf(ulong address, int order, out uint offset)
    {
        ulong from = address - (ulong)_arena.BaseAddress;
        ulong mask = (ulong)PageblockLimits.PageSize << order;
        offset = (uint)(from & (mask - 1));
        return new Slab(_arena.Map[Pfn.FromByteOffset((nuint)(from - offset))]);
    }

    /// <summary>Address of the first byte of a slab.</summary>
    public unsafe ulong AddressOf(Slab slab) => (ulong)_arena.BaseAddress + _arena.Map.PfnOf(slab.Head).ByteOffset;

    /// <summary>A new slab. Its first objects are taken before anybody else can know it.</summary>
    private unsafe int TakeFromNew(SlabClass* slabs, uint size, ulong* into, int most)
    {
        int sizeClass = (int)slabs->Index;
        if (!_arena.TryAllocatePages(SizeClasses.Order(sizeClass), out void* block))
        {
            return 0;
        }

        if (!_arena.Contains(block))
        {
            _arena.FreeQuietly(block); // CapPolicy.FallBack: it has no struct page, where a slab's state would stand
            return 0;
        }

        Slab slab = SlabOf((ulong)block, SizeClasses.Order(sizeClass), out _);
        Page* head = slab.Head;
        uint capacity = (uint)SizeClasses.Capacity(sizeClass);
        Volatile.Write(ref *(ulong*)&head->Flags, (ulong)(head->Flags | PageFlags.Slab)); // before the bits are written: see ZoneWalk
        slab.FillWhole((int)capacity);
        int taken = slab.Take((ulong)block, size, into, most);
        ZoneLock.Enter(ref slabs->Lock);
        if (_closed)
        {
            Exit(slabs);
            Disown(slab, (int)capacity);
            _arena.FreeQuietly(block);
            ThrowDisposed();
        }

        head->SizeClass = (ushort)slabs->Index;
        head->Heap = _heap;
        head->State = PageState.Heap;
        slabs->NrSlabs++;
        slabs->NrFree += slab.Free;
        if (slab.Free != 0)
        {
            ListHeads.AddTail(PageMap.NodeOf(head), &slabs->Partial);
            slabs->NrPartial++;
        }

        Exit(slabs);
        return taken;
    }

    /// <summary>Puts a slab where it belongs after objects have come back to it. One that was full comes first: the fullest slabs are filled
    /// first, so that the others can become empty. One that is empty is the heap's no longer, and waits for the end of the lock
    /// hold on a chain through its links.</summary>
    private static unsafe void Relist(SlabClass* slabs, Slab slab, uint before, uint capacity, ref ListHead* chain)
    {
        ListHead* node = PageMap.NodeOf(slab.Head);
        bool isEmpty = slab.Free == capacity;
        if (before != 0 && isEmpty)
        {
            RemovePartial(slabs, slab);
        }
        else if (before == 0 && !isEmpty && slab.Free != 0)
        {
            ListHeads.AddHead(node, &slabs->Partial);
            slabs->NrPartial++;
        }

        if (isEmpty)
        {
            slabs->NrFree -= capacity;
            slabs->NrSlabs--;
            Disown(slab, (int)capacity);
            node->Next = chain;
            chain = node;
        }
    }

    /// <summary>Makes the struct pages of a slab those of a block of the arena's user.</summary>
    public static unsafe void Disown(Slab slab, int capacity)
    {
        Page* head = slab.Head;
        slab.Wipe(capacity);
        Volatile.Write(ref *(ulong*)&head->Flags, (ulong)(head->Flags & ~PageFlags.Slab));
        head->MemCgroup = 0;
        head->State = PageState.User;
    }

    private unsafe void FreeAll(ListHead* chain)
    {
        while (chain != null)
        {
            ListHead* next = chain->Next;
            *chain = default;
            _arena.FreeQuietly((void*)AddressOf(new Slab(PageMap.PageOf(chain))));
            chain = next;
        }
    }

    private static unsafe void RemovePartial(SlabClass* slabs, Slab slab)
    {
        ListHeads.Remove(PageMap.NodeOf(slab.Head));
        slabs->NrPartial--;
    }

    private unsafe void Enter(SlabClass* slabs)
    {
        ZoneLock.Enter(ref slabs->Lock);
        if (_closed)
        {
            Exit(slabs);
            ThrowDisposed();
        }
    }

    private static unsafe void Exit(SlabClass* slabs) => ZoneLock.Exit(ref slabs->Lock);

    private static void ThrowDisposed() => throw new ObjectDisposedException(nameof(NativeHeap));
}
