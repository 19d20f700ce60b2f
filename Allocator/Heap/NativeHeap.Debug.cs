using System;
using System.Runtime.InteropServices;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Debug mode, see <see cref="PageArenaOptions.DebugChecks"/>: every block goes and comes through here.</summary>
public sealed partial class NativeHeap
{
    /// <summary>Null but in debug mode.</summary>
    internal HeapDebug? Debug => _debug;

    private unsafe void* AllocateChecked(nuint bytes, nuint alignment, AllocationFlags flags)
    {
        nuint padded = HeapDebug.Padded(bytes);
        void* block = AllocateUnchecked(padded, alignment, flags);
        ObjectDisposedException.ThrowIf(!TryFind(block, out Slab slab), this); // it is the heap's, unless the heap has ended meanwhile
        _debug!.GivenOut(block, bytes, RoomOf(slab));
        return block;
    }

    /// <summary>A pointer that is known to head a block or an object is freed, if that is live.</summary>
    private unsafe void FreeChecked(void* block, Slab slab)
    {
        int sizeClass = (int)slab.Head->SizeClass;
        if (!_debug!.TryEnd((nuint)block, sizeClass))
        {
            ThrowNotABlock(block);
        }

        if (sizeClass == SizeClasses.Whole)
        {
            FreeWhole(slab.Head, block);
        }

        DrainQuarantine(all: false);
        _arena.Debug!.Reports.ThrowIfAny();
    }

    /// <summary>Lets objects go that were held back: all, or those for which there is no room. True: there was one.</summary>
    private unsafe bool DrainQuarantine(bool all)
    {
        bool any = false;
        while (_debug is HeapDebug debug && debug.TryTakeOldest(all, out HeldObject oldest))
        {
            ulong address = oldest.Address;
            _slabs.Give(oldest.SizeClass, &address, 1);
            any = true;
        }

        return any;
    }

    /// <summary>Gives back what lies about. True: there was something.</summary>
    private bool DrainAll() => DrainQuarantine(all: true) | _sheaves.DrainAll();

    /// <summary>With <see cref="PageArenaOptions.ZeroOnFree"/> an object that is freed, or the part of it that its user needs no more, reads zero at
    /// once. (Blocks given out whole are the arena's to zero.)</summary>
    private unsafe void ZeroFreed(void* block, nuint from, nuint to)
    {
        if (_arena.ZeroesFreed && to > from)
        {
            // Sound: the bytes lie in the block, and its user needs them no more.
            NativeMemory.Clear((byte*)block + from, to - from);
        }
    }

    private static unsafe nuint RoomOf(Slab slab) => slab.Head->SizeClass == SizeClasses.Whole
        ? (nuint)PageMap.PagesOf(slab.Head) << PageblockLimits.PageShift
        : (nuint)SizeClasses.Bytes((int)slab.Head->SizeClass);
}
