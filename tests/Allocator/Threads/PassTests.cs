using System;
using System.Threading.Tasks;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Threads;

/// <summary>Whom a pass stops. A thread that is stopped goes to the zones for each block, so a pass leaves alone who has nothing for it.</summary>
public sealed class PassTests
{
    [Fact]
    public async Task A_pass_does_not_wait_for_a_thread_that_has_nothing_rested()
    {
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, Options);
        ThreadPages mine = Keep(arena);
        Assert.True(mine.TryEnter()); // at work, for as long as the pass takes
        try
        {
            Task<bool> pass = Task.Run(arena.Threads.DrainRested, TestContext.Current.CancellationToken);
            Assert.False(await pass.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken));
        }
        finally
        {
            mine.Exit();
        }

        Assert.True(mine.Pages > 0);
        arena.Verify();
    }

    [Fact]
    public void A_pass_takes_what_has_rested_from_a_thread_that_is_not_at_work()
    {
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, Options);
        ThreadPages mine = Keep(arena);
        arena.Epoch += 5;
        Assert.True(arena.Threads.DrainRested());
        Assert.Equal(0, mine.Pages);
        arena.Verify();
    }

    /// <summary>The worker of an idle service passes for ever: garbage of its own would make the service grow until the next collection.</summary>
    [Fact]
    public unsafe void The_passes_of_an_idle_arena_leave_no_garbage()
    {
        ManualClock clock = new();
        PageArenaOptions options = new() { SizeBytes = 16 << 20, Aeration = { Clock = clock } };
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, options, TreatmentSeams.Default with { HasWorker = false });
        using NativeHeap heap = new(arena);
        heap.Free(heap.Allocate(100));
        arena.FreePages(arena.AllocatePages(3));
        long garbage = 0;
        for (int i = 0; i < 40; i++)
        {
            clock.Advance(options.Aeration.Delay / 4); // every fourth pass looks at the machine's memory
            long before = GC.GetAllocatedBytesForCurrentThread();
            arena.Aerator.Pass();
            garbage += i < 20 ? 0 : GC.GetAllocatedBytesForCurrentThread() - before; // by then everything has been made and treated
        }

        Assert.Equal(0, garbage);
    }

    private static PageArenaOptions Options => new() { SizeBytes = 16 << 20, Aeration = { Enabled = false } };

    /// <summary>A block in the calling thread's pages, freed in this epoch.</summary>
    private static unsafe ThreadPages Keep(PageArena arena)
    {
        arena.FreePages(arena.AllocatePages(0));
        return ThreadPages.Last!;
    }

    [Fact]
    public unsafe void A_stack_whose_count_is_seen_before_its_entry_is_looked_at_without_harm()
    {
        using PageArena arena = PageArena.Create(new PageArenaOptions { SizeBytes = 64 << 20, Aeration = new AerationOptions { Enabled = false } });
        arena.FreePages(arena.AllocatePages(0));
        ThreadPages mine = arena.Threads.GetOrCreate()!;
        ThreadBin* bin = mine.Bin(new Order(7), MigrateType.Movable);
        Assert.Equal(0, bin->Count);
        foreach (uint anything in new[] { uint.MaxValue, 1u << 30, (64u << 20) >> 12 })
        {
            bin->Entries[0] = anything;
            bin->Count = 1; // as from another processor while this thread is at its first push
            Assert.False(arena.Threads.DrainRested());
            bin->Count = 0;
        }

        arena.Verify();
    }
}
