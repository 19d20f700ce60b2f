using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Allocator.Aeration;

/// <summary>What the kernel is told of pageblocks that are dropped in part, and what it does. The balloon is the real one in this process,
/// served by the calling thread. The first 512 pages of an arena are its pageblock 0.</summary>
public sealed class PageblockBackingTests
{
    private const string SwitchOfHugePages = "/sys/kernel/mm/transparent_hugepage/enabled";
    private const nuint Pageblock = 2 << 20;

    [Fact]
    public void Huge_pages_are_advised_against_before_the_drop_and_the_rest_is_split_after_it()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Filled(os);
        nint start = Address(probe, 0);
        int before = os.Calls.Count;
        Split(probe);
        List<RecordedCall> calls = [.. os.Calls.Skip(before)];
        int against = calls.FindIndex(call => call.Advice == MemoryAdvice.NoHugePage);
        int drop = calls.FindIndex(call => call.Advice == MemoryAdvice.DontNeed && call.Address == Address(probe, 128));
        int cold = calls.FindIndex(call => call.Advice == MemoryAdvice.Cold);
        Assert.True(0 <= against && against < drop && drop < cold, $"{against}, {drop}, {cold}: {string.Join('\n', calls)}");
        Assert.Equal((start, Pageblock), (calls[against].Address, calls[against].Bytes));
        Assert.Equal((nuint)4096, calls[cold].Bytes);
        uint page = (uint)((calls[cold].Address - start) >> PageblockLimits.PageShift);
        Assert.True(page is < 128 or (>= 256 and < 512), $"page {page} is split through, which is not in use");
        Assert.DoesNotContain(calls, call => call.Advice == MemoryAdvice.HugePage);
    }

    [Fact]
    public void Huge_pages_are_advised_again_after_the_pageblock_was_dropped_as_a_whole()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Filled(os);
        Split(probe);
        int before = os.Calls.Count;
        FreeRest(probe);
        List<RecordedCall> calls = [.. os.Calls.Skip(before)];
        int again = calls.FindIndex(call => call.Advice == MemoryAdvice.HugePage);
        Assert.True(again > calls.FindIndex(call => call.Advice == MemoryAdvice.DontNeed && call.Address == Address(probe, 0)), string.Join('\n', calls));
        Assert.Equal(Address(probe, 0), calls[again].Address);
        Assert.DoesNotContain(calls, call => call.Advice == MemoryAdvice.NoHugePage);
        probe.Expect("U10:0*,1024*");
    }

    [Theory]
    [InlineData((int)MemoryAdvice.NoHugePage, (int)Errno.ENOMEM)]
    [InlineData((int)MemoryAdvice.NoHugePage, (int)Errno.EINVAL)]
    [InlineData((int)MemoryAdvice.Cold, (int)Errno.ENOMEM)]
    [InlineData((int)MemoryAdvice.Cold, (int)Errno.EINVAL)]
    [InlineData((int)MemoryAdvice.HugePage, (int)Errno.ENOMEM)]
    [InlineData((int)MemoryAdvice.HugePage, (int)Errno.EINVAL)]
    public void A_refusal_is_harmless(int advice, int errno)
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Filled(os);
        os.FailAlways(SystemCall.Advise, (Errno)errno, (MemoryAdvice)advice);
        Split(probe);
        CheckPattern(probe);
        Assert.Equal(0, KernelView.ResidentPages(Address(probe, 128), 128 * 4096));
        probe.Arena.Verify();
        FreeRest(probe);
        probe.Expect("U10:0*,1024*");
        Assert.Contains(os.Calls, call => call.Advice == (MemoryAdvice)advice && call.Result == (Errno)errno);
        Assert.Equal(0, probe.Arena.Aerator.LostBatches);
    }

    [Theory]
    [InlineData(nameof(ArenaBacking.Memfd), nameof(HugePages.Advise))]
    [InlineData(nameof(ArenaBacking.Anonymous), nameof(HugePages.Never))]
    public void Where_there_is_nothing_to_split_nothing_is_called(string backing, string huge)
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Filled(os, o => (o.Backing, o.HugePages) = (Enum.Parse<ArenaBacking>(backing), Enum.Parse<HugePages>(huge)));
        int before = os.Calls.Count;
        Split(probe);
        CheckPattern(probe);
        FreeRest(probe);
        Assert.DoesNotContain(os.Calls.Skip(before), call => call.Advice is MemoryAdvice.NoHugePage or MemoryAdvice.Cold or MemoryAdvice.HugePage);
        probe.Expect("U10:0*,1024*");
    }

    [Fact]
    public void The_kernel_says_of_the_pageblock_what_it_was_told()
    {
        using ArenaProbe probe = Filled(new FaultyOperatingSystem());
        SkipWithoutHugePages();
        Assert.Contains("hg", FlagsOf(probe, 0));
        Split(probe);
        Assert.Contains("nh", FlagsOf(probe, 0));
        Assert.DoesNotContain("hg", FlagsOf(probe, 0));
        Assert.Contains("hg", FlagsOf(probe, 512));
        FreeRest(probe);
        Assert.Contains("hg", FlagsOf(probe, 0));
        Assert.DoesNotContain("nh", FlagsOf(probe, 0));
    }

    [Fact]
    public void A_huge_page_of_which_a_part_was_dropped_is_one_no_longer()
    {
        using ArenaProbe probe = Filled(new FaultyOperatingSystem());
        SkipWithoutHugePages();
        long before = HugeBytes(probe);
        Assert.SkipWhen(before == 0, "the kernel had no huge page to give");
        Split(probe);
        for (int pass = 0; pass < 2; pass++)
        {
            probe.Clock.Advance(TimeSpan.FromMilliseconds(250));
            probe.Arena.Aerator.Pass();
        }

        Assert.Equal(before - (long)Pageblock, HugeBytes(probe));
        CheckPattern(probe);
    }

    [Fact]
    public void What_is_in_use_keeps_its_contents_while_hole_after_hole_is_dropped_beside_it()
    {
        using ArenaProbe probe = Filled(new FaultyOperatingSystem());
        HashSet<uint> live = [.. Enumerable.Range(0, 512).Select(page => (uint)page)];
        Random random = new(5);
        for (int round = 0; round < 12; round++)
        {
            uint[] free = [.. live.Where(_ => random.Next(3) == 0)];
            probe.Free(free);
            live.ExceptWith(free);
            probe.Arena.Trim();
            CheckPattern(probe, live);
            probe.Arena.Verify();
        }
    }

    [Fact]
    public void Struct_pages_go_with_what_they_describe_and_come_back_with_a_new_use()
    {
        using ArenaProbe probe = Make(64, null, null);
        long fresh = probe.Arena.GetStatistics().MetadataBytes;
        uint[] pages = probe.TakeMany(64 << 8, 0);
        long full = probe.Arena.GetStatistics().MetadataBytes;
        Assert.True(full >= fresh + (1 << 20), $"{fresh}, {full}: 16 384 struct pages are a MiB");
        probe.Free(pages);
        probe.Arena.Trim();
        probe.Arena.Trim();
        long dropped = probe.Arena.GetStatistics().MetadataBytes; // before Verify, which reads them all and so maps them
        Assert.Equal(full - (1 << 20) + (16 * 4096), dropped); // of each of 16 blocks of order 10 one page is left
        Assert.Equal(pages.Length, probe.TakeMany(64 << 8, 0).Distinct().Count());
        probe.Arena.Verify();
        Assert.Equal(full, probe.Arena.GetStatistics().MetadataBytes);
    }

    private static ArenaProbe Make(int mebibytes, FaultyOperatingSystem? os, Action<PageArenaOptions>? change) =>
        new(
            mebibytes,
            o =>
            {
                o.HugePages = HugePages.Advise;
                o.Aeration.Enabled = true;
                o.Aeration.Context = AerationContext.FreeingThread;
                change?.Invoke(o);
            },
            os,
            new TreatmentSeams(BalloonLink.Create, HasWorker: false));

    /// <summary>An arena of 8 MiB of which pageblock 0 is in use page by page, with a number in each.</summary>
    private static unsafe ArenaProbe Filled(FaultyOperatingSystem os, Action<PageArenaOptions>? change = null)
    {
        ArenaProbe probe = Make(8, os, change);
        Assert.Equal(Enumerable.Range(0, 512).Select(page => (uint)page), probe.TakeMany(512, 0));
        for (uint page = 0; page < 512; page++)
        {
            *(ulong*)probe.AddressOf(page) = Mark(page);
        }

        return probe;
    }

    /// <summary>Drops a quarter of pageblock 0.</summary>
    private static void Split(ArenaProbe probe)
    {
        probe.Free(Enumerable.Range(128, 128).Select(page => (uint)page));
        probe.Arena.Trim();
    }

    /// <summary>Frees what is left of it, and uses and frees the rest of the arena.</summary>
    private static void FreeRest(ArenaProbe probe)
    {
        probe.Free(probe.Take(10));
        probe.Free(Enumerable.Range(0, 128).Concat(Enumerable.Range(256, 256)).Select(page => (uint)page));
        probe.Arena.Trim();
        probe.Arena.Trim(); // a pageblock that became whole in the first goes round once more
    }

    private static void CheckPattern(ArenaProbe probe) =>
        CheckPattern(probe, Enumerable.Range(0, 128).Concat(Enumerable.Range(256, 256)).Select(page => (uint)page));

    private static unsafe void CheckPattern(ArenaProbe probe, IEnumerable<uint> live)
    {
        foreach (uint page in live)
        {
            Assert.Equal(Mark(page), *(ulong*)probe.AddressOf(page));
        }
    }

    private static ulong Mark(uint page) => unchecked((page + 1) * 0x9E37_79B9_7F4A_7C15);

    private static unsafe nint Address(ArenaProbe probe, uint page) => (nint)probe.AddressOf(page);

    private static IReadOnlyList<string> FlagsOf(ArenaProbe probe, uint page) =>
        Assert.Single(Smaps.Overlapping((nuint)Address(probe, page), 4096)).VmFlags;

    private static long HugeBytes(ArenaProbe probe) =>
        Smaps.Overlapping((nuint)Address(probe, 0), probe.Arena.SizeBytes).Sum(mapping => mapping.AnonHugeBytes);

    private static void SkipWithoutHugePages() =>
        Assert.SkipWhen(
            !File.Exists(SwitchOfHugePages) || File.ReadAllText(SwitchOfHugePages).Contains("[never]", StringComparison.Ordinal),
            "this machine has no huge pages: " + SwitchOfHugePages + " is never, or there is none");
}
