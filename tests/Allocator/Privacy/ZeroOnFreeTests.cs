using System;
using System.Buffers;
using System.IO;
using System.Linq;
using System.Threading;
using LowLevel.Allocator;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using LowLevel.Tests.Allocator.Heap;
using LowLevel.Tests.Fakes;
using LowLevel.Tests.Interop.Linux;
using LowLevel.Tests.Properties;
using Microsoft.Win32.SafeHandles;
using Xunit;

namespace LowLevel.Tests.Allocator.Privacy;

/// <summary>Freed secrets vanish, whichever way they are freed; and what then counts as reading zero does.</summary>
public sealed class ZeroOnFreeTests
{
    private const byte Secret = 0x5e;

    [Theory]
    [InlineData(false, ArenaBacking.Anonymous)]
    [InlineData(true, ArenaBacking.Anonymous)]
    [InlineData(true, ArenaBacking.Memfd)]
    public void Blocks_of_every_order_and_ranges_read_zero_when_FreePages_returns(bool threadPages, ArenaBacking backing)
    {
        using ArenaProbe probe = Zeroing(64, o => (o.ThreadPages, o.Backing) = (threadPages, backing));
        foreach (int order in Enumerable.Range(0, 11))
        {
            uint block = probe.Take(order);
            Fill(probe, block, 1u << order);
            probe.Free(block);
            Vanished(probe, block, 1u << order);
        }

        foreach (uint pages in new[] { 3u, 700u, 1300u, 4000u })
        {
            uint range = probe.TakeRange(pages);
            Fill(probe, range, pages);
            probe.Free(range);
            Vanished(probe, range, pages);
        }

        Marked(probe);
    }

    [Fact]
    public unsafe void What_a_range_loses_when_it_gets_shorter_reads_zero_at_once()
    {
        using ArenaProbe probe = Zeroing(16);
        uint range = probe.TakeRange(1000);
        Fill(probe, range, 1000);
        Assert.True(probe.Arena.TryResize(probe.AddressOf(range), 10 << 12));
        Vanished(probe, range + 10, 990);
        Assert.Equal(Secret, *(byte*)probe.AddressOf(range + 9));
        Marked(probe);
    }

    [Fact]
    public unsafe void A_block_from_outside_of_the_arena_is_zero_before_it_is_unmapped()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Zeroing(4, o => o.CapPolicy = CapPolicy.FallBack, os);
        probe.Take(10);
        byte* outside = (byte*)probe.Arena.AllocatePages(2);
        new Span<byte>(outside, 4 << 12).Fill(Secret);
        int seen = 0;
        os.Before = (call, address, bytes) =>
        {
            if (call == SystemCall.Unmap && address == (nint)outside)
            {
                seen++;
                Assert.Equal(-1, new ReadOnlySpan<byte>((void*)address, (int)bytes).IndexOfAnyExcept((byte)0));
            }
        };
        probe.Arena.FreePages(outside);
        os.Before = null;
        Assert.Equal(1, seen);
    }

    [Theory]
    [InlineData(16, false)]
    [InlineData(700, false)]
    [InlineData(30_000, false)]
    [InlineData(100_000, false)]
    [InlineData(700, true)]
    [InlineData(100_000, true)]
    public unsafe void Objects_of_a_heap_read_zero_when_Free_returns_and_those_of_a_disposed_one_too(int bytes, bool checks)
    {
        using HeapProbe probe = new(64, o => (o.ZeroOnFree, o.DebugChecks) = (true, checks));
        nint[] blocks = probe.TakeMany(20, bytes);
        Array.ForEach(blocks, block => new Span<byte>((void*)block, bytes).Fill(Secret));
        probe.Free(blocks[..10]);
        Assert.All(blocks[..10], block => Assert.DoesNotContain(Secret, UserMemory.Peek(block, bytes)));
        Assert.All(blocks[10..], block => Assert.Equal(Enumerable.Repeat(Secret, bytes), UserMemory.Peek(block, bytes)));
        probe.Verify();
        probe.Heap.Dispose();
        Assert.All(blocks, block => Assert.DoesNotContain(Secret, UserMemory.Peek(block, bytes)));
    }

    [Theory]
    [InlineData(1000, 800)]
    [InlineData(1000, 300)]
    [InlineData(30_000, 100)]
    [InlineData(200_000, 150_001)]
    [InlineData(200_000, 40_001)]
    [InlineData(200_000, 12)]
    public unsafe void What_Reallocate_takes_away_reads_zero_and_what_it_leaves_is_as_it_was(int before, int after)
    {
        using HeapProbe probe = new(64, o => o.ZeroOnFree = true);
        nint block = probe.Take(before);
        new Span<byte>((void*)block, before).Fill(Secret);
        nint shorter = probe.Resize(block, after);
        Assert.Equal(Enumerable.Repeat(Secret, after), UserMemory.Peek(shorter, after));
        byte[] old = UserMemory.Peek(block, before);
        Assert.DoesNotContain(Secret, shorter == block ? old[after..] : old);
        probe.Free(shorter);
        Assert.DoesNotContain(Secret, UserMemory.Peek(shorter, after));
        probe.Verify();
    }

    [Fact]
    public unsafe void Buffers_of_pools_and_arrays_vanish_when_they_are_returned()
    {
        using ArenaProbe probe = Zeroing(64, o => o.ThreadPages = true);
        using ArenaMemoryPool pool = new(probe.Arena);
        nint address;
        using (IMemoryOwner<byte> owner = pool.Rent(20_000))
        {
            owner.Memory.Span.Fill(Secret);
            using MemoryHandle pin = owner.Memory.Pin();
            address = (nint)pin.Pointer;
        }

        Assert.DoesNotContain(Secret, UserMemory.Peek(address, 20_000));
        using (ArenaBuffer buffer = new(probe.Arena, 9000))
        {
            address = buffer.DangerousGetHandle();
            new Span<byte>((void*)address, 9000).Fill(Secret);
        }

        Assert.DoesNotContain(Secret, UserMemory.Peek(address, 9000));
        Marked(probe);
    }

    [Fact]
    public unsafe void The_file_behind_the_arena_has_nothing_of_it_either()
    {
        using ArenaProbe probe = Zeroing(16, o => o.Backing = ArenaBacking.Memfd);
        uint block = probe.Take(3);
        Fill(probe, block, 8);
        Assert.Contains(Secret, File(probe, block, 8));
        probe.Free(block);
        Assert.DoesNotContain(Secret, File(probe, block, 8));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public unsafe void A_zeroed_allocation_of_what_was_freed_writes_nothing(bool threadPages)
    {
        using ArenaProbe probe = Zeroing(8, o => o.ThreadPages = threadPages);
        uint block = probe.Take(2);
        Fill(probe, block, 4);
        probe.Free(block);
        ((byte*)probe.AddressOf(block))[5] = 9; // only to see whether it is written: nobody may do this
        Assert.Equal(block, probe.Take(2, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.Equal(9, ((byte*)probe.AddressOf(block))[5]);
    }

    /// <summary>Every head that carries the mark is read to the last byte, after every few steps of a random history with a device that scribbles, fails
    /// and loses batches.</summary>
    [Theory]
    [InlineData(1, false, false)]
    [InlineData(2, true, false)]
    [InlineData(3, true, true)]
    [InlineData(4, false, true)]
    public unsafe void Whatever_counts_as_reading_zero_does(int seed, bool threadPages, bool checks)
    {
        using ArenaProbe probe = Zeroing(24, o =>
        {
            (o.ThreadPages, o.DebugChecks, o.Zones, o.ShuffleSeed) = (threadPages, checks, 2, (ulong)seed);
            (o.Aeration.Enabled, o.Aeration.MinimumOrder) = (true, 1 + seed);
        });
        Random random = new(seed);
        System.Collections.Generic.List<(uint Page, uint Pages)> live = [];
        for (int step = 0; step < 1500; step++)
        {
            int draw = random.Next(100);
            if (draw < 50)
            {
                AllocationFlags flags = random.Next(3) == 0 ? AllocationFlags.Zeroed : AllocationFlags.None;
                int order = random.Next(random.Next(1, 12));
                if (probe.TryTake(order, (MigrateType)random.Next(3), flags) is uint block)
                {
                    Assert.True(flags == AllocationFlags.None || IsZero(probe, block, 1u << order), $"step {step}: {block} was to read zero");
                    Fill(probe, block, 1u << order);
                    live.Add((block, 1u << order));
                }
            }
            else if (draw < 90 && live.Count > 0)
            {
                int at = random.Next(live.Count);
                probe.Free(live[at].Page);
                live.RemoveAt(at);
            }
            else if (draw < 94)
            {
                probe.Balloon!.Answer = (DeviceAnswer)random.Next(random.Next(2) == 0 ? 2 : 6);
                probe.Arena.Trim();
                probe.Balloon.Scribble();
            }
            else
            {
                probe.Clock.Advance(TimeSpan.FromMilliseconds(700));
                probe.Arena.Aerator.Pass();
            }

            if (step % 25 == 0)
            {
                Marked(probe);
            }
        }

        probe.Arena.Verify();
    }

    /// <summary>Debug mode holds back, and a write that it finds must not be what the next user reads.</summary>
    [Fact]
    public unsafe void What_is_written_into_a_freed_block_while_it_is_held_back_is_zero_again_when_it_leaves()
    {
        using ArenaProbe probe = Zeroing(8, o => o.DebugChecks = true);
        uint block = probe.Take(2);
        probe.Free(block);
        UserMemory.Poke((nint)probe.AddressOf(block) + 9, Secret);
        Assert.Throws<InvalidOperationException>(probe.Arena.Trim);
        Marked(probe);
        Assert.Equal(block, probe.Take(2, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Vanished(probe, block, 4);
    }

    [Fact]
    public unsafe void No_thread_ever_sees_what_another_has_freed()
    {
        using ArenaProbe probe = Zeroing(16, o => o.ThreadPages = true);
        int seen = 0;
        Thread[] threads = [.. Enumerable.Range(1, 4).Select(seed => new Thread(() =>
        {
            Random random = new(seed);
            for (int i = 0; i < 400; i++)
            {
                int order = random.Next(6);
                uint block = probe.Take(order);
                Interlocked.Add(ref seen, IsZero(probe, block, 1u << order) ? 0 : 1);
                Fill(probe, block, 1u << order);
                probe.Free(block);
            }
        }))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.Equal(0, seen);
        Marked(probe);
    }

    [Fact]
    public unsafe void Without_it_an_allocation_that_does_not_ask_for_zeros_may_show_what_another_left_and_one_that_does_never()
    {
        using ArenaProbe probe = new(4);
        uint block = probe.Take(0);
        Fill(probe, block, 1);
        probe.Free(block);
        Assert.Equal(block, probe.Take(0));
        Assert.Equal(Secret, *(byte*)probe.AddressOf(block));
        probe.Free(block);
        Assert.Equal(block, probe.Take(0, MigrateType.Unmovable, AllocationFlags.Zeroed));
        Assert.True(IsZero(probe, block, 1));
    }

    [Fact]
    public unsafe void A_block_whose_pages_could_not_be_had_is_given_back_without_being_touched()
    {
        FaultyOperatingSystem os = new();
        using ArenaProbe probe = Zeroing(8, null, os);
        os.Fail(SystemCall.Advise, Errno.ENOMEM, advice: MemoryAdvice.PopulateWrite);
        Assert.Null(probe.TryTake(9, MigrateType.Unmovable, AllocationFlags.Populate));
        Assert.Equal(0, KernelView.ResidentPages((nint)probe.Arena.BaseAddress, probe.Arena.SizeBytes));
        probe.Expect("U10:0");
    }

    [Fact]
    public void A_poison_value_other_than_zero_is_refused_with_it()
    {
        string said = Assert.Throws<ArgumentOutOfRangeException>(() => PageArena.Create(new() { ZeroOnFree = true, PoisonValue = 1 })).Message;
        Assert.Contains("PoisonValue is out of range; allowed: null or 0 with ZeroOnFree or Isolated", said, StringComparison.Ordinal);
        using ArenaProbe zero = Zeroing(8, o => o.PoisonValue = 0);
        uint block = zero.Take(0);
        Fill(zero, block, 1);
        zero.Free(block);
        Vanished(zero, block, 1);
    }

    private static ArenaProbe Zeroing(int mebibytes, Action<PageArenaOptions>? change = null, FaultyOperatingSystem? os = null) => new(mebibytes, o =>
    {
        o.ZeroOnFree = true;
        change?.Invoke(o);
    }, os);

    private static unsafe void Fill(ArenaProbe probe, uint block, uint pages) => new Span<byte>(probe.AddressOf(block), (int)pages << 12).Fill(Secret);

    private static unsafe bool IsZero(ArenaProbe probe, uint block, uint pages) =>
        new ReadOnlySpan<byte>(probe.AddressOf(block), (int)pages << 12).IndexOfAnyExcept((byte)0) < 0;

    private static void Vanished(ArenaProbe probe, uint block, uint pages) => Assert.True(IsZero(probe, block, pages), $"page {block} and {pages} on: a secret is left");

    private static unsafe byte[] File(ArenaProbe probe, uint block, uint pages)
    {
        using SafeFileHandle handle = new(probe.Arena.Memory.Memfd, ownsHandle: false);
        byte[] read = new byte[pages << 12];
        Assert.Equal(read.Length, RandomAccess.Read(handle, read, (long)block << 12));
        return read;
    }

    /// <summary>Of all blocks on free lists and in threads' pages.</summary>
    private static unsafe void Marked(ArenaProbe probe)
    {
        probe.Arena.Verify();
        foreach (Zone zone in probe.Arena.Zones)
        {
            for (ulong pfn = zone.Start.Value; pfn < zone.ReachedPfn;)
            {
                Page* head = probe.Arena.Map[new Pfn((uint)pfn)];
                uint pages = PageMap.PagesOf(head);
                if ((head->PageType.IsBuddy || head->PageType.IsCached) && head->State is not (PageState.User or PageState.Heap) && head->PageType.IsZero)
                {
                    Assert.True(IsZero(probe, (uint)pfn, pages), $"page {pfn} and {pages} on: marked zero, and it is not");
                }

                pfn += pages;
            }
        }
    }
}
