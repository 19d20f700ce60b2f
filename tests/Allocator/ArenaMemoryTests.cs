using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator;

/// <summary>What an arena asks of the operating system, what it costs there, and what happens when it is refused.</summary>
public sealed class ArenaMemoryTests
{
    [Fact]
    public unsafe void Sixty_four_gibibytes_cost_address_space_and_at_most_8_MiB()
    {
        using ArenaProbe first = new(4);
        using ArenaProbe probe = new(64 << 10);
        nint arena = (nint)probe.Arena.BaseAddress;
        nint metadata = (nint)probe.Arena.Memory.ZoneAt(0);
        const nuint MetadataBytes = (1 << 30) + (16 << 10); // struct pages and 4 bits for each of 32768 pageblocks
        Assert.Equal(64L << 30, probe.Arena.GetStatistics().UnreachedBytes);
        long before = KernelView.ResidentPages(metadata, MetadataBytes);
        Assert.InRange(before, 1, 8 << 8);
        Assert.Equal(0, KernelView.ResidentPages(arena, 1 << 30));
        Assert.InRange(probe.Arena.GetStatistics().MetadataBytes, 0, 8L << 20);

        // One page in use costs that page, and struct pages of 4 MiB.
        *(byte*)probe.AddressOf(probe.Take(0)) = 1;
        Assert.Equal(1, KernelView.ResidentPages(arena, 1 << 30));
        Assert.InRange(KernelView.ResidentPages(metadata, MetadataBytes) - before, 1, 17);
        probe.Arena.Verify();
    }

    [Fact]
    public void The_largest_arena_can_be_used_to_its_last_page()
    {
        // No Verify here: it would read 256 GiB of struct pages.
        using ArenaProbe probe = new(16 << 20);
        Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(1ul << 32)); // one page more than a range can have
        Assert.Equal(0u, probe.TakeRange((1ul << 32) - 1024));
        uint last = probe.Take(9);
        Assert.Equal((uint.MaxValue - 1023, uint.MaxValue - 511), (last, probe.Take(9)));
        Assert.Null(probe.TryTake(0));
        Assert.Null(probe.TryTake(0, MigrateType.Movable, AllocationFlags.Atomic));
        probe.Free(last);
        Assert.True(probe.Arena.IsolatePageblock((1u << 23) - 2));
        Assert.Null(probe.TryTake(0));
        Assert.True(probe.Arena.UnisolatePageblock((1u << 23) - 2, MigrateType.Movable));
        Assert.Equal(last, probe.Take(0));
        Assert.Equal((0L, (16L << 40) - (511 << 12)), (probe.Arena.GetStatistics().UnreachedBytes, probe.Arena.GetStatistics().AllocatedBytes));

        // The range is not freed piece by piece, which would write a struct page for each 4 MiB of it: the mappings go at once.
        probe.Arena.Memory.Dispose();
    }

    [Fact]
    public unsafe void Zeroed_pages_that_were_never_used_are_not_written()
    {
        using ArenaProbe probe = new(16);
        uint block = probe.Take(10, MigrateType.Unmovable, AllocationFlags.Zeroed);
        uint range = probe.TakeRange(1500, AllocationFlags.Zeroed);
        Assert.Equal(0, KernelView.ResidentPages((nint)probe.Arena.BaseAddress, probe.Arena.SizeBytes));
        Assert.Equal(0, ((byte*)probe.AddressOf(block))[12345] + ((byte*)probe.AddressOf(range))[1 << 22]);
        *(byte*)probe.AddressOf(block) = 7;
        probe.Free(block);
        Assert.Equal(block, probe.Take(10, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.Equal(0, *(byte*)probe.AddressOf(block));
    }

    [Fact]
    public unsafe void Populate_makes_the_block_resident()
    {
        using ArenaProbe probe = new(8);
        uint block = probe.Take(6, MigrateType.Unmovable, AllocationFlags.Populate);
        Assert.Equal(64, KernelView.ResidentPages((nint)probe.Arena.BaseAddress, probe.Arena.SizeBytes));
        Assert.True(KernelView.IsResident((nint)probe.AddressOf(block)));
    }

    [Fact]
    public void A_block_that_cannot_be_made_resident_is_given_back_and_the_errno_is_named()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(8, null, os);
        os.Fail(SystemCall.Advise, Errno.ENOMEM, times: 2, advice: MemoryAdvice.PopulateWrite);
        Assert.Null(probe.TryTake(3, MigrateType.Movable, AllocationFlags.Populate));
        string message = Assert.Throws<OutOfMemoryException>(() => probe.Take(3, MigrateType.Movable, AllocationFlags.Populate)).Message;
        Assert.Contains("order 3 (32768 bytes), type Movable: MADV_POPULATE_WRITE failed: ENOMEM", message, StringComparison.Ordinal);
        probe.Expect("M10:0");
        Assert.Equal(0ul, probe.Arena.Budget.TakenPages);
    }

    [Theory]
    [InlineData(ArenaBacking.Anonymous, false)]
    [InlineData(ArenaBacking.Anonymous, true)]
    [InlineData(ArenaBacking.Memfd, false)]
    [InlineData(ArenaBacking.Memfd, true)]
    public unsafe void Pages_are_left_out_of_core_dumps_where_that_is_asked_for_and_bookkeeping_is_not(ArenaBacking backing, bool overcommitRefused)
    {
        foreach (bool exclude in new[] { false, true })
        {
            // Two pieces of 64 MiB, one opened and one not: what was said of the whole holds for both.
            using ArenaProbe probe = new(128, o => (o.Backing, o.ExcludeFromDumps) = (backing, exclude), System(overcommitRefused));
            Use(probe, probe.Take(10));
            IReadOnlyList<Mapping> pages = Smaps.Overlapping((nuint)probe.Arena.BaseAddress, probe.Arena.SizeBytes);
            Assert.NotEmpty(pages);
            Assert.All(pages, mapping => Assert.Equal(exclude, mapping.VmFlags.Contains("dd")));
            Assert.All(Smaps.Overlapping((nuint)probe.Arena.Memory.ZoneAt(0), 4096), mapping => Assert.DoesNotContain("dd", mapping.VmFlags));
        }
    }

    [Fact]
    public void A_kernel_that_refuses_to_leave_pages_out_of_dumps_runs_the_arena_all_the_same()
    {
        FaultyOperatingSystem os = new();
        os.FailAlways(SystemCall.Advise, Errno.EINVAL, MemoryAdvice.DontDump);
        using ArenaProbe probe = new(8, o => o.ExcludeFromDumps = true, os);
        Use(probe, probe.Take(0));
    }

    [Theory]
    [InlineData(1ul)]
    [InlineData(600ul)]
    [InlineData(1500ul)]
    public unsafe void Without_MADV_POPULATE_WRITE_each_page_is_touched_and_what_reads_zero_still_does(ulong pages)
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(16, null, os);
        os.FailAlways(SystemCall.Advise, Errno.EINVAL, MemoryAdvice.PopulateWrite);
        uint range = probe.TakeRange(pages, AllocationFlags.Populate | AllocationFlags.Zeroed);
        Assert.Equal((long)pages, KernelView.ResidentPages((nint)probe.AddressOf(range), (nuint)pages << 12));
        Assert.False(new Span<byte>(probe.AddressOf(range), (int)pages << 12).ContainsAnyExcept((byte)0));
        uint block = probe.Take(2, MigrateType.Movable, AllocationFlags.Populate);
        Assert.Equal(4, KernelView.ResidentPages((nint)probe.AddressOf(block), 4 << 12));
        probe.Free(range, block);
        probe.Arena.Verify();
    }

    [Fact]
    public void The_mappings_carry_their_names_in_smaps()
    {
        using ArenaProbe probe = new(16, o => o.Name = "named-in-smaps");
        probe.Free(probe.Take(0));
        string[] names = [.. Named("named-in-smaps").Select(m => m.Name).Distinct().Order(StringComparer.Ordinal)];
        Assert.SkipWhen(names.Length == 0, "this kernel has no CONFIG_ANON_VMA_NAME (Linux 5.17)");
        Assert.Equal(["[anon:named-in-smaps-meta]", "[anon:named-in-smaps-ring]", "[anon:named-in-smaps]"], names);
    }

    [Fact]
    public unsafe void Each_mapping_is_named_over_its_whole_length()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = new(16, null, os);
        nint control = probe.Arena.Memory.Control;
        nint zones = (nint)probe.Arena.Memory.ZoneAt(0);
        RecordedCall[] named = [.. os.Calls.Where(c => c.Call == SystemCall.NameMapping)];
        Assert.Equal([(nint)probe.Arena.BaseAddress, zones, control], named.Select(c => c.Address));
        IEnumerable<nuint> mapped = os.Calls.Where(c => c.Call == SystemCall.MapAnonymous).Select(c => c.Bytes - (2 * ArenaMemory.DataGuard));
        Assert.Equal(mapped.Skip(1), named.Select(c => c.Bytes).Skip(1));
        Assert.Equal(probe.Arena.SizeBytes, named[0].Bytes);
    }

    [Theory]
    [InlineData(HugePages.Advise, "hg", true)]
    [InlineData(HugePages.Advise, "nh", false)]
    [InlineData(HugePages.Never, "nh", true)]
    [InlineData(HugePages.Never, "hg", false)]
    [InlineData(HugePages.System, "hg", false)]
    [InlineData(HugePages.System, "nh", false)]
    public unsafe void Huge_page_advice_is_what_was_asked_for(HugePages option, string flag, bool set)
    {
        using ArenaProbe probe = new(16, o => o.HugePages = option);
        IReadOnlyList<Mapping> arena = Smaps.Overlapping((nuint)probe.Arena.BaseAddress, probe.Arena.SizeBytes);
        Assert.SkipWhen(!Directory.Exists("/sys/kernel/mm/transparent_hugepage"), "this kernel has no transparent huge pages");
        Assert.All(arena, mapping => Assert.Equal(set, mapping.VmFlags.Contains(flag)));
    }

    [Fact]
    public unsafe void Metadata_is_never_huge()
    {
        using ArenaProbe probe = new(64, o => o.HugePages = HugePages.Advise);
        Assert.SkipWhen(!Directory.Exists("/sys/kernel/mm/transparent_hugepage"), "this kernel has no transparent huge pages");
        Mapping metadata = Assert.Single(Smaps.Overlapping((nuint)probe.Arena.Memory.ZoneAt(0), 4096));
        Assert.Contains("nh", metadata.VmFlags);
    }

    [Fact]
    public unsafe void A_memfd_backs_the_arena_where_that_is_asked_for()
    {
        FaultyOperatingSystem os = new();
        using (ArenaProbe probe = new(16, o => (o.Backing, o.Name) = (ArenaBacking.Memfd, "file-behind"), os))
        {
            IReadOnlyList<Mapping> arena = Smaps.Overlapping((nuint)probe.Arena.BaseAddress, probe.Arena.SizeBytes);
            Assert.All(arena, mapping => Assert.Contains("memfd:file-behind", mapping.Name, StringComparison.Ordinal));
            uint block = probe.Take(3);
            *(int*)probe.AddressOf(block) = 17;
            Assert.Equal(1, KernelView.ResidentPages((nint)probe.AddressOf(block), 8 * 4096));
            probe.Free(block);
            Assert.Equal(0, os.Count(SystemCall.Close));
        }

        Assert.Equal(1, os.Count(SystemCall.Close));
        Assert.Equal(Mapped(os), Unmapped(os));
    }

    [Theory]
    [InlineData(ArenaBacking.Anonymous, false)]
    [InlineData(ArenaBacking.Anonymous, true)]
    [InlineData(ArenaBacking.Memfd, false)]
    [InlineData(ArenaBacking.Memfd, true)]
    public void Whichever_call_of_the_reservation_fails_is_named_and_nothing_is_left_behind(ArenaBacking backing, bool overcommitRefused)
    {
        FaultyOperatingSystem healthy = System(overcommitRefused);
        new ArenaProbe(200, o => o.Backing = backing, healthy).Dispose();
        int tried = 0;
        foreach (SystemCall call in new[] { SystemCall.MapAnonymous, SystemCall.MapShared, SystemCall.Protect, SystemCall.CreateMemfd })
        {
            for (int nth = 1; nth <= healthy.Count(call); nth++)
            {
                FaultyOperatingSystem os = System(overcommitRefused);
                if (overcommitRefused && call == SystemCall.MapAnonymous && nth == 1)
                {
                    continue; // fails already
                }

                os.Fail(call, Errno.EAGAIN, nth);
                string message = Assert.Throws<OutOfMemoryException>(() => new ArenaProbe(200, o => o.Backing = backing, os)).Message;
                Assert.Contains(" bytes failed: EAGAIN", message, StringComparison.Ordinal);
                string name = call switch { SystemCall.CreateMemfd => "memfd_create", SystemCall.Protect => "mprotect", _ => "mmap" };
                Assert.Contains(name, message, StringComparison.Ordinal);
                Assert.Equal(Mapped(os), Unmapped(os));
                Assert.Equal(os.Calls.Count(c => c.Call == SystemCall.CreateMemfd && c.Result == Errno.None), os.Count(SystemCall.Close));
                tried++;
            }
        }

        Assert.Equal(3 + (backing == ArenaBacking.Memfd ? 2 : 0) + (overcommitRefused ? 3 : 4), tried); // the last: mprotect
        Assert.Equal(Mapped(healthy), Unmapped(healthy));
    }

    [Fact]
    public void Advice_and_names_are_wishes()
    {
        FaultyOperatingSystem os = new();
        os.FailAlways(SystemCall.Advise, Errno.EINVAL);
        os.FailAlways(SystemCall.NameMapping, Errno.EINVAL);
        using ArenaProbe probe = new(16, o => o.HugePages = HugePages.Advise, os);
        probe.Free(probe.Take(5));
        probe.Expect("U10:0");
    }

    [Fact]
    public void Where_overcommit_is_refused_the_reservation_is_opened_in_pieces()
    {
        FaultyOperatingSystem os = System(overcommitRefused: true);
        using ArenaProbe probe = new(200, null, os);
        int prepared = os.Count(SystemCall.Protect);
        Use(probe, probe.Take(0));
        Assert.Equal(prepared + 2, os.Count(SystemCall.Protect)); // 64 MiB of pages and their struct pages
        uint[] tens = probe.TakeMany(15, 10);
        Assert.Equal(prepared + 2, os.Count(SystemCall.Protect));
        Use(probe, [.. tens, probe.Take(10)]);
        Assert.Equal(prepared + 4, os.Count(SystemCall.Protect));
        uint range = probe.TakeRange(132 << 8); // the last pieces, the last of 8 MiB
        Use(probe, range, range + (132 << 8) - 1);
        Assert.Equal(prepared + 8, os.Count(SystemCall.Protect));
        probe.Free(range);
        probe.Free(tens);
        probe.Arena.Verify();
        Assert.Throws<ArgumentException>("block", () => probe.Free(5));
    }

    [Fact]
    public unsafe void A_long_range_is_opened_before_the_zone_lock_is_taken()
    {
        FaultyOperatingSystem os = System(overcommitRefused: true);
        using ArenaProbe probe = new(400, null, os);
        ZoneData* zone = probe.Arena.Memory.ZoneAt(0);
        int opened = 0;
        int underLock = 0;
        os.Before = (call, _, _) =>
        {
            opened += call == SystemCall.Protect ? 1 : 0;
            underLock += call == SystemCall.Protect && zone->Lock != 0 ? 1 : 0;
        };
        Use(probe, probe.TakeRange(390 << 8));
        Assert.Equal((14, 0), (opened, underLock));
    }

    [Fact]
    public void Growth_that_is_refused_is_named_and_tried_again_later()
    {
        FaultyOperatingSystem os = System(overcommitRefused: true);
        using ArenaProbe probe = new(200, null, os);
        foreach (int nth in new[] { 1, 2 })
        {
            os.Fail(SystemCall.Protect, Errno.ENOMEM, nth, times: 100);
            Assert.Null(probe.TryTake(2));
            string message = Assert.Throws<OutOfMemoryException>(() => probe.Take(2)).Message;
            Assert.Contains("zone 0 could not grow: ENOMEM", message, StringComparison.Ordinal);
            Assert.Throws<OutOfMemoryException>(() => probe.TakeRange(5000));
            Assert.Equal((0ul, 200L << 20), (probe.Arena.Budget.TakenPages, probe.Arena.GetStatistics().UnreachedBytes));
            probe.Arena.Verify();
            os.Heal();
        }

        Use(probe, probe.Take(2));
    }

    [Fact]
    public void A_free_of_pages_that_were_never_opened_throws_and_does_not_crash()
    {
        using ArenaProbe probe = new(200, null, System(overcommitRefused: true));
        Assert.Throws<ArgumentException>("block", () => probe.Free(0));
        Assert.Throws<ArgumentException>("block", () => probe.Free(199 << 8));
    }

    private static FaultyOperatingSystem System(bool overcommitRefused)
    {
        FaultyOperatingSystem os = new();
        if (overcommitRefused)
        {
            os.Fail(SystemCall.MapAnonymous, Errno.ENOMEM);
        }

        return os;
    }

    private static unsafe void Use(ArenaProbe probe, params uint[] pages)
    {
        foreach (uint page in pages)
        {
            *(ulong*)probe.AddressOf(page) = page;
        }
    }

    private static long Mapped(FaultyOperatingSystem os) => Sum(os, SystemCall.MapAnonymous);

    private static long Unmapped(FaultyOperatingSystem os) => Sum(os, SystemCall.Unmap);

    private static long Sum(FaultyOperatingSystem os, SystemCall call) =>
        os.Calls.Where(c => c.Call == call && c.Result == Errno.None).Sum(c => (long)c.Bytes);

    private static IReadOnlyList<Mapping> Named(string name) =>
        [.. Smaps.Overlapping(0, nuint.MaxValue).Where(m => m.Name.Contains(name, StringComparison.Ordinal))];
}
