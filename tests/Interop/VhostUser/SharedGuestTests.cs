using System;
using System.Runtime.InteropServices;
using LowLevel.Interop.Balloon;
using LowLevel.Interop.Linux;
using LowLevel.Interop.VhostUser;
using LowLevel.Native;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Interop.VhostUser;

/// <summary>Memory that a guest shares: what of it is believed, how it is dropped, and that nothing of it is left.</summary>
public sealed class SharedGuestTests : IDisposable
{
    private const ulong Page = 4096;

    private readonly LedgerDescriptors _ledger = new();
    private readonly FaultyOperatingSystem _os = new();
    private readonly SharedGuest _guest;
    private readonly string _name = $"guest-{Guid.NewGuid():N}";

    public SharedGuestTests() => _guest = new SharedGuest(_os, _ledger);

    private static LinuxDescriptors Os => LinuxDescriptors.Instance;

    public void Dispose()
    {
        _guest.Dispose();
        _guest.Dispose();
        Assert.Equal((0ul, 0ul, 0), (_guest.Bytes, _guest.ResidentBytes, _guest.Table.Count));
        Assert.Equal(0, OpenFiles.Named(_name));
        Assert.Equal(0, OpenFiles.Mapped(_name));
        Assert.Empty(_ledger.Faults);
    }

    [Fact]
    public void A_region_is_found_by_the_guests_and_the_frontends_addresses_and_nowhere_else()
    {
        Add(new VhostUserMemoryRegion { GuestAddress = 1 << 20, Bytes = 4 * Page, UserAddress = 0x7000_0000, MmapOffset = 2 * Page }, Memfd(8));
        Assert.True(_guest.Table.TryFromUser(0x7000_0000, out ulong guest));
        Assert.Equal(1ul << 20, guest);
        Assert.True(_guest.Table.TryFromUser(0x7000_0000 + (4 * Page) - 1, out guest));
        Assert.Equal((1ul << 20) + (4 * Page) - 1, guest);
        Assert.False(_guest.Table.TryFromUser(0x7000_0000 + (4 * Page), out _));
        Assert.False(_guest.Table.TryFromUser(0x6fff_ffff, out _));
        Assert.False(_guest.Table.TryFromUser(ulong.MaxValue, out _));
        Assert.True(_guest.Table.TryFile((1 << 20) + Page, out _, out ulong offset, out ulong left));
        Assert.Equal((3 * Page, 3 * Page), (offset, left));
        Assert.False(_guest.Table.TryFile((1 << 20) + (4 * Page), out _, out _, out _));
        Assert.False(_guest.Table.TryFile((1 << 20) - 1, out _, out _, out _));
    }

    [Theory]
    [InlineData(0, 0, 0, 0)] // empty
    [InlineData(0, 9 * 4096, 0, 0)] // beyond the file
    [InlineData(0, 4096, 0, 8 * 4096)]
    [InlineData(0, 8 * 4096, 0, 4096)]
    [InlineData(0, 4096, 0, 100)] // no page
    [InlineData(0, 4096, 0, 0x7fff_ffff_ffff_f000)]
    [InlineData(0, 4096, 0, 0xffff_ffff_ffff_f000)]
    [InlineData(0xffff_ffff_ffff_f001, 4096, 0, 0)] // wraps
    [InlineData(0, 4096, 0xffff_ffff_ffff_f001, 0)]
    [InlineData(0, ulong.MaxValue, 0, 0)]
    [InlineData(0, 1ul << 63, 0, 1ul << 63)]
    [InlineData(0, 0x7fff_ffff_ffff_ffff, 0, 0)]
    [InlineData(0, ulong.MaxValue - 4094, 0, 4096)]
    public void A_region_that_is_none_is_refused(ulong guest, ulong bytes, ulong user, ulong offset)
    {
        int file = Memfd(8);
        VhostUserMemoryRegion region = new() { GuestAddress = guest, Bytes = bytes, UserAddress = user, MmapOffset = offset };
        Assert.Throws<ProtocolViolationException>(() => Add(region, file));
        Assert.Equal(0, _guest.Table.Count);
        Assert.Equal(0, OpenFiles.Named(_name));
    }

    [Theory]
    [InlineData(0ul)]
    [InlineData(4096ul)]
    [InlineData(3 * 4096ul)]
    public void A_region_that_overlaps_another_is_refused_and_the_others_stay(ulong guest)
    {
        Add(new VhostUserMemoryRegion { GuestAddress = Page, Bytes = 3 * Page, UserAddress = 0x10000 }, Memfd(4));
        VhostUserMemoryRegion second = new() { GuestAddress = guest, Bytes = 2 * Page, UserAddress = 0x20000 };
        Assert.Throws<ProtocolViolationException>(() => Add(second, Memfd(4)));
        Assert.Equal((1, 3 * Page), (_guest.Table.Count, _guest.Bytes));
        Assert.True(_guest.Table.TryFromUser(0x10000, out _));
        Add(second with { GuestAddress = 4 * Page }, Memfd(4));
        Assert.Equal(5 * Page, _guest.Bytes);
    }

    /// <summary>Each is a mapping and a descriptor of this process, of which there are not endless many.</summary>
    [Fact]
    public void There_are_no_more_regions_than_were_told()
    {
        for (uint i = 0; i < VhostUserLimits.RegionsMax; i++)
        {
            Add(Region(i), Memfd(1));
        }

        Assert.Throws<ProtocolViolationException>(() => Add(Region(VhostUserLimits.RegionsMax), Memfd(1)));
        Assert.Equal((int)VhostUserLimits.RegionsMax, _guest.Table.Count);
    }

    [Fact]
    public void One_guest_does_not_take_all_of_this_process_addresses()
    {
        Assert.Equal(Errno.None, LinuxSystem.Instance.CreateMemfd(_name, (nuint)1 << 45, out int file));
        VhostUserMemoryRegion large = new() { Bytes = MemoryTable.BytesMax - Page };
        Add(large, Given(file));
        Assert.Throws<ProtocolViolationException>(() => Add(new() { GuestAddress = MemoryTable.BytesMax, Bytes = 2 * Page }, Memfd(2)));
        Add(new VhostUserMemoryRegion { GuestAddress = MemoryTable.BytesMax, Bytes = Page }, Memfd(2));
        Assert.Equal(MemoryTable.BytesMax, _guest.Bytes);
    }

    [Fact]
    public void A_file_that_could_shrink_under_this_process_is_refused()
    {
        Assert.SkipUnless(System.IO.Directory.Exists("/dev/shm"), "there is no /dev/shm");
        string path = System.IO.Path.Combine("/dev/shm", _name);
        System.IO.File.WriteAllBytes(path, new byte[8192]);
        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = System.IO.File.OpenHandle(
            path, System.IO.FileMode.Open, System.IO.FileAccess.ReadWrite, System.IO.FileShare.ReadWrite, System.IO.FileOptions.DeleteOnClose);
        Refuses(Given(Libc.Duplicate((int)handle.DangerousGetHandle())));
        Assert.Equal(Errno.None, Os.CreateEvent(out int fd));
        Refuses(Given(fd));
        handle.Dispose();
    }

    [Fact]
    public void A_file_that_cannot_be_written_is_refused()
    {
        int memfd = Memfd(1);
        int readOnly = Given(Libc.OpenAgain(memfd, Libc.ReadOnly));
        Refuses(readOnly);
        Assert.Equal(0, Libc.AddSeals(memfd, Libc.SealWrite));
        Refuses(memfd);
    }

    [Fact]
    public void A_guest_cannot_take_pages_away_after_it_has_shared_them()
    {
        int memfd = Memfd(4);
        int own = Libc.Duplicate(memfd);
        Add(new VhostUserMemoryRegion { Bytes = 4 * Page, UserAddress = 0x1000 }, memfd);
        Assert.NotEqual(0, Libc.Truncate(own, 0));
        Assert.NotEqual(0, Libc.Truncate(own, 4096));
        Assert.NotEqual(0, Libc.AddSeals(own, Libc.SealWrite));
        Touch(0, 4);
        Os.Close(own);
    }

    [Fact]
    public void A_hole_across_two_regions_is_a_hole_in_each_file()
    {
        int low = Memfd(8);
        int high = Memfd(8);
        int lowToo = Libc.Duplicate(low);
        int highToo = Libc.Duplicate(high);
        Add(new VhostUserMemoryRegion { GuestAddress = 0, Bytes = 4 * Page, UserAddress = 0x100000, MmapOffset = 4 * Page }, low);
        Add(new VhostUserMemoryRegion { GuestAddress = 4 * Page, Bytes = 8 * Page, UserAddress = 0x200000 }, high);
        Touch(0, 4);
        Touch(4 * Page, 8);
        Assert.Equal(12 * Page, _guest.ResidentBytes);
        DiscardTotals totals = _guest.Discard([new GuestRange(2 * Page, 5 * Page)]);
        Assert.Equal((5 * Page, 0, 0), (totals.DroppedBytes, totals.Failed, totals.Refused));
        Assert.Equal((2 * Page, 5 * Page, 7 * Page), (Resident(lowToo), Resident(highToo), _guest.ResidentBytes));

        // The part behind the last region is nobody's.
        totals = _guest.Discard([new GuestRange(11 * Page, 2 * Page), new GuestRange(100 * Page, Page)]);
        Assert.Equal((Page, 0, 2), (totals.DroppedBytes, totals.Failed, totals.Refused));
        Os.Close(lowToo);
        Os.Close(highToo);
    }

    [Fact]
    public void A_file_shared_twice_counts_once()
    {
        int memfd = Memfd(4);
        Add(new VhostUserMemoryRegion { Bytes = 2 * Page, UserAddress = 0x100000 }, Given(Libc.Duplicate(memfd)));
        Add(new VhostUserMemoryRegion { GuestAddress = 1 << 20, Bytes = 2 * Page, UserAddress = 0x200000, MmapOffset = 2 * Page }, memfd);
        Touch(0, 2);
        Touch(1 << 20, 2);
        Assert.Equal((4 * Page, 4 * Page), (_guest.Bytes, _guest.ResidentBytes));
    }

    [Fact]
    public void A_hole_that_the_system_refuses_is_told_and_one_that_is_interrupted_is_tried_again()
    {
        Add(new VhostUserMemoryRegion { Bytes = 4 * Page, UserAddress = 0x100000 }, Memfd(4));
        Touch(0, 4);
        _os.Fail(SystemCall.PunchHole, Errno.EINTR, times: 3);
        Assert.Equal(Page, _guest.Discard([new GuestRange(0, Page)]).DroppedBytes);
        _os.Fail(SystemCall.PunchHole, Errno.EPERM);
        DiscardTotals totals = _guest.Discard([new GuestRange(0, Page), new GuestRange(2 * Page, Page)]);
        Assert.Equal((Page, 1, 0), (totals.DroppedBytes, totals.Failed, totals.Refused));
    }

    [Fact]
    public void A_region_that_cannot_be_mapped_is_refused_and_its_file_closed()
    {
        _os.Fail(SystemCall.MapShared, Errno.ENOMEM);
        Refuses(Memfd(1));
    }

    private static VhostUserMemoryRegion Region(uint number) => new() { GuestAddress = number * Page, Bytes = Page, UserAddress = (number + 1) << 20 };

    private static ulong Resident(int fd)
    {
        Assert.Equal(Errno.None, Os.Examine(fd, out FileFacts facts));
        return facts.ResidentBytes;
    }

    private unsafe void Touch(ulong guest, int pages)
    {
        Assert.True(_guest.Table.Memory.TryTranslate(guest, (ulong)pages * Page, out byte* host));
        new Span<byte>(host, pages * (int)Page).Fill(1);
    }

    private void Add(VhostUserMemoryRegion region, int file) => _guest.Change(table => table.With(region, file));

    private void Refuses(int file)
    {
        Assert.Throws<ProtocolViolationException>(() => Add(new VhostUserMemoryRegion { Bytes = Page, UserAddress = 0x1000 }, file));
        Assert.Equal(0, _guest.Table.Count);
    }

    private int Memfd(uint pages)
    {
        Assert.Equal(Errno.None, LinuxSystem.Instance.CreateMemfd(_name, pages * (nuint)Page, out int fd));
        return Given(fd);
    }

    /// <summary>Hands a file over as it comes from a socket, so that the account knows of it.</summary>
    private int Given(int fd)
    {
        Assert.True(fd >= 0, Marshal.GetLastPInvokeErrorMessage());
        Assert.Equal(Errno.None, Os.CreateSocketPair(out int first, out int second));
        Assert.Equal(Errno.None, Os.Send(first, [0], [fd], out _));
        int[] files = new int[IDescriptors.FilesMax];
        Assert.Equal(Errno.None, _ledger.Receive(second, new byte[1], files, out _, out _));
        Os.Close(first);
        Os.Close(second);
        Os.Close(fd);
        return files[0];
    }
}
