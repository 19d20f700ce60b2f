using System;
using System.Buffers;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Heap;
using LowLevel.Tests.Interop.Linux;

namespace LowLevel.Tests.Allocator.Debugging;

/// <summary>What a hostile caller does, each on an arena of its own, and in words what came of it: the rows of SECURITY.md's table.</summary>
internal static class HostileActs
{
    /// <summary>The acts, in the order of the table.</summary>
    public static IReadOnlyList<(string Name, Func<bool, string> Run)> All { get; } = [.. Frees, .. Uses, .. HeapFrees, .. HeapUses, .. Ends];

    private static (string Name, Func<bool, string> Run)[] Frees =>
    [
        ("frees 0, 1, 4095 or -1", checks => OnArena(checks, p => Each([0, 1, 4095, -1], at => Free(p, at)))),
        ("frees a pointer into a block, aligned to a page or not", checks => OnArena(checks, p =>
        {
            nint block = Take(p, 3);
            return Each([block + 1, block + 4096, block + (7 << 12), block - 1], at => Free(p, at));
        })),
        ("frees memory of the stack, of malloc or of a pinned array", Foreign),
        ("frees a block that was never allocated", checks => OnArena(checks, p => Free(p, Take(p, 0) + (1 << 20)))),
        ("frees a block of another arena", checks => OnArena(checks, p =>
        {
            using ArenaProbe other = new(8);
            return Free(p, Take(other, 2));
        })),
        ("frees a block twice", checks => OnArena(checks, p => Free(p, Freed(p, Take(p, 2))))),
        ("frees a range twice", checks => OnArena(checks, p => Free(p, Freed(p, TakeRange(p, 1500))))),
        ("frees a block again when it could belong to somebody else by now", checks => OnArena(checks, p =>
        {
            nint block = Freed(p, Take(p, 2));
            Take(p, 2);
            return Free(p, block);
        })),
    ];

    private static (string Name, Func<bool, string> Run)[] Uses =>
    [
        ("reads a freed block", checks => OnArena(checks, p => UserMemory.CanRead(Freed(p, Take(p, 2))) ? "not detected" : Fault)),
        ("writes into a freed block", checks => OnArena(checks, p => Write(p, Freed(p, Take(p, 2))))),
        ("the same, where mprotect is refused", checks => OnArena(checks, p => Write(p, Freed(p, Take(p, 2))), refuseProtect: true)),
        ("writes into a freed block when it could belong to somebody else by now", checks => OnArena(checks, p =>
        {
            nint block = Freed(p, Take(p, 2));
            Take(p, 2);
            return Write(p, block);
        })),
        ("writes past the end of a block into the next one", checks => OnArena(checks, p =>
        {
            nint first = Take(p, 0);
            Take(p, 0);
            return Write(p, first + 4096);
        })),
        ("writes past the last block of the arena, or before its first", checks => OnArena(checks, p =>
            Each([Take(p, 0) - 1, Address(p) + (nint)p.Arena.SizeBytes], at => Write(p, at)))),
        ("asks for an order, a type or flags that do not exist, or for no bytes", BadArguments),
        ("asks for more than there is", checks => OnArena(checks, p => Each([-1, 1 << 30], bytes => Outcome(p, () => TakeBytes(p, bytes))))),
    ];

    private static (string Name, Func<bool, string> Run)[] HeapFrees =>
    [
        ("gives the arena what a heap has", checks => OnHeap(checks, p => Each([p.Take(100_000), p.Take(16) & ~0xffff], at => Free(p.Pages, at)))),
        ("gives a heap what is the arena's", checks => OnHeap(checks, p => Free(p, Take(p.Pages, 2)))),
        ("gives a heap what another heap has", checks => OnHeap(checks, p =>
        {
            using HeapProbe other = new(8);
            using NativeHeap sibling = new(p.Arena);
            unsafe
            {
                return Each([other.Take(64), (nint)sibling.Allocate(64), (nint)sibling.Allocate(100_000)], at => Free(p, at));
            }
        })),
        ("gives a heap a pointer into an object, or one that is nothing", checks => OnHeap(checks, p =>
        {
            nint block = p.Take(100);
            return Each([block + 1, block + 16, block - 1, 1, 4095, -1], at => Free(p, at));
        })),
        ("frees an object twice in a row", checks => OnHeap(checks, p => Free(p, Freed(p, p.Take(100))))),
        ("frees an object twice, with others in between", checks => OnHeap(checks, p =>
        {
            nint keeps = p.Take(100);
            nint block = Freed(p, p.Take(100));
            Freed(p, p.Take(100));
            Freed(p, keeps);
            return Free(p, block);
        })),
        ("frees an object again when it could belong to somebody else by now", checks => OnHeap(checks, p =>
        {
            nint block = Freed(p, p.Take(100));
            p.Take(100);
            return Free(p, block);
        })),
    ];

    private static (string Name, Func<bool, string> Run)[] HeapUses =>
    [
        ("reallocates a freed object", checks => OnHeap(checks, p =>
        {
            nint block = Freed(p, p.Take(100));
            return Outcome(p, () => p.Resize(block, 3000));
        })),
        ("writes a byte past the end of an object", checks => OnHeap(checks, p => Write(p, p.Take(100) + 100, tells: true))),
        ("writes a byte before an object", checks => OnHeap(checks, p =>
        {
            nint[] three = p.TakeMany(3, 100);
            Array.Sort(three);
            return Write(p, three[1] - 1, tells: true);
        })),
        ("writes into a freed object", checks => OnHeap(checks, p => Write(p, Freed(p, p.Take(100)), tells: true))),
        ("writes into a freed object above 32 KiB", checks => OnHeap(checks, p => Write(p, Freed(p, p.Take(100_000))))),
        ("writes over everything that a heap's slab has", checks => OnHeap(checks, p =>
        {
            nint slab = p.Take(100) & ~0xffff;
            unsafe
            {
                new Span<byte>((void*)slab, 1 << 16).Clear();
            }

            return Told(p.Heap.Verify, "by Verify") ?? Told(p.Arena.Verify, "by the arena's Verify") ?? "metadata out of reach, not detected";
        })),
        ("asks a heap for an alignment that is none", checks => OnHeap(checks, p => Each([0, 3, 4 << 20], to => Outcome(p, () => p.Take(10, to))))),
        ("uses what a disposed heap had", checks => OnHeap(checks, p =>
        {
            nint block = p.Take(100);
            p.Heap.Dispose();
            return UserMemory.TryWrite(block, 1) ? "not detected" : Fault;
        })),
        ("frees into a disposed heap, or asks it for memory", checks => OnHeap(checks, p =>
        {
            nint block = p.Take(100);
            p.Heap.Dispose();
            return Each([0, 1], i => Outcome(p, () => _ = i == 0 ? p.Take(5) : Gone(p, block)));
        })),
    ];

    private static (string Name, Func<bool, string> Run)[] Ends =>
    [
        ("disposes an arena whose blocks are in use, and uses and frees them", checks => OnArena(checks, p =>
        {
            nint block = Take(p, 2);
            p.Dispose();
            bool usable = UserMemory.TryWrite(block, 1);
            Freed(p, block);
            return usable && p.Arena.IsUnmapped ? "allowed: unmapped with the last free" : "lost";
        })),
        ("disposes twice", checks => OnArena(checks, p =>
        {
            p.Dispose();
            return Told(p.Dispose, "at once") ?? "allowed: nothing happens";
        })),
        ("asks a disposed arena for memory", checks => OnArena(checks, p =>
        {
            p.Dispose();
            return Outcome(p, () => Take(p, 0));
        })),
        ("frees twice the last block of a disposed arena", checks => OnArena(checks, p =>
        {
            nint block = Take(p, 2);
            p.Dispose();
            return Free(p, Freed(p, block));
        })),
        ("returns a pool's buffer twice", checks => OnArena(checks, p =>
        {
            using ArenaMemoryPool pool = new(p.Arena);
            IMemoryOwner<byte> owner = pool.Rent(100);
            owner.Dispose();
            return Told(owner.Dispose, "at once") ?? "allowed: nothing happens";
        })),
        ("asks a pool's returned buffer for its memory", checks => OnArena(checks, p =>
        {
            using ArenaMemoryPool pool = new(p.Arena);
            IMemoryOwner<byte> owner = pool.Rent(100);
            owner.Dispose();
            return Told(() => _ = owner.Memory.Length, "at once") ?? "not detected";
        })),
        ("writes to a pool's returned buffer through a span that it kept", checks => OnArena(checks, p =>
        {
            using ArenaMemoryPool pool = new(p.Arena);
            IMemoryOwner<byte> owner = pool.Rent(100);
            nint address;
            unsafe
            {
                using MemoryHandle pin = owner.Memory.Pin();
                address = (nint)pin.Pointer;
            }

            owner.Dispose();
            return Write(p, address);
        })),
        ("frees twice, or writes to, a block from outside of the arena", Outside),
    ];

    private const string Fault = "fault at once";

    private static string Foreign(bool checks) => OnArena(checks, p =>
    {
        byte[] pinned = GC.AllocateArray<byte>(8192, pinned: true);
        unsafe
        {
            byte local = 0;
            void* malloc = NativeMemory.AlignedAlloc(4096, 4096);
            try
            {
                return Each([(nint)(&local), (nint)malloc, Marshal.UnsafeAddrOfPinnedArrayElement(pinned, 0)], at => Free(p, at));
            }
            finally
            {
                NativeMemory.AlignedFree(malloc);
            }
        }
    });

    private static string BadArguments(bool checks) => OnArena(checks, p => Each([0, 1, 2, 3, 4], i => Outcome(p, () => _ = i switch
    {
        0 => p.Take(11),
        1 => p.Take(-1),
        2 => p.Take(0, MigrateType.Isolate),
        3 => p.Take(0, MigrateType.Movable, (AllocationFlags)64),
        _ => p.TakeRange(0),
    })));

    private static string Outside(bool checks) => OnArena(checks, p =>
    {
        Take(p, 10);
        Take(p, 10);
        nint block = Freed(p, Take(p, 2));
        return Free(p, block) + "; " + (UserMemory.TryWrite(block, 1) ? "not detected" : Fault);
    }, fallBack: true);

    private static string OnArena(bool checks, Func<ArenaProbe, string> act, bool refuseProtect = false, bool fallBack = false)
    {
        Fakes.FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(8, o =>
        {
            (o.DebugChecks, o.ThreadPages) = (checks, true);
            o.CapPolicy = fallBack ? CapPolicy.FallBack : CapPolicy.Throw;
        }, os);
        if (refuseProtect)
        {
            os.FailAlways(Fakes.SystemCall.Protect, Errno.ENOMEM);
        }

        return act(probe);
    }

    private static string OnHeap(bool checks, Func<HeapProbe, string> act)
    {
        using HeapProbe probe = new(16, o => (o.DebugChecks, o.ThreadPages) = (checks, true));
        return act(probe);
    }

    /// <summary>The same must come of each.</summary>
    private static string Each(nint[] values, Func<nint, string> act)
    {
        SortedSet<string> outcomes = new(StringComparer.Ordinal);
        foreach (nint value in values)
        {
            outcomes.Add(act(value));
        }

        return string.Join(" or ", outcomes);
    }

    private static string Outcome(ArenaProbe probe, Action act)
    {
        string said = Told(act, "at once") ?? "not detected";
        if (!probe.Arena.IsDisposed)
        {
            probe.Arena.Verify(); // whatever it was, the books are right
        }

        return said;
    }

    private static string Outcome(HeapProbe probe, Action act)
    {
        string said = Told(act, "at once") ?? "not detected";
        if (!probe.Heap.IsDisposed && said != "not detected")
        {
            probe.Verify();
        }

        return said;
    }

    private static string? Told(Action act, string when)
    {
        try
        {
            act();
            return null;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException or OutOfMemoryException)
        {
            bool stacks = e.Message.Contains("Allocated:", StringComparison.Ordinal);
            bool both = stacks && e.Message.Contains("Freed:", StringComparison.Ordinal);
            return $"`{e.GetType().Name}` {when}" + (both ? ", with both stacks" : stacks ? ", with its stack" : "");
        }
    }

    /// <summary>A write as a program makes it, and who tells of it, if it does not fault.</summary>
    private static string Write(ArenaProbe probe, nint address) =>
        !UserMemory.TryWrite(address, 1) ? Fault : Told(probe.Arena.Verify, "by Verify, Trim or a later free") ?? "not detected";

    private static string Write(HeapProbe probe, nint address, bool tells = false)
    {
        if (!UserMemory.TryWrite(address, 1))
        {
            return Fault;
        }

        return Told(probe.Heap.Verify, tells ? "by Verify, or when it is freed or leaves" : "by Verify") ?? "not detected";
    }

    private static unsafe string Free(ArenaProbe probe, nint block) => Outcome(probe, () => probe.Arena.FreePages(unchecked((void*)block)));

    private static string Free(HeapProbe probe, nint block) => Outcome(probe, () => probe.Free(block));

    private static nint Gone(HeapProbe probe, nint block)
    {
        probe.Free(block);
        return block;
    }

    private static unsafe nint Take(ArenaProbe probe, int order) => (nint)probe.Arena.AllocatePages(order);

    private static unsafe nint TakeRange(ArenaProbe probe, int pages) => (nint)probe.Arena.AllocateRange((nuint)pages << 12);

    private static unsafe nint TakeBytes(ArenaProbe probe, nint bytes) => (nint)probe.Arena.AllocateRange(unchecked((nuint)bytes));

    private static unsafe nint Freed(ArenaProbe probe, nint block)
    {
        probe.Arena.FreePages((void*)block);
        return block;
    }

    private static nint Freed(HeapProbe probe, nint block)
    {
        probe.Free(block);
        return block;
    }

    private static unsafe nint Address(ArenaProbe probe) => (nint)probe.Arena.BaseAddress;
}
