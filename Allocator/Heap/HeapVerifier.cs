using System.Collections.Generic;
using System.Numerics;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Recomputes every equation of a heap. The caller has frozen the threads' sheaves and holds every class's lock. Throws at the
/// first equation that does not hold.</summary>
internal sealed class HeapVerifier
{
    private readonly NativeHeap _heap;
    private readonly ulong[] _slabs = new ulong[SizeClasses.Count];
    private readonly ulong[] _free = new ulong[SizeClasses.Count];
    private readonly ulong[] _partial = new ulong[SizeClasses.Count];
    private long _wholeBytes;
    private ulong _out;

    public HeapVerifier(NativeHeap heap) => _heap = heap;

    /// <summary>All slabs, then their lists, then the sheaves.</summary>
    public void Verify(IReadOnlyList<ThreadSheaves> threads, long wholeBytes)
    {
        HeapWalk.Run(_heap.Arena, _heap.Id, VerifyHead);
        ArenaVerifier.Require(_wholeBytes == wholeBytes, "whole bytes == sum of blocks given out whole", (ulong)wholeBytes, (ulong)_wholeBytes);
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            VerifyClass(i);
        }

        ulong known = _heap.Debug?.Blocks ?? 0;
        ArenaVerifier.Require(_out >= known, "objects out of slabs and whole blocks >= live and held back ones", _out, known);
        HashSet<ulong> seen = [];
        foreach (ThreadSheaves one in threads)
        {
            VerifySheaves(one, seen);
        }
    }

    private unsafe void VerifyHead(Slab slab)
    {
        Page* head = slab.Head;
        Pfn pfn = _heap.Arena.Map.PfnOf(head);
        ArenaVerifier.Require(head->State == PageState.Heap, $"{pfn} with a heap's number says Heap", head->State, PageState.Heap);
        bool isSlab = head->SizeClass < SizeClasses.Count;
        ArenaVerifier.Require(isSlab == ((head->Flags & PageFlags.Slab) != 0), $"{pfn} has a size class exactly if it says Slab", head->SizeClass, (ulong)head->Flags);
        if (!isSlab)
        {
            ArenaVerifier.Require(head->SizeClass == SizeClasses.Whole, $"size class of {pfn} is one", head->SizeClass, SizeClasses.Whole);
            _wholeBytes += (long)PageMap.PagesOf(head) << PageblockLimits.PageShift;
            _out++;
            return;
        }

        int sizeClass = (int)head->SizeClass;
        uint capacity = (uint)SizeClasses.Capacity(sizeClass);
        int order = SizeClasses.Order(sizeClass);
        ArenaVerifier.Require(head->Private == (ulong)order && pfn.IsAligned(new Order(order)), $"slab at {pfn} has the order of its class", head->Private, (ulong)order);
        VerifyBits(slab, pfn, capacity);
        ArenaVerifier.Require(slab.Free < capacity, $"slab at {pfn} is not empty", slab.Free, capacity);
        _slabs[sizeClass]++;
        _out += capacity - slab.Free;
        _free[sizeClass] += slab.Free;
        _partial[sizeClass] += slab.Free != 0 ? 1u : 0u;
    }

    private static unsafe void VerifyBits(Slab slab, Pfn pfn, uint capacity)
    {
        uint free = 0;
        ulong groups = 0;
        for (uint group = 0; group << 6 < capacity; group++)
        {
            ulong bits = *slab.Word(group);
            uint left = capacity - (group << 6);
            ArenaVerifier.Require(left >= 64 || bits >> (int)left == 0, $"slab at {pfn} has no free object at or above its capacity", bits, capacity);
            free += (uint)BitOperations.PopCount(bits);
            groups |= bits != 0 ? 1ul << (int)group : 0;
        }

        ArenaVerifier.Require(slab.Free == free, $"free_objects of the slab at {pfn} == bits of its words", slab.Free, free);
        ArenaVerifier.Require(*slab.Groups == groups, $"groups of the slab at {pfn} == words that are not 0", *slab.Groups, groups);
    }

    private unsafe void VerifyClass(int sizeClass)
    {
        SlabClass* one = _heap.Slabs.Class(sizeClass);
        ulong onList = 0;
        ListHead* before = &one->Partial;
        for (ListHead* node = before->Next; node != &one->Partial; node = node->Next)
        {
            Page* head = PageMap.PageOf(node);
            ArenaVerifier.Require(node->Prev == before, $"links of the partial list of class {sizeClass} agree", (ulong)node->Prev, (ulong)before);
            before = node;
            bool belongs = head->Heap == _heap.Id && head->SizeClass == (uint)sizeClass && head->FreeObjects != 0;
            ArenaVerifier.Require(belongs, $"a slab on the partial list of class {sizeClass} is of it and has free objects", head->SizeClass, head->FreeObjects);
            onList++;
        }

        ArenaVerifier.Require(onList == _partial[sizeClass], $"partial list of class {sizeClass} == slabs with free objects", onList, _partial[sizeClass]);
        ArenaVerifier.Require(one->NrPartial == onList, $"nr_partial of class {sizeClass} == length of its list", one->NrPartial, onList);
        ArenaVerifier.Require(one->NrSlabs == _slabs[sizeClass], $"nr_slabs of class {sizeClass} == its slabs", one->NrSlabs, _slabs[sizeClass]);
        ArenaVerifier.Require(one->NrFree == _free[sizeClass], $"nr_free of class {sizeClass} == free objects of its slabs", one->NrFree, _free[sizeClass]);
    }

    private unsafe void VerifySheaves(ThreadSheaves sheaves, HashSet<ulong> seen)
    {
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            Sheaf* sheaf = sheaves.Of(i);
            ArenaVerifier.Require(sheaf->Count >= 0 && sheaf->Count <= sheaf->High,
                $"0 <= count <= high of a sheaf of class {i}", (ulong)sheaf->Count, (ulong)sheaf->High);
            for (int entry = 0; entry < sheaf->Count; entry++)
            {
                ulong address = sheaf->Entries[entry];
                Slab slab = _heap.Slabs.SlabOf(address, SizeClasses.Order(i), out uint offset);
                bool isHead = SizeClasses.IsHead(i, offset, out uint index);
                bool belongs = isHead && slab.Head->Heap == _heap.Id && slab.Head->SizeClass == (uint)i;
                ArenaVerifier.Require(belongs, $"an entry of a sheaf of class {i} is an object of it", address, slab.Head->SizeClass);
                ArenaVerifier.Require(!slab.IsFree(index), $"an object in a sheaf of class {i} is out of its slab", address, index);
                ArenaVerifier.Require(seen.Add(address), $"an object in a sheaf of class {i} is in no other place", address, (ulong)entry);
            }
        }
    }
}
