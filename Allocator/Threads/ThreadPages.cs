using System;
using System.Runtime.CompilerServices;
using System.Threading;
using LowLevel.Native;

namespace LowLevel.Allocator;

/// <summary>The blocks that one thread keeps of one arena (the kernel's per_cpu_pages): a stack for each order and type. Its owner
/// works on it without a lock: it says busy, looks whether somebody has frozen it, and does its work. Who wants to drain it from
/// outside says frozen, makes every processor see that (membarrier), and waits until the owner is not busy; from then on the owner
/// goes to the zones instead. No interlocked operation on the owner's side.
/// <code>
/// owner:   busy = 1;   frozen?  yes: busy = 0, go to the zone      no: push or pop;  busy = 0
/// drainer: frozen = 1; membarrier; wait for busy == 0; drain; frozen = 0
/// </code>
/// The drainer holds no zone lock while it waits, so an owner that waits for a zone lock while busy gets it. Entries are Cached in
/// their struct page and keep their marks.</summary>
internal sealed class ThreadPages
{
    [ThreadStatic]
    private static ThreadPages? t_last;

    private readonly byte[] _storage; // pinned: the struct below stays where it is, and lives as long as anybody knows this object
    private readonly unsafe ThreadPagesData* _data;

    /// <summary>Empty pages for a thread.</summary>
    public unsafe ThreadPages(PageArena arena, Thread owner, int preferredZone)
    {
        Arena = arena;
        Owner = owner;
        PreferredZone = preferredZone;
        int entries = ThreadPagesLimits.EntriesPerType * MigrateTypes.PcpTypes;
        _storage = GC.AllocateArray<byte>(ThreadPagesData.SizeInBytes + (entries * sizeof(uint)) + ThreadPagesData.Alignment, pinned: true);
        // Sound: the array is pinned for life and long enough for the struct, its alignment and all entries.
        nint start = (nint)Unsafe.AsPointer(ref _storage[0]);
        _data = (ThreadPagesData*)((start + ThreadPagesData.Alignment - 1) & ~(nint)(ThreadPagesData.Alignment - 1));
        uint* next = (uint*)((byte*)_data + ThreadPagesData.SizeInBytes);
        for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
        {
            for (int type = 0; type < MigrateTypes.PcpTypes; type++)
            {
                ThreadBin* bin = Bin(new Order(order), (MigrateType)type);
                bin->Entries = next;
                bin->High = ThreadPagesLimits.High(order);
                bin->Batch = ThreadPagesLimits.Batch(order);
                next += bin->High;
            }
        }
    }

    /// <summary>The arena that the blocks are from.</summary>
    public PageArena Arena { get; }

    /// <summary>The thread that may touch it without freezing.</summary>
    public Thread Owner { get; }

    /// <summary>The zone that this thread asks first.</summary>
    public int PreferredZone { get; }

    /// <summary>The pages of the calling thread for the arena that it used last; null before its first use of any.</summary>
    public static ThreadPages? Last
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => t_last;
        set => t_last = value;
    }

    /// <summary>Bytes that one thread's pages take.</summary>
    public int SizeBytes => _storage.Length;

    /// <summary>The stack of one order and type.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe ThreadBin* Bin(Order order, MigrateType type) =>
        ThreadPagesData.Bins(_data, (order.Value * MigrateTypes.PcpTypes) + (int)type);

    /// <summary>The owner begins. False: frozen, hands off.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe bool TryEnter()
    {
        // The processor may let the read pass the write; the drainer's membarrier makes up for it, so that no fence is paid here.
        Volatile.Write(ref _data->Busy, 1);
        if (Volatile.Read(ref _data->Frozen) == 0)
        {
            return true;
        }

        Volatile.Write(ref _data->Busy, 0);
        return false;
    }

    /// <summary>The owner has done.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe void Exit() => Volatile.Write(ref _data->Busy, 0);

    /// <summary>Takes the youngest block. The owner's fast path.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe bool TryPop(PageMap map, Order order, MigrateType type, out Pfn pfn)
    {
        if (TryEnter())
        {
            ThreadBin* bin = Bin(order, type);
            int count = bin->Count;
            if (count != 0)
            {
                pfn = new Pfn(bin->Entries[count - 1]);
                bin->Count = (ushort)(count - 1);
                map[pfn]->State = PageState.User; // ends Cached, Treated and Zero in one store
                Exit();
                return true;
            }

            Exit();
        }

        pfn = default;
        return false;
    }

    /// <summary>Keeps a block that its user gives back. False: no room, frozen, or a pageblock type that threads do not keep. The
    /// owner's fast path; the caller has seen that the block is the user's.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe bool TryPush(Page* head, Pfn pfn, MigrateType type, ulong epoch)
    {
        if (TryEnter())
        {
            ThreadBin* bin = Bin(new Order((int)head->Private), type);
            int count = bin->Count;
            if (count < bin->High)
            {
                bin->Entries[count] = pfn.Value;
                bin->Count = (ushort)(count + 1);
                head->FreedAt = epoch;
                head->State = CachedState;
                Exit();
                return true;
            }

            Exit();
        }

        return false;
    }

    /// <summary>The state word of a block in a thread's pages that carries no mark.</summary>
    public const ulong CachedState = 0xffff_ffff & ~(ulong)PageType.CachedBit;

    /// <summary>Another thread wants in; it then calls <see cref="WaitUntilIdle"/> after the membarrier. Under the registry's lock.</summary>
    public unsafe void Freeze() => Volatile.Write(ref _data->Frozen, 1);

    /// <summary>The owner may come back.</summary>
    public unsafe void Thaw() => Volatile.Write(ref _data->Frozen, 0);

    /// <summary>Waits until the owner is not at work. It is for a few instructions, or for a refill, at a time; a dead one never.</summary>
    public unsafe void WaitUntilIdle()
    {
        SpinWait spin = default;
        while (Volatile.Read(ref _data->Busy) != 0)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }

    /// <summary>Whether anything is kept. Without freezing: a hint.</summary>
    public bool LooksEmpty => Pages == 0;

    /// <summary>Pages kept. Without freezing: a hint.</summary>
    public unsafe long Pages
    {
        get
        {
            long pages = 0;
            for (int order = 0; order <= PageblockLimits.MaxOrder; order++)
            {
                for (int type = 0; type < MigrateTypes.PcpTypes; type++)
                {
                    pages += (long)Volatile.Read(ref Bin(new Order(order), (MigrateType)type)->Count) << order;
                }
            }

            return pages;
        }
    }

    /// <summary>Removes the oldest entries of a stack. Frozen, or by the owner while busy.</summary>
    public static unsafe void DropOldest(ThreadBin* bin, int count)
    {
        int left = bin->Count - count;
        Buffer.MemoryCopy(bin->Entries + count, bin->Entries, (long)left * sizeof(uint), (long)left * sizeof(uint));
        bin->Count = (ushort)left;
    }
}
