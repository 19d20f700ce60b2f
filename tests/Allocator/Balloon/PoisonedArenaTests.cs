using System;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Balloon;

/// <summary>B25, where driver and device meet in one arena.</summary>
public sealed class PoisonedArenaTests
{
    /// <summary>Free pages are to keep the value, and those that were never used do not have it: the host hears of none. What was dropped reads
    /// zero, so that a value of zero is none to keep.</summary>
    [Theory]
    [InlineData(null, true)]
    [InlineData(0u, true)]
    [InlineData(1u, false)]
    [InlineData(0xaaaaaaaau, false)]
    public unsafe void An_arena_reports_nothing_where_free_pages_keep_a_value(uint? poison, bool reports)
    {
        const int Bytes = 4 << 20;
        PageArenaOptions options = new()
        {
            SizeBytes = 2 * Bytes,
            CapBytes = 2 * Bytes,
            MinFreeBytes = 0,
            ThreadPages = false,
            PoisonValue = poison,
            Aeration = { Clock = new ManualClock() },
        };
        using PageArena arena = PageArena.CreateOn(LinuxSystem.Instance, options, TreatmentSeams.Default with { HasWorker = false, WatchesMemory = false });
        void* block = arena.AllocatePages(10);
        new Span<byte>(block, Bytes).Fill(0x5a); // sound: live, and so long
        arena.FreePages(block);
        arena.Trim();
        ArenaStatistics now = arena.GetStatistics();
        Assert.Equal(reports ? (0, Bytes) : (Bytes, 0), (now.RawBytes, now.TreatedBytes));
        Assert.Equal(reports, arena.Aerator.ReactorCapacity > 0);
        arena.Verify();
    }
}
