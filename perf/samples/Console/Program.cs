using System;
using System.Diagnostics;
using System.Threading;
// README: begin
using System.Buffers;
using LowLevel.Allocator;
using LowLevel.Native;

using PageArena arena = PageArena.Create();               // reserves address space; costs nothing until used
unsafe
{
    byte* buffer = (byte*)arena.AllocatePages(order: 4);  // 2^4 pages = 64 KiB, aligned to its size
    buffer[0] = 1;
    arena.FreePages(buffer);                              // any thread; the size is known
    void* big = arena.AllocateRange(100 << 20);           // contiguous, above 4 MiB
    arena.FreePages(big);
}

using ArenaMemoryPool pool = new(arena);                  // MemoryPool<byte> on the same arena
using (IMemoryOwner<byte> owner = pool.Rent(20_000)) { owner.Memory.Span.Clear(); }
// README: end

// README: begin heap
using NativeHeap heap = new(arena);
unsafe
{
    void* small = heap.Allocate(100);                     // 16-byte aligned; Allocate(bytes, alignment) up to 2 MiB
    small = heap.Reallocate(small, 5000);                 // in place where there is room
    heap.Free(small);                                     // any thread; the size is known
}
// README: end

// README: begin host
PageArenaOptions underHost = new()
{
    Host = "unix:/run/lowlevel.sock",                     // who listens there has the budget; while nobody does, the arena does without
    CapBytes = (nuint)2 << 30,                            // what the host takes for this service's memory
};
using PageArena guest = PageArena.Create(underHost);
// README: end

// A burst: 256 MiB in blocks of 4 MiB, written to, freed, and then nothing but waiting.
const int Blocks = 64;
const int BlockBytes = 4 << 20;
const long BurstBytes = (long)Blocks * BlockBytes;
long before = Environment.WorkingSet;
unsafe
{
    void*[] blocks = new void*[Blocks];
    for (int i = 0; i < Blocks; i++)
    {
        blocks[i] = arena.AllocatePages(order: 10);
        new Span<byte>(blocks[i], BlockBytes).Fill(1);
    }

    Console.WriteLine($"resident, burst  {Environment.WorkingSet >> 20} MiB ({before >> 20} MiB before it)");
    foreach (void* block in blocks)
    {
        arena.FreePages(block);
    }
}

// Treated: the system was told. It happens in the arena's own thread, a little more than a second after the free.
long start = Stopwatch.GetTimestamp();
while (arena.GetStatistics().TreatedBytes < BurstBytes / 10 * 9)
{
    if (Stopwatch.GetElapsedTime(start) > TimeSpan.FromSeconds(30))
    {
        Console.Error.WriteLine($"not treated after 30 s: {arena.GetStatistics()}");
        return 1;
    }

    Thread.Sleep(100);
}

long after = Environment.WorkingSet;
Console.WriteLine($"resident, rested {after >> 20} MiB, {arena.GetStatistics().TreatedBytes >> 20} MiB treated");
return after < before + (BurstBytes / 2) ? 0 : 1;
