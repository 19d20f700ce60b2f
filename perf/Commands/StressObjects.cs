using System;
using System.Collections.Generic;
using LowLevel.Allocator;

namespace LowLevel.Perf;

/// <summary>One thread's objects of any size: taken, filled with what only they hold, grown and shrunk, checked, freed.</summary>
internal sealed class StressObjects(StressShared shared)
{
    private const int Most = 2000;
    private const int LargestLog2 = 18;

    private readonly List<(nint Address, int Bytes, byte Mark)> objects = [];
    private long refused;

    /// <summary>What this thread holds.</summary>
    public IReadOnlyList<(nint Address, int Bytes, byte Mark)> Live => objects;

    /// <summary>Requests that the arena declined since the last call.</summary>
    public long TakeRefused()
    {
        long taken = refused;
        refused = 0;
        return taken;
    }

    /// <summary>One operation, by the dice.</summary>
    public void Step(NativeHeap heap, ref SplitMix random)
    {
        int dice = random.Below(16);
        if (dice < 7 && objects.Count < Most)
        {
            Allocate(heap, ref random);
        }
        else if (objects.Count > 0)
        {
            int index = random.Below(objects.Count);
            if (dice < 9)
            {
                Resize(heap, index, SizeOf(ref random));
            }
            else
            {
                Free(heap, index);
            }
        }
    }

    /// <summary>Checks and frees all.</summary>
    public void FreeAll(NativeHeap heap)
    {
        while (objects.Count > 0)
        {
            Free(heap, objects.Count - 1);
        }
    }

    /// <summary>Small sizes are frequent, and some are beyond what slabs serve.</summary>
    private static int SizeOf(ref SplitMix random)
    {
        int log = Math.Min(random.Below(LargestLog2), random.Below(LargestLog2));
        return 1 + random.Below(1 << log);
    }

    private unsafe void Allocate(NativeHeap heap, ref SplitMix random)
    {
        int bytes = SizeOf(ref random);
        bool zeroed = random.Below(3) == 0;
        nuint alignment = (nuint)16 << (random.Below(8) == 0 ? random.Below(9) : 0);
        try
        {
            void* block = zeroed ? heap.AllocateZeroed((nuint)bytes, alignment) : heap.Allocate((nuint)bytes, alignment);
            if ((nuint)block % alignment != 0)
            {
                shared.Report($"heap: {bytes} bytes aligned to {alignment} are at 0x{(nuint)block:x}");
            }

            // Sound: the block is live, this long, and this thread's alone.
            Span<byte> all = new(block, bytes);
            if (zeroed && all.ContainsAnyExcept((byte)0))
            {
                shared.Report($"heap: zeroed object of {bytes} bytes is not zero at {all.IndexOfAnyExcept((byte)0)}");
            }

            byte mark = (byte)random.Below(256);
            all.Fill(mark);
            objects.Add(((nint)block, bytes, mark));
        }
        catch (OutOfMemoryException)
        {
            refused++;
        }
    }

    private unsafe void Resize(NativeHeap heap, int index, int bytes)
    {
        (nint address, int old, byte mark) = objects[index];
        try
        {
            void* block = heap.Reallocate((void*)address, (nuint)bytes);
            Check((nint)block, Math.Min(old, bytes), mark);
            new Span<byte>(block, bytes).Fill(mark); // sound: as in Allocate
            objects[index] = ((nint)block, bytes, mark);
        }
        catch (OutOfMemoryException)
        {
            refused++;
        }
    }

    private unsafe void Free(NativeHeap heap, int index)
    {
        (nint address, int bytes, byte mark) = objects[index];
        objects[index] = objects[^1];
        objects.RemoveAt(objects.Count - 1);
        Check(address, bytes, mark);
        heap.Free((void*)address); // sound: it is live, and nobody else knows it
    }

    private unsafe void Check(nint address, int bytes, byte mark)
    {
        // Sound: the object is live and has so many bytes.
        int at = new ReadOnlySpan<byte>((void*)address, bytes).IndexOfAnyExcept(mark);
        if (at >= 0)
        {
            shared.Report($"heap: byte {at} of an object of {bytes} is {((byte*)address)[at]} where {mark} was written");
        }
    }
}
