using System;
using System.Collections.Generic;
using System.Linq;
using LowLevel.Allocator;
using Xunit;

namespace LowLevel.Tests.Allocator.Heap;

/// <summary>Random histories against a dictionary: every block carries a pattern of its own over its whole usable size, so two that
/// overlap, a byte that is lost, or one that the heap writes are found.</summary>
public sealed class HeapModelTests
{
    public static TheoryData<int, bool, bool> Runs => new()
    {
        { 1, false, false }, { 2, false, true }, { 3, true, false }, { 4, false, false }, { 5, false, true }, { 6, true, true }, { 7, true, true },
    };

    [Theory]
    [MemberData(nameof(Runs))]
    public void A_random_history_is_what_the_model_says(int seed, bool checks, bool threadPages)
    {
        using HeapProbe probe = new(64, o =>
        {
            o.DebugChecks = checks;
            o.ThreadPages = threadPages;
        });
        Model model = new(probe, new Random(seed));
        for (int step = 0; step < 6000; step++)
        {
            model.Step();
            if (step % 500 == 499)
            {
                model.Check();
            }
        }

        model.End();
    }

    /// <summary>What is live, and what it must read.</summary>
    private sealed class Model(HeapProbe probe, Random random)
    {
        private readonly List<(nint Block, long Bytes, byte Value)> _live = [];
        private byte _next;

        public void Step()
        {
            // Phases that fill and phases that empty: slabs of every class become full, partial and empty.
            int choice = random.Next(100) + (_live.Count % 1500 > 750 ? 20 : 0);
            if (choice < 45 || _live.Count == 0)
            {
                Add();
            }
            else if (choice < 60)
            {
                Resize();
            }
            else if (choice < 61)
            {
                probe.Heap.Trim();
            }
            else
            {
                Remove(random.Next(_live.Count));
            }
        }

        public void Check()
        {
            probe.Verify();
            Assert.All(_live, block => Read(block.Block, block.Bytes, block.Value));
            HeapStatistics now = probe.Heap.GetStatistics();
            Assert.Equal(_live.Sum(block => block.Bytes), now.AllocatedBytes);
            if (probe.Heap.Debug is null)
            {
                Assert.Equal(_live.Where(block => block.Bytes > 32_768).Sum(block => block.Bytes), now.WholeBytes); // else in whole pages, with canaries
            }

            Assert.Equal(now.SlabsBytes + now.WholeBytes, probe.ArenaAllocated);
        }

        public void End()
        {
            while (_live.Count > 0)
            {
                Remove(_live.Count - 1);
            }

            Check();
            probe.Heap.Trim();
            Assert.Equal(0, probe.ArenaAllocated);
            probe.Verify();
        }

        private int RandomSize() => random.Next(10) switch
        {
            0 => random.Next(0, 200_000),
            1 or 2 => random.Next(0, 33_000),
            _ => random.Next(0, 1 << random.Next(5, 13)),
        };

        private unsafe void Add()
        {
            int bytes = RandomSize();
            nuint alignment = (nuint)1 << (random.Next(5) == 0 ? random.Next(0, 16) : 4);
            bool zeroed = random.Next(4) == 0;
            nint block = zeroed ? probe.TakeZeroed(bytes, (long)alignment) : probe.Take(bytes, (long)alignment);
            Assert.Equal((nuint)0, (nuint)block % alignment);
            if (zeroed)
            {
                Read(block, bytes, 0);
            }

            Write(block, bytes);
        }

        private void Resize()
        {
            int at = random.Next(_live.Count);
            (nint block, long before, byte value) = _live[at];
            long bytes = random.Next(2) == 0 ? RandomSize() : Math.Max(before + random.Next(-40, 40), 0);
            _live.RemoveAt(at);
            nint moved = probe.Resize(block, bytes);
            Read(moved, Math.Min(before, bytes), value);
            Write(moved, bytes);
        }

        private void Remove(int at)
        {
            (nint block, long bytes, byte value) = _live[at];
            Read(block, bytes, value);
            _live.RemoveAt(at);
            probe.Free(block);
        }

        private unsafe void Write(nint block, long asked)
        {
            long usable = probe.Usable(block);
            Assert.True(usable >= asked, $"{usable} bytes for {asked}");
            _next = (byte)(_next % 255 + 1);
            new Span<byte>((void*)block, (int)usable).Fill(_next);
            _live.Add((block, usable, _next));
        }

        private static unsafe void Read(nint block, long bytes, byte value)
        {
            int wrong = new ReadOnlySpan<byte>((void*)block, (int)bytes).IndexOfAnyExcept(value);
            Assert.True(wrong < 0, $"byte {wrong} of {bytes} at 0x{block:x} is not {value}");
        }
    }
}
