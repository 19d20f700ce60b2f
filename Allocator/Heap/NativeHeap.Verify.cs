using System;
using LowLevel.Native;

namespace LowLevel.Allocator;

public sealed partial class NativeHeap
{
    /// <summary>Where every byte is. Walks the size classes, not the slabs.</summary>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public unsafe HeapStatistics GetStatistics()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        (long slabs, long partial, long slabsBytes, long free, long objects) = (0, 0, 0, 0, 0);
        for (int i = 0; i < SizeClasses.Count; i++)
        {
            SlabClass* one = _slabs.Class(i);
            long count = (long)one->NrSlabs;
            slabs += count;
            partial += (long)one->NrPartial;
            slabsBytes += count * (long)new Order(SizeClasses.Order(i)).Bytes;
            free += (long)one->NrFree * SizeClasses.Bytes(i);
            objects += count * SizeClasses.Capacity(i) * SizeClasses.Bytes(i);
        }

        long inSheaves = _sheaves.Sum(static one => one.Bytes);
        (long live, long heldBack) = _debug?.Count() ?? default;
        return new HeapStatistics
        {
            AllocatedBytes = _debug is null ? objects - free - inSheaves + _wholeBytes : live,
            WholeBytes = _wholeBytes,
            SheavesBytes = inSheaves,
            FreeBytes = free,
            HeldBackBytes = heldBack,
            SlabsBytes = slabsBytes,
            Slabs = slabs,
            PartialSlabs = partial,
            MetadataBytes = _sheaves.Sum(static one => one.SizeBytes) + (SizeClasses.Count * SlabClass.SizeInBytes) + _classOf.Length,
        };
    }

    /// <summary>Recomputes every invariant, at any time; the threads' sheaves are frozen and the size classes locked meanwhile. Looks at
    /// each slab of the heap.
    /// <code>
    /// of each slab:   free_objects = bits set in its words, bit g of its groups = word g is not 0, no bit at or above capacity
    ///                 0 &lt;= free_objects &lt; capacity;  on its class's partial list if and only if free_objects is not 0
    /// of each class:  nr_slabs = slabs, nr_free = sum of free_objects, nr_partial = length of the list
    /// of each sheaf:  0 &lt;= count &lt;= high;  each entry is an object of the class, not free in its slab, and in no other place of any sheaf
    /// whole bytes     = sum of the blocks given out whole
    /// </code>
    /// In debug mode also every canary, and what is held back.</summary>
    /// <exception cref="InvalidOperationException">An equation does not hold; the message gives it and its values. Or debug mode has found
    /// something.</exception>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public void Verify()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        _sheaves.WhileFrozen(threads =>
        {
            lock (_wholeLock)
            {
                _slabs.LockAll();
                try
                {
                    new HeapVerifier(this).Verify(threads, _wholeBytes);
                    _debug?.Look();
                }
                finally
                {
                    _slabs.UnlockAll();
                }
            }
        });
        _arena.Debug?.Reports.ThrowIfAny();
    }
}
