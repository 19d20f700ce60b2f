using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Fuzz;

/// <summary>A fuzzer that cannot find anything proves nothing: here it has something to find.</summary>
public sealed class FuzzLoopTests
{
    private const long RingsMax = 3_000_000;

    /// <summary>Four bytes one after the other, of which each alone shows something new: by chance alone it would take 2^32 rings.</summary>
    [Fact]
    public void What_was_worth_keeping_leads_step_by_step_to_what_is_wrong()
    {
        using Planted target = new([0x5a, 0x11, 0xc3, 0x77]);
        FuzzResult result = new FuzzLoop(target, new FuzzMap()).Run([], RingsMax, time: null, 1);
        Assert.Equal("planted", result.Finding);
        Assert.InRange(result.Rings, 100, RingsMax);
        Assert.Equal(target.Needed, Assert.Single(result.Inputs));
    }

    [Fact]
    public void The_same_seed_finds_the_same_after_the_same_number_of_rings()
    {
        using Planted target = new([0x5a, 0x11]);
        FuzzResult first = new FuzzLoop(target, new FuzzMap()).Run([], RingsMax, time: null, 7);
        FuzzResult second = new FuzzLoop(target, new FuzzMap()).Run([], RingsMax, time: null, 7);
        Assert.Equal(first.Rings, second.Rings);
        Assert.NotEqual(first.Rings, new FuzzLoop(target, new FuzzMap()).Run([], RingsMax, time: null, 8).Rings);
    }

    /// <summary>A fault that needs two rings of one life is told by the two, without those between them.</summary>
    [Fact]
    public void What_earlier_rings_have_left_behind_is_part_of_what_is_printed()
    {
        using Grudge target = new();
        FuzzResult given = new FuzzLoop(target, new FuzzMap()).Run([[9], [7]], 0, time: null, 1);
        Assert.Null(given.Finding); // each in a life of its own
        FuzzResult result = new FuzzLoop(target, new FuzzMap()).Run([], RingsMax, time: null, 1);
        Assert.Equal("grudge", result.Finding);
        Assert.Equal(["09", "07"], result.Inputs.Select(Convert.ToHexString));
        Assert.Equal("grudge", FuzzLoop.Replay(target, result.Inputs, new FuzzMap()));
        Assert.Null(FuzzLoop.Replay(target, [[7]], new FuzzMap()));
    }

    [Fact]
    public void A_corpus_is_as_small_as_it_can_be_and_is_read_as_it_was_written()
    {
        using Planted target = new([0x5a, 0x11, 0xc3, 0x77]);
        FuzzMap map = new();
        List<byte[]> kept = FuzzCorpus.Minimise(target, map, [[0x5a], [0x5a, 0x11], [0], [0x5a, 0x11, 0xc3], [0x5a, 0x11, 0xc3, 0]]);
        Assert.Equal(["5A11C3"], kept.Select(Convert.ToHexString));
        string file = Path.Combine(Path.GetTempPath(), $"lowlevel-corpus-{Guid.NewGuid():N}.hex");
        try
        {
            FuzzCorpus.Save(file, kept);
            Assert.Equal(kept, FuzzCorpus.Load(file));
            File.AppendAllText(file, "xyz\n");
            Assert.Throws<UsageException>(() => FuzzCorpus.Load(file));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void Behind_its_end_an_input_reads_zeros()
    {
        FuzzReader reader = new([5]);
        Assert.Equal((5, false, 0, 0ul), (reader.Byte(), reader.HasMore, reader.Short(), unchecked(reader.Wild() + 1)));
    }

    /// <summary>Fails when the input begins with what it needs, and shows how far it came.</summary>
    private sealed class Planted(byte[] needed) : IFuzzTarget
    {
        public byte[] Needed => needed;

        public string Name => "planted";

        public int InputMax => 16;

        public void Run(ReadOnlySpan<byte> input, FuzzMap map)
        {
            int right = input.CommonPrefixLength(needed);
            for (int i = 1; i <= right; i++)
            {
                map.Note(1, i);
            }

            FuzzFinding.Require(right < needed.Length, "planted");
        }

        public void Dispose()
        {
        }
    }

    /// <summary>Fails on a 7 after a 9.</summary>
    private sealed class Grudge : IFuzzTarget
    {
        private bool _bears;

        public string Name => "grudge";

        public int InputMax => 16;

        public int RingsPerLife => 100;

        public void Renew() => _bears = false;

        public void Run(ReadOnlySpan<byte> input, FuzzMap map)
        {
            FuzzFinding.Require(!_bears || input[0] != 7, "grudge");
            _bears |= input[0] == 9;
        }

        public void Dispose()
        {
        }
    }
}
