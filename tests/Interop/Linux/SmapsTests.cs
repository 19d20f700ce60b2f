using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

public sealed class SmapsTests
{
    private const string Text = """
        55d0a000-55d0b000 r--p 00000000 fe:00 1234                               /opt/a file with spaces
        Size:                  4 kB
        Rss:                   4 kB
        AnonHugePages:         0 kB
        VmFlags: rd mr mw me sd
        7f0000000000-7f0000400000 rw-p 00000000 00:00 0                          [anon:lowlevel-arena]
        Size:               4096 kB
        KernelPageSize:        4 kB
        Rss:                2060 kB
        Pss:                2060 kB
        LazyFree:              8 kB
        AnonHugePages:      2048 kB
        THPeligible:           1
        VmFlags: rd wr mr mw me ac nr hg
        7f0000400000-7f0000401000 ---p 00000000 00:00 0
        Size:                  4 kB
        Rss:                   0 kB
        VmFlags: mr mw me
        """;

    [Fact]
    public void Each_mapping_keeps_its_own_figures()
    {
        IReadOnlyList<Mapping> all = Smaps.Parse(new StringReader(Text), (_, _) => true);
        Assert.Equal(3, all.Count);
        Assert.Equal("/opt/a file with spaces", all[0].Name);
        Assert.Equal(unchecked((nuint)0x7f0000000000), all[1].Start);
        Assert.Equal(unchecked((nuint)0x7f0000400000), all[1].End);
        Assert.Equal("[anon:lowlevel-arena]", all[1].Name);
        Assert.Equal(2060 * 1024, all[1].RssBytes);
        Assert.Equal(2048 * 1024, all[1].AnonHugeBytes);
        Assert.Equal(8 * 1024, all[1].LazyFreeBytes);
        Assert.Equal(["rd", "wr", "mr", "mw", "me", "ac", "nr", "hg"], all[1].VmFlags);
        Assert.Equal("", all[2].Name);
        Assert.Equal(0, all[2].RssBytes);
    }

    [Fact]
    public void Fields_of_a_mapping_that_was_not_chosen_are_not_given_to_its_neighbour()
    {
        IReadOnlyList<Mapping> last = Smaps.Parse(new StringReader(Text), (start, _) => start >= 0x7f0000400000);
        Mapping only = Assert.Single(last);
        Assert.Equal(0, only.RssBytes);
        Assert.Equal(0, only.AnonHugeBytes);
    }

    [Fact]
    public void A_size_that_is_no_number_is_an_error_and_not_zero() =>
        Assert.Throws<InvalidDataException>(() => Smaps.Parse(new StringReader("1000-2000 rw-p 0 0:0 0\nRss:   many kB"), (_, _) => true));

    [Fact]
    public void Three_ways_of_asking_agree_on_memory_that_was_touched()
    {
        const int Bytes = 64 << 20;
        using GuardedMapping map = new(Bytes, MemoryAdvice.NoHugePage);
        Assert.Equal(0, Smaps.Overlapping((nuint)map.Address, Bytes)[0].LazyFreeBytes);
        for (int i = 0; i < Bytes; i += 4096)
        {
            Marshal.WriteByte(map.Address + i, 1);
        }

        Assert.Equal(Bytes / 4096, KernelView.ResidentPages(map.Address, Bytes));
        Assert.Equal(Bytes, Smaps.ResidentBytes((nuint)map.Address, Bytes));
        long rollup = Smaps.RollupResidentBytes();
        Assert.True(rollup >= Bytes, $"smaps_rollup says {rollup}");
        Assert.InRange(Smaps.StatmResidentBytes(), rollup / 2, rollup * 2);
    }

    [Fact]
    public void A_huge_page_is_seen_as_one()
    {
        const int Huge = 2 << 20;
        using GuardedMapping map = new(3 * Huge);
        nint block = (map.Address + Huge - 1) & ~(nint)(Huge - 1);
        Assert.Equal(Errno.None, LinuxSystem.Instance.Advise(block, Huge, MemoryAdvice.HugePage));
        Marshal.WriteByte(block, 1);
        Mapping mapping = Assert.Single(Smaps.Overlapping((nuint)block, Huge));
        long huge = mapping.AnonHugeBytes;
        Assert.SkipWhen(huge == 0, "no transparent huge page was to be had (THP 'never', or memory is fragmented)");
        Assert.Equal(Huge, huge);
        Assert.Equal(512, KernelView.ResidentPages(block, Huge));
    }
}
