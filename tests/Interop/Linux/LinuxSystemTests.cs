using System;
using System.Linq;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;
using LowLevel.Tests.Fakes;
using Xunit;

namespace LowLevel.Tests.Interop.Linux;

/// <summary>What the calls did is read from smaps and mincore, never from their return codes alone.</summary>
public sealed class LinuxSystemTests
{
    private const int PageSize = 4096;
    private const nuint Huge = 2 << 20;

    private static LinuxSystem Os => LinuxSystem.Instance;

    [Fact]
    public void An_anonymous_mapping_is_resident_where_it_was_touched_and_nowhere_else()
    {
        using var map = new GuardedMapping(64 * PageSize);
        Assert.Equal(0, KernelView.ResidentPages(map.Address, map.Bytes));
        Touch(map.Address + (3 * PageSize), 2);
        Assert.Equal(2, KernelView.ResidentPages(map.Address, map.Bytes));
        Assert.True(KernelView.IsResident(map.Address + (3 * PageSize)));
        Assert.False(KernelView.IsResident(map.Address + (5 * PageSize)));
    }

    [Fact]
    public void DontNeed_drops_exactly_the_pages_it_was_given_and_they_read_zero_again()
    {
        using var map = new GuardedMapping(16 * PageSize, MemoryAdvice.NoHugePage);
        Touch(map.Address, 16);
        Assert.Equal(Errno.None, Os.Advise(map.Address + (4 * PageSize), 8 * PageSize, MemoryAdvice.DontNeed));
        for (int i = 0; i < 16; i++)
        {
            Assert.Equal(i is < 4 or >= 12, KernelView.IsResident(map.Address + (i * PageSize)));
        }

        Assert.Equal(0, Marshal.ReadByte(map.Address + (5 * PageSize)));
        Assert.Equal(0xA5, Marshal.ReadByte(map.Address + (3 * PageSize)));
    }

    [Fact]
    public void PopulateWrite_makes_every_page_resident()
    {
        using var map = new GuardedMapping(32 * PageSize);
        Errno result = Os.Advise(map.Address, map.Bytes, MemoryAdvice.PopulateWrite);
        Assert.SkipWhen(result == Errno.EINVAL, "MADV_POPULATE_WRITE needs Linux 5.14");
        Assert.Equal(Errno.None, result);
        Assert.Equal(32, KernelView.ResidentPages(map.Address, map.Bytes));
    }

    [Fact]
    public void Advice_that_the_kernel_keeps_shows_in_the_flags_of_the_mapping()
    {
        using var map = new GuardedMapping(4 * Huge);
        Assert.Equal(Errno.None, Os.Advise(map.Address, map.Bytes, MemoryAdvice.DontDump));
        Assert.Contains("dd", Single(map).VmFlags);
        Assert.Contains("nr", Single(map).VmFlags);
        Assert.Equal(Errno.None, Os.Advise(map.Address, map.Bytes, MemoryAdvice.HugePage));
        Assert.Contains("hg", Single(map).VmFlags);
        Assert.Equal(Errno.None, Os.Advise(map.Address, map.Bytes, MemoryAdvice.NoHugePage));
        Assert.Contains("nh", Single(map).VmFlags);
    }

    [Fact]
    public void A_named_mapping_shows_its_name()
    {
        using var map = new GuardedMapping(16 * PageSize);
        Errno result = Os.NameMapping(map.Address, map.Bytes, "lowlevel-test");
        Assert.SkipWhen(result == Errno.EINVAL, "PR_SET_VMA_ANON_NAME needs Linux 5.17 with CONFIG_ANON_VMA_NAME");
        Assert.Equal("[anon:lowlevel-test]", Single(map).Name);
    }

    [Fact]
    public void A_name_that_the_kernel_forbids_is_told_as_EINVAL()
    {
        using var map = new GuardedMapping(PageSize);
        Assert.Equal(Errno.EINVAL, Os.NameMapping(map.Address, map.Bytes, "not [allowed]"));
    }

    [Fact]
    public void A_protected_page_is_no_longer_writable_in_the_kernels_view()
    {
        using var map = new GuardedMapping(8 * PageSize);
        Assert.Contains("wr", Single(map).VmFlags);
        Assert.Equal(Errno.None, Os.Protect(map.Address, map.Bytes, MemoryProtection.None));
        Assert.DoesNotContain("wr", Single(map).VmFlags);
        Assert.DoesNotContain("rd", Single(map).VmFlags);
    }

    [Fact]
    public void Unmapping_a_part_leaves_the_rest_mapped()
    {
        using var map = new GuardedMapping(8 * PageSize);
        Touch(map.Address, 8);
        Assert.Equal(Errno.None, Os.Unmap(map.Address + (2 * PageSize), 2 * PageSize));
        Mapping[] left = [.. Smaps.Overlapping((nuint)map.Address, map.Bytes)];
        Assert.DoesNotContain(left, m => m.Start <= (nuint)map.Address + (2 * PageSize) && m.End >= (nuint)map.Address + (4 * PageSize));
        Assert.Equal(0xA5, Marshal.ReadByte(map.Address + (7 * PageSize)));
    }

    [Fact]
    public void A_memfd_mapped_twice_is_one_memory_and_a_punched_hole_reads_zero_in_both()
    {
        Assert.Equal(Errno.None, Os.CreateMemfd("lowlevel-test", 8 * PageSize, out int fd));
        Assert.Equal(Errno.None, Os.MapShared(fd, 0, 8 * PageSize, MemoryProtection.ReadWrite, 0, out nint first));
        Assert.Equal(Errno.None, Os.MapShared(fd, 0, 8 * PageSize, MemoryProtection.ReadWrite, 0, out nint second));
        Touch(first, 8);
        Assert.Equal(0xA5, Marshal.ReadByte(second + (5 * PageSize)));
        Assert.Equal(Errno.None, Os.PunchHole(fd, 4 * PageSize, 2 * PageSize));
        Assert.Equal(6, KernelView.ResidentPages(first, 8 * PageSize));
        Assert.Equal(0, Marshal.ReadByte(second + (5 * PageSize)));
        Assert.Equal(0xA5, Marshal.ReadByte(second + (6 * PageSize)));
        Assert.Equal(Errno.None, Os.Unmap(first, 8 * PageSize));
        Assert.Equal(Errno.None, Os.Unmap(second, 8 * PageSize));
        Assert.Equal(Errno.None, Os.Close(fd));
        Assert.Equal(Errno.EBADF, Os.PunchHole(fd, 0, PageSize));
    }

    [Fact]
    public void A_memfd_is_mapped_at_the_place_inside_a_reservation_that_was_asked_for()
    {
        using var reservation = new GuardedMapping(16 * PageSize, protection: MemoryProtection.None);
        Assert.Equal(Errno.None, Os.CreateMemfd("lowlevel-test", 4 * PageSize, out int fd));
        nint at = reservation.Address + (8 * PageSize);
        Assert.Equal(Errno.None, Os.MapShared(fd, 0, 4 * PageSize, MemoryProtection.ReadWrite, at, out nint address));
        Assert.Equal(at, address);
        Mapping mapped = Smaps.Overlapping((nuint)at, PageSize).Single();
        Assert.Contains("memfd:lowlevel-test", mapped.Name, StringComparison.Ordinal);
        Assert.Equal(Errno.None, Os.Close(fd));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Impossible_requests_return_an_errno_and_no_address(int what)
    {
        nint address = 1;
        Errno result = what == 0
            ? Os.MapAnonymous(0, MemoryProtection.ReadWrite, out address)
            : Os.MapShared(-1, 0, PageSize, MemoryProtection.ReadWrite, 0, out address);
        Assert.Equal(what == 0 ? Errno.EINVAL : Errno.EBADF, result);
        Assert.Equal(0, address);
    }

    [Fact]
    public void A_reservation_that_no_address_space_holds_is_refused()
    {
        Assert.Equal(Errno.ENOMEM, Os.MapAnonymous((nuint)1 << 60, MemoryProtection.None, out nint address));
        Assert.Equal(0, address);
    }

    [Fact]
    public void A_memfd_larger_than_a_file_may_be_leaves_no_descriptor_open()
    {
        int before = System.IO.Directory.GetFiles("/proc/self/fd").Count(IsMemfd);
        Assert.Equal(Errno.EFBIG, Os.CreateMemfd("lowlevel-huge", nuint.MaxValue, out int fd));
        Assert.Equal(-1, fd);
        Assert.Equal(before, System.IO.Directory.GetFiles("/proc/self/fd").Count(IsMemfd));

        static bool IsMemfd(string link) =>
            new System.IO.FileInfo(link).LinkTarget?.Contains("lowlevel-huge", StringComparison.Ordinal) == true;
    }

    [Fact]
    public void The_caller_runs_on_a_node_that_has_memory()
    {
        Assert.Contains(Os.CurrentNode, Os.MemoryNodes.ToArray());
        Assert.Equal(Os.MemoryNodes.ToArray(), Os.MemoryNodes.ToArray().Distinct().Order());
    }

    [Fact]
    public void The_node_that_libc_names_is_one_that_the_machine_has()
    {
        Assert.SkipUnless(LinuxSystem.TryCurrentNode(out int node), "this libc has no getcpu");
        string online = System.IO.File.ReadAllText("/sys/devices/system/node/online");
        Assert.Contains(node, LinuxSystem.ParseNodes(online));
    }

    [Theory]
    [InlineData("0\n", new[] { 0 })]
    [InlineData("0-1,3", new[] { 0, 1, 3 })]
    [InlineData("2,0-1\n", new[] { 0, 1, 2 })]
    [InlineData("", new[] { 0 })]
    [InlineData("nonsense", new[] { 0 })]
    [InlineData("0-99999999", new[] { 0 })]
    [InlineData("1-2-3", new[] { 0 })]
    public void Node_lists_are_read_as_the_kernel_writes_them(string text, int[] expected) =>
        Assert.Equal(expected, LinuxSystem.ParseNodes(text));

    [Fact]
    public void Physical_memory_is_what_meminfo_says()
    {
        string line = System.IO.File.ReadLines("/proc/meminfo").First(l => l.StartsWith("MemTotal:", StringComparison.Ordinal));
        ulong kibibytes = ulong.Parse(line["MemTotal:".Length..^" kB".Length].Trim(), System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(Os.PhysicalMemoryBytes, kibibytes * 1024 / 100 * 99, kibibytes * 1024 / 100 * 101);
        Assert.Equal(Environment.SystemPageSize, Os.PageSize);
    }

    private static Mapping Single(GuardedMapping map) => Smaps.Overlapping((nuint)map.Address, map.Bytes).Single();

    private static void Touch(nint address, int pages)
    {
        for (int i = 0; i < pages; i++)
        {
            Marshal.WriteByte(address + (i * PageSize), 0xA5);
        }
    }
}
