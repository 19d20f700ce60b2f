using System;
using System.Collections.Generic;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>One thread's work: allocates, marks, checks, frees, hands over and takes over, tries frees that must be refused, trims.
/// The order of its operations follows from its seed alone; how the threads' operations interleave does not.</summary>
internal sealed class StressWorker(StressShared shared, int slot, ulong seed)
{
    private const int OrderMax = 10;

    private readonly List<StressBlock> held = [];
    private readonly StressIsolation isolation = new(shared.Arena);
    private readonly StressObjects objects = new(shared);
    private SplitMix random = new(seed);
    private long heldBytes;
    private long refused;

    /// <summary>Bytes that this slot holds; read at quiescence.</summary>
    public long HeldBytes => heldBytes;

    /// <summary>So many operations; any exception that the contract does not name is a violation.</summary>
    public void Run(int operations)
    {
        try
        {
            for (int i = 0; i < operations && !shared.HasViolations; i++)
            {
                Step();
            }
        }
        catch (Exception e)
        {
            shared.Report($"slot {slot}: {e}");
        }

        shared.Count(operations, refused + objects.TakeRefused());
        refused = 0;
    }

    /// <summary>Checks and frees all that this slot holds.</summary>
    public void FreeAll()
    {
        try
        {
            isolation.RestoreAll();
            if (shared.Heap is not null)
            {
                objects.FreeAll(shared.Heap);
            }

            while (held.Count > 0)
            {
                CheckAndFree(Take(held.Count - 1));
            }
        }
        catch (Exception e)
        {
            shared.Report($"slot {slot}, at the end: {e}");
        }
    }

    private void Step()
    {
        int dice = random.Below(1000);
        if (dice < 2)
        {
            shared.Arena.Trim();
        }
        else if (dice < 10)
        {
            TryBadFree();
        }
        else if (dice < 15)
        {
            isolation.Step(ref random);
        }
        else if (shared.Heap is not null && dice % 2 == 0)
        {
            objects.Step(shared.Heap, ref random);
        }
        else if (dice < 100)
        {
            HandOver();
        }
        else if (dice < 190)
        {
            if (shared.Handed.TryDequeue(out StressBlock block))
            {
                CheckAndFree(block);
            }
        }
        else if (dice < 600 && heldBytes < shared.Plan.HeldBytesMax)
        {
            Allocate();
        }
        else if (held.Count > 0)
        {
            CheckAndFree(Take(random.Below(held.Count)));
        }
    }

    private void Allocate()
    {
        var flags = AllocationFlags.None;
        flags |= random.Below(4) == 0 ? AllocationFlags.Zeroed : 0;
        flags |= random.Below(8) == 0 ? AllocationFlags.Atomic : 0;
        flags |= random.Below(32) == 0 ? AllocationFlags.Populate : 0;
        StressBlock? block = random.Below(64) == 0 ? AllocateRange(flags) : AllocateBlock(flags);
        if (block is not StressBlock taken)
        {
            refused++;
            return;
        }

        if (flags.HasFlag(AllocationFlags.Zeroed) && taken.FindNonZero() is string nonZero)
        {
            shared.Report($"slot {slot}: {nonZero}");
        }

        taken.Mark();
        held.Add(taken);
        heldBytes += taken.Bytes;
    }

    /// <summary>Small orders are frequent, as in life, and each order occurs.</summary>
    private unsafe StressBlock? AllocateBlock(AllocationFlags flags)
    {
        int order = Math.Min(random.Below(OrderMax + 1), random.Below(OrderMax + 1));
        var type = (MigrateType)random.Below(3);
        long bytes = 4096L << order;
        if (random.Below(2) == 0)
        {
            return shared.Arena.TryAllocatePages(order, out void* block, type, flags) ? Block(block, bytes) : null;
        }

        try
        {
            return Block(shared.Arena.AllocatePages(order, type, flags), bytes);
        }
        catch (OutOfMemoryException)
        {
            return null;
        }
    }

    private unsafe StressBlock? AllocateRange(AllocationFlags flags)
    {
        long bytes = 4096L * (1 + random.Below(3 << OrderMax));
        try
        {
            return Block(shared.Arena.AllocateRange((nuint)bytes, flags), bytes);
        }
        catch (OutOfMemoryException)
        {
            return null;
        }
    }

    private unsafe StressBlock Block(void* block, long bytes) => new((nint)block, bytes, shared.NextTicket());

    private StressBlock Take(int index)
    {
        StressBlock taken = held[index];
        held[index] = held[^1];
        held.RemoveAt(held.Count - 1);
        heldBytes -= taken.Bytes;
        return taken;
    }

    private void HandOver()
    {
        if (held.Count > 0)
        {
            shared.Handed.Enqueue(Take(random.Below(held.Count)));
        }
    }

    private unsafe void CheckAndFree(StressBlock block)
    {
        if (block.FindDamage() is string damage)
        {
            shared.Report($"slot {slot}: {damage}");
        }

        // Sound: the block is live and this thread is its only holder; nothing points to it after this.
        shared.Arena.FreePages((void*)block.Address);
    }

    /// <summary>Pointers that are no heads of live blocks: each must be refused, and nothing must change.</summary>
    private unsafe void TryBadFree()
    {
        if (held.Count == 0)
        {
            return;
        }

        StressBlock block = held[random.Below(held.Count)];
        nint[] bad =
        [
            block.Address + 8,
            block.Bytes > 4096 ? block.Address + ((nint)4096 * (1 + random.Below((int)(block.Bytes / 4096) - 1))) : block.Address + 1,
            (nint)shared.Arena.BaseAddress - 4096,
            (nint)shared.Arena.BaseAddress + (nint)shared.Arena.SizeBytes,
        ];
        try
        {
            shared.Arena.FreePages((void*)bad[random.Below(bad.Length)]);
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return;
        }

        shared.Report($"slot {slot}: a free of a pointer that heads no block was accepted");
    }
}
