using System;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>Memory of any size from a <see cref="PageArena"/>, as malloc gives it: up to 32 KiB objects out of slabs (size classes in steps of
/// at most an eighth, 16 bytes below 128), above that whole pages. What is freed goes back to the arena slab by slab, and from there
/// to the operating system by itself.
/// <para>All members may be called from any thread; any thread may free what another has allocated. Each thread keeps up to 64 KiB of free
/// objects of a size class for (at least 16 objects, above 8 KiB 8); the arena's worker takes back what has rested there for
/// <see cref="AerationOptions.Delay"/>, and what a thread has left that ended. <see cref="Trim"/> takes back everything.</para>
/// <para>Heads of objects and blocks are told from other addresses by the arena's struct pages, so a bad pointer throws and changes nothing. An
/// object that is freed twice is told at once where it was the thread's last one of its size, and when it comes back to its slab
/// otherwise.</para>
/// <para>With the arena's <see cref="PageArenaOptions.DebugChecks"/> always at once, with the stacks of allocation and first free. Then each block
/// also has a canary of at least 16 bytes behind it, which Free, Reallocate and Verify look at, every Reallocate moves, and up to 1 MiB of freed
/// objects is held back, filled, and looked at when it leaves. With <see cref="PageArenaOptions.ZeroOnFree"/> what is freed reads zero at
/// once.</para>
/// <para>A heap takes nothing from outside of its arena: under <see cref="CapPolicy.FallBack"/> it throws at the cap.</para></summary>
public sealed partial class NativeHeap : IDisposable
{
    /// <summary>The largest alignment, 2 MiB.</summary>
    public const int MaxAlignment = 2 << 20;

    private const nuint DefaultAlignment = 16;
    private const int SlabShift = PageblockLimits.PageShift + SizeClasses.SlabOrder;
    private const int WideShift = PageblockLimits.PageShift + SizeClasses.WideOrder;

    private static int s_created;

    private readonly PageArena _arena;
    private readonly SlabLists _slabs;
    private readonly ThreadSheavesRegistry _sheaves;
    private readonly Lock _wholeLock = new(); // binds the owner of blocks given out whole to the heap's end
    private readonly byte[] _classOf; // pinned; indexed by sixteenths of a size, rounded up
    private readonly unsafe byte* _classes;
    private readonly unsafe byte* _base;
    private readonly PageMap _map;
    private readonly int _quickGate; // the heap's number; -1, which no gate and no struct page holds, where nothing takes the fast path
    private nuint _validBytes; // 0 once disposed, so that no pointer passes
    private readonly nuint _quickLimit; // sizes below take the fast path; 0 in debug mode
    private readonly HeapDebug? _debug;
    private long _wholeBytes;
    private int _disposed;

    /// <summary>A heap on this arena. Any number of heaps may share an arena. Costs nothing in the arena until it is used.</summary>
    /// <param name="arena">Where the memory comes from. One that is disposed before the heap gives nothing any more, and lives on until
    /// the heap is disposed, too.</param>
    /// <exception cref="ArgumentNullException"><paramref name="arena"/> is null.</exception>
    /// <exception cref="ObjectDisposedException">The arena was disposed.</exception>
    public unsafe NativeHeap(PageArena arena)
    {
        ArgumentNullException.ThrowIfNull(arena);
        arena.Pin(); // until the end: the struct pages stay readable
        _arena = arena;
        Id = Interlocked.Increment(ref s_created);
        _slabs = new SlabLists(arena, Id);
        _sheaves = new ThreadSheavesRegistry(this, _slabs);
        _base = arena.BaseAddress;
        _map = arena.Map;
        _quickGate = arena.HasChecks || arena.ZeroesFreed ? -1 : Id;
        _debug = arena.Debug is ArenaDebug debug ? new HeapDebug(debug, arena.FreedFill) : null;
        _quickLimit = _debug is null ? SizeClasses.MaxBytes + 1u : 0;
        _classOf = GC.AllocateArray<byte>((SizeClasses.MaxBytes >> SizeClasses.GrainShift) + 1, pinned: true);
        // Sound: the array is pinned for life, and this object keeps it.
        _classes = (byte*)Unsafe.AsPointer(ref _classOf[0]);
        for (int i = 1; i < _classOf.Length; i++)
        {
            _classOf[i] = (byte)SizeClasses.For(i << SizeClasses.GrainShift, (int)DefaultAlignment);
        }

        _validBytes = arena.SizeBytes;
        arena.Passing += Pass;
    }

    /// <summary>The heap's number in this process, from 1 on.</summary>
    internal int Id { get; }

    internal bool IsDisposed => Volatile.Read(ref _disposed) != 0;

    internal PageArena Arena => _arena;

    internal SlabLists Slabs => _slabs;

    internal ThreadSheavesRegistry Sheaves => _sheaves;

    /// <summary>Allocates. Contents are undefined.</summary>
    /// <param name="bytes">0 and above; 0 is taken for 1.</param>
    /// <param name="alignment">Of the address: a power of two, 1 to 2 MiB; less than 16 is taken for 16.</param>
    /// <exception cref="ArgumentOutOfRangeException">The alignment is none of the allowed.</exception>
    /// <exception cref="OutOfMemoryException">The arena has nothing left, even after all threads' free objects were given back to it.</exception>
    /// <exception cref="ObjectDisposedException">The heap or its arena was disposed.</exception>
    public unsafe void* Allocate(nuint bytes, nuint alignment = DefaultAlignment)
    {
        if (bytes < _quickLimit && alignment == DefaultAlignment)
        {
            uint sizeClass = _classes[(bytes + ((1u << SizeClasses.GrainShift) - 1)) >> SizeClasses.GrainShift];
            ThreadSheavesData* mine = ThreadSheaves.Mine;
            return mine != null && ThreadSheaves.TryPop(mine, _quickGate, sizeClass, out void* address) ? address : AllocateMissed((int)sizeClass);
        }

        return AllocateSlow(bytes, alignment, AllocationFlags.None);
    }

    /// <summary>As <see cref="Allocate"/>; the bytes asked for read zero. Whole pages that the arena knows to be zero are not written.</summary>
    /// <param name="bytes">0 and above.</param>
    /// <param name="alignment">A power of two, 1 to 2 MiB.</param>
    /// <exception cref="ArgumentOutOfRangeException">The alignment is none of the allowed.</exception>
    /// <exception cref="OutOfMemoryException">The arena has nothing left.</exception>
    /// <exception cref="ObjectDisposedException">The heap or its arena was disposed.</exception>
    public unsafe void* AllocateZeroed(nuint bytes, nuint alignment = DefaultAlignment)
    {
        if (IsWhole(bytes, alignment))
        {
            return AllocateSlow(bytes, alignment, AllocationFlags.Zeroed);
        }

        void* block = Allocate(bytes, alignment);
        NativeMemory.Clear(block, bytes);
        return block;
    }

    /// <summary>Changes the size of a block: in place where it has room, and where not more than half of it would lie idle; above 32 KiB
    /// also where the pages behind it are free, and by giving back those that it needs no more. Else its contents move to a new one, aligned to 16,
    /// and the old one is freed.</summary>
    /// <param name="block">What this heap has given out; null allocates.</param>
    /// <param name="bytes">0 and above; 0 is taken for 1.</param>
    /// <returns>The block; the bytes up to the lesser of both sizes are as before.</returns>
    /// <exception cref="ArgumentException">It is no block of this heap. Nothing changes.</exception>
    /// <exception cref="OutOfMemoryException">The arena has nothing left. The old block is as it was.</exception>
    /// <exception cref="InvalidOperationException">As <see cref="Free"/>; the old block is freed, and there is no new one.</exception>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public unsafe void* Reallocate(void* block, nuint bytes)
    {
        if (block == null)
        {
            return Allocate(bytes);
        }

        nuint usable = UsableSize(block);
        if (_debug is null)
        {
            if (bytes <= usable && bytes >= usable / 2)
            {
                ZeroFreed(block, bytes, usable);
                return block;
            }

            if (TryResizeWhole(block, bytes))
            {
                ZeroFreed(block, bytes, Math.Min(usable, UsableSize(block))); // in its last page
                return block;
            }
        }

        void* moved = Allocate(bytes);
        // Sound: both are blocks of at least so many bytes, and they are not the same.
        NativeMemory.Copy(block, moved, Math.Min(usable, bytes));
        try
        {
            Free(block);
        }
        catch
        {
            Free(moved); // nobody will ever hear of it
            throw;
        }

        return moved;
    }

    /// <summary>Frees. Any thread may.</summary>
    /// <param name="block">What this heap has given out and nobody uses any more. Null: nothing happens.</param>
    /// <exception cref="ArgumentException">It is no block of this heap: foreign, interior, misaligned, or seen to be free already.
    /// Nothing changes.</exception>
    /// <exception cref="InvalidOperationException">Another object, which was freed twice earlier, was found out now; or, in debug mode, a write past
    /// the end of a block or into a freed one. The block is freed.</exception>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public unsafe void Free(void* block)
    {
        ThreadSheavesData* mine = ThreadSheaves.Mine; // first: it may be a call, and what lives across a call costs a push and a pop
        nuint offset = unchecked((nuint)block - (nuint)_base);
        if (offset < _validBytes && mine != null)
        {
            // Sound: the page lies in the arena, and its struct page in the map, which is readable as long as the heap has anything.
            Page* head = _map[new Pfn((uint)(offset >> SlabShift) << SizeClasses.SlabOrder)];
            if (head->Heap == _quickGate && ThreadSheaves.TryPush(mine, _quickGate, head->SizeClass, (uint)offset & ((1u << SlabShift) - 1), block))
            {
                return;
            }
        }

        FreeSlow(block);
    }

    /// <summary>Bytes that a block has: at least as many as were asked for; in debug mode just as many.</summary>
    /// <param name="block">What this heap has given out.</param>
    /// <exception cref="ArgumentException">It is no block of this heap.</exception>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public unsafe nuint UsableSize(void* block)
    {
        if (!TryFind(block, out Slab slab))
        {
            ThrowNotABlock(block);
        }

        if (_debug is null)
        {
            return RoomOf(slab);
        }

        if (!_debug.TryGetAsked((nuint)block, out nuint asked))
        {
            ThrowNotABlock(block);
        }

        return asked;
    }

    /// <summary>Gives all free objects that threads keep back to their slabs, and the slabs that are empty then to the arena. Threads go on
    /// meanwhile. (The arena's own <see cref="PageArena.Trim"/> then treats the pages.)</summary>
    /// <exception cref="ObjectDisposedException">The heap was disposed.</exception>
    public void Trim()
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        DrainAll();
        _arena.Debug?.Reports.ThrowIfAny();
    }

    /// <summary>Gives every page back to the arena, also of what is still in use: nobody may touch it any more. Harmless when repeated.
    /// Everything else throws <see cref="ObjectDisposedException"/> from now on.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        _validBytes = 0;
        _arena.Passing -= Pass;
        _sheaves.Close();
        _slabs.Close();
        ReleaseEverything();
        _arena.Unpin();
    }

    private void Pass()
    {
        if (!IsDisposed)
        {
            _sheaves.DrainRested();
        }
    }

    /// <summary>The slab or whole block that an address is the head of, or of one of whose objects. False: it is no such head.</summary>
    private unsafe bool TryFind(void* block, out Slab slab)
    {
        nuint offset = unchecked((nuint)block - (nuint)_base);
        slab = default;
        if (offset >= _validBytes)
        {
            return false;
        }

        // Sound: as in Free. What is found is this heap's only where the head says so, and a wide slab only where its class is one.
        int shift = SlabShift;
        Page* head = _map[Pfn.FromByteOffset(offset >> shift << shift)];
        if (head->Heap != Id)
        {
            shift = WideShift;
            head = _map[Pfn.FromByteOffset(offset >> shift << shift)];
            if (head->Heap != Id || head->SizeClass >= SizeClasses.Count || SizeClasses.Order((int)head->SizeClass) != SizeClasses.WideOrder)
            {
                return false;
            }
        }

        uint into = (uint)(offset & (((nuint)1 << shift) - 1));
        slab = new Slab(head);
        return head->SizeClass >= SizeClasses.Count ? into == 0 : SizeClasses.IsHead((int)head->SizeClass, into, out _);
    }

    private static bool IsWhole(nuint bytes, nuint alignment) => bytes > SizeClasses.MaxBytes || alignment > SizeClasses.MaxBytes;

    private static void CheckAlignment(nuint alignment)
    {
        if (!BitOperations.IsPow2(alignment) || alignment > MaxAlignment)
        {
            throw new ArgumentOutOfRangeException(nameof(alignment), alignment, "allowed: a power of two, 1 to 2097152 (2 MiB).");
        }
    }
}
