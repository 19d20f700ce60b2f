using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Heap;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using Xunit;

namespace LowLevel.Tests.Allocator.Privacy;

/// <summary>What lies beside what: as the kernel's own list of mappings says.</summary>
public sealed class IsolatedArenaTests
{
    private const nint Pageblock = 2 << 20;

    public static TheoryData<ArenaBacking, bool, bool> Layouts => new()
    {
        { ArenaBacking.Anonymous, false, false }, { ArenaBacking.Anonymous, false, true }, { ArenaBacking.Anonymous, true, false },
        { ArenaBacking.Memfd, false, false }, { ArenaBacking.Memfd, true, true },
    };

    [Theory]
    [MemberData(nameof(Layouts))]
    public unsafe void Pages_metadata_and_ring_stand_between_guards_each_whatever_the_options(ArenaBacking backing, bool inPieces, bool isolated)
    {
        FaultyOperatingSystem os = new();
        if (inPieces)
        {
            os.Fail(SystemCall.MapAnonymous, Errno.ENOMEM);
        }

        using ArenaProbe probe = new(16, o => (o.Backing, o.Isolated) = (backing, isolated), os);
        probe.Take(0);
        nint pages = (nint)probe.Arena.BaseAddress;
        nint metadata = (nint)probe.Arena.Memory.ZoneAt(0);
        nint end = probe.Arena.Memory.MetadataAddress(new Pfn(0)) + (16 << 8 << 6); // behind the last struct page
        nint ring = probe.Arena.Memory.Control;
        Guarded(pages, (nint)probe.Arena.SizeBytes, Pageblock);
        Guarded(metadata, end - metadata, 64 << 10);
        Guarded(ring, (nint)ArenaMemory.ControlBytes, 64 << 10);
        Assert.True(UserMemory.TryWrite(pages, 1));
        Assert.False(UserMemory.TryWrite(pages - 1, 1)); // linear underflow and overflow
        Assert.False(UserMemory.TryWrite(pages + (nint)probe.Arena.SizeBytes, 1));
        Assert.True(UserMemory.CanRead(metadata) && UserMemory.CanRead(end - 1) && UserMemory.CanRead(ring));
    }

    [Fact]
    public void Arenas_made_in_a_row_are_not_neighbours()
    {
        ArenaProbe[] all = [.. Enumerable.Range(0, 8).Select(_ => new ArenaProbe(4))];
        try
        {
            Assert.All(all, one => Guarded(Base(one), 4 << 20, Pageblock));
        }
        finally
        {
            Array.ForEach(all, one => one.Dispose());
        }
    }

    [Fact]
    public unsafe void Two_tenants_share_no_pageblock_and_no_mapping_and_nothing_else_lies_in_theirs()
    {
        using ArenaProbe first = new(16, o => (o.Isolated, o.HugePages) = (true, HugePages.Advise));
        using ArenaProbe second = new(16, o => (o.Isolated, o.HugePages) = (true, HugePages.Advise));
        using NativeHeap heap = new(first.Arena);
        using NativeHeap other = new(second.Arena);
        HashSet<nint> firsts = [];
        HashSet<nint> seconds = [];
        foreach (int i in Enumerable.Range(0, 3000))
        {
            firsts.Add((nint)heap.Allocate((nuint)(1 + (i * 7 % 3000))) / Pageblock);
            seconds.Add((nint)other.Allocate((nuint)(1 + (i * 11 % 3000))) / Pageblock);
            firsts.Add((nint)first.AddressOf(first.Take(i % 2)) / Pageblock);
            seconds.Add((nint)second.AddressOf(second.Take(0)) / Pageblock);
            if (firsts.Count > 6 || seconds.Count > 6)
            {
                break;
            }
        }

        Assert.Empty(firsts.Intersect(seconds));
        Assert.All([.. firsts], block => Assert.InRange(block * Pageblock, Base(first), Base(first) + (16 << 20) - Pageblock));
        Assert.All([.. seconds], block => Assert.InRange(block * Pageblock, Base(second), Base(second) + (16 << 20) - Pageblock));
        foreach (ArenaProbe one in new[] { first, second })
        {
            // No mapping that anybody can use begins outside of the arena and reaches into its pageblocks or guards.
            Assert.DoesNotContain(UserMemory.Mappings(), m => m.Permissions[..2] != "--"
                && m.Start < (nuint)(Base(one) + (16 << 20) + Pageblock) && m.End > (nuint)(Base(one) - Pageblock)
                && (m.Start < (nuint)Base(one) || m.End > (nuint)(Base(one) + (16 << 20))));
            Assert.Equal(0, Base(one) % Pageblock); // so no huge page crosses its ends
        }
    }

    [Fact]
    public void It_is_left_out_of_dumps_and_of_children()
    {
        using ArenaProbe isolated = new(16, o => o.Isolated = true);
        using ArenaProbe usual = new(16);
        Assert.All(Flags(isolated), flags => Assert.True(flags.Contains("dd") && flags.Contains("dc"), string.Join(' ', flags)));
        Assert.All(Flags(usual), flags => Assert.False(flags.Contains("dd") || flags.Contains("dc"), string.Join(' ', flags)));
    }

    [Fact]
    public unsafe void Its_freed_secrets_vanish()
    {
        using ArenaProbe probe = new(8, o => o.Isolated = true);
        uint block = probe.Take(1);
        new Span<byte>(probe.AddressOf(block), 8192).Fill(0x5e);
        probe.Free(block);
        Assert.Equal(-1, new ReadOnlySpan<byte>(probe.AddressOf(block), 8192).IndexOfAnyExcept((byte)0));
    }

    [Fact]
    public void What_would_break_it_is_refused()
    {
        Refused("PoisonValue", o => o.PoisonValue = 7);
        Refused("CapPolicy", o => o.CapPolicy = CapPolicy.FallBack);
        Refused("Backing", o => (o.Host, o.Backing) = ("unix:/nowhere", ArenaBacking.Memfd));
        FaultyOperatingSystem os = new();
        os.Fail(SystemCall.Advise, Errno.EINVAL, advice: MemoryAdvice.DontFork);
        string said = Assert.Throws<OutOfMemoryException>(() => new ArenaProbe(8, o => o.Isolated = true, os)).Message;
        Assert.Contains("madvise DONTFORK of the arena", said, StringComparison.Ordinal);
        Assert.Equal(Sum(os, SystemCall.MapAnonymous), Sum(os, SystemCall.Unmap));
    }

    /// <summary>A heap keeps its books in the struct pages, so whatever users write into what they have changes nothing of it.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public unsafe void Writing_every_byte_that_users_have_changes_no_metadata(bool isolated)
    {
        using HeapProbe probe = new(64, o => (o.Isolated, o.ThreadPages) = (isolated, true));
        Random random = new(5);
        List<nint> blocks = [.. Enumerable.Range(0, 4000).Select(i => probe.Take(random.Next(i % 50 == 0 ? 80_000 : 3000)))];
        foreach (nint freed in blocks.Where((_, i) => i % 3 == 0).ToArray())
        {
            probe.Free(freed);
            blocks.Remove(freed);
        }

        string before = $"{probe.Heap.GetStatistics()}";
        foreach (byte value in new byte[] { 0xff, 0, 0x41 })
        {
            blocks.ForEach(block => new Span<byte>((void*)block, (int)probe.Usable(block)).Fill(value));
            probe.Verify();
        }

        Assert.Equal(before, $"{probe.Heap.GetStatistics()}");

        // And every byte of the slabs besides: what is free or left over there is nobody's book either.
        foreach (nint slab in blocks.Where(block => probe.Usable(block) <= SizeClasses.MaxBytes).Select(block => block & ~0xffff).Distinct())
        {
            new Span<byte>((void*)slab, 1 << 16).Fill(0xee);
        }

        probe.Verify();
        Assert.Equal(before, $"{probe.Heap.GetStatistics()}");
        probe.Free(blocks);
        probe.Heap.Trim();
        Assert.Equal(0, probe.ArenaAllocated);
    }

    private static void Guarded(nint start, nint bytes, nint guard)
    {
        foreach (nint at in new[] { start - guard, start - 1, start + bytes, start + bytes + guard - 1 })
        {
            Assert.Equal("---p", UserMemory.Permissions(at));
        }

        Assert.DoesNotContain(UserMemory.Mappings(), m => m.Permissions[..2] != "--" && m.Start < (nuint)start && m.End > (nuint)(start - guard));
        Assert.DoesNotContain(UserMemory.Mappings(), m => m.Permissions[..2] != "--" && m.Start < (nuint)(start + bytes + guard) && m.End > (nuint)(start + bytes));
    }

    private static unsafe nint Base(ArenaProbe probe) => (nint)probe.Arena.BaseAddress;

    private static List<string>[] Flags(ArenaProbe probe) =>
        [.. Smaps.Overlapping((nuint)Base(probe), probe.Arena.SizeBytes).Select(m => m.VmFlags.ToList())];

    private static void Refused(string option, Action<PageArenaOptions> change)
    {
        ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(() => new ArenaProbe(8, o =>
        {
            o.Isolated = true;
            change(o);
        }));
        Assert.Equal("options." + option, error.ParamName);
        Assert.Contains("Isolated", error.Message, StringComparison.Ordinal);
    }

    private static long Sum(FaultyOperatingSystem os, SystemCall call) =>
        os.Calls.Where(c => c.Call == call && c.Result == Errno.None).Sum(c => (long)c.Bytes);
}
