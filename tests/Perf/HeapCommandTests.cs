using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class HeapCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-heap-");

    public void Dispose() => folder.Delete(recursive: true);

    [Theory]
    [InlineData("heap --rounds 0", "--rounds")]
    [InlineData("heap --patterns fifo", "fifo")]
    [InlineData("heap --sizes 4096", "4096")]
    [InlineData("heap --threads 4", "--threads")]
    [InlineData("heap --touched perhaps", "--touched")]
    [InlineData("heap --contestants heap,arena", "arena")]
    [InlineData("heap --waste perhaps", "--waste")]
    [InlineData("heap --mebibytes 0", "--mebibytes")]
    [InlineData("heap-waste-child --contestant nobody", "nobody")]
    [InlineData("heap-waste-child --contestant heap --mix none", "--mix")]
    [InlineData("heap-waste-child", "--contestant")]
    public void Bad_input_ends_with_one_line_and_code_2(string line, string named)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(line.Split(' '), output, error));
        Assert.Equal("", output.ToString());
        string said = Assert.Single(error.ToString().TrimEnd().Split('\n'));
        Assert.Contains(named, said, StringComparison.Ordinal);
        Assert.Contains("allowed", said, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_options_every_row_is_measured_untouched_with_everybody()
    {
        PeersPlan plan = PeersPlan.ReadHeap(Arguments.Parse([]));
        Assert.Equal((3 * 4 * 2) + 4, plan.Cells.Count);
        Assert.Equal([16, 128, 1024, 8192], plan.Cells.Select(c => c.Bytes).Distinct());
        Assert.DoesNotContain(plan.Cells, c => c.Touched);
        Assert.Equal(["heap", "glibc", "jemalloc", "mimalloc", "tcmalloc"], plan.Contestants);
        Assert.All(plan.Cells, c => Assert.Equal(c, PeerCell.Parse(c.ToLine())));
        Assert.All(plan.Cells, c => Assert.Equal((8192, 256), (c.LiveBlocks, c.RingSlots)));
    }

    [Fact]
    public void The_heap_is_ours_and_no_peer()
    {
        Assert.False(PeersContestants.IsPeer("heap"));
        PeersRow row = new(new("lifo", 16, 1, false), Times(("heap", 10), ("mimalloc", 20), ("glibc", 15)));
        Assert.Equal(("glibc", 10.0 / 15), (row.Best, row.Ratio));
        using var output = new StringWriter();
        PeersTable.Write(output, [row], ["heap", "glibc", "mimalloc"], new Dictionary<string, string>());
        Assert.Contains("bytes threads", output.ToString(), StringComparison.Ordinal);
        Assert.Contains("worst: lifo 16 bytes, 1 threads, 0.67 of glibc", output.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain("arena-aot", output.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lifo", 16, 1)]
    [InlineData("bulk", 1024, 2)]
    [InlineData("rand", 128, 2)]
    [InlineData("prodcons", 8192, 2)]
    public void The_loops_leave_nothing_allocated(string pattern, int bytes, int threads)
    {
        using var load = new HeapLoad();
        load.RunPairs(new PeerCell(pattern, bytes, threads, Touched: true), 16_384);
        Assert.Equal(0, load.AllocatedBytes);
        load.Release();
    }

    [Theory]
    [InlineData("uniform", 4104)]
    [InlineData("log-uniform", 1310)]
    public void A_mix_holds_what_it_says_and_replaces_each_block_three_times_on_average(string name, double mean)
    {
        using var source = new CountingSource();
        var mix = new HeapMix(source, name, 4 << 20);
        mix.Run(free: false);
        Assert.InRange(mix.LiveBytes, (4 << 20) * 0.9, (4 << 20) * 1.1);
        Assert.Equal(mix.LiveBytes, source.Live.Values.Sum(size => (long)size));
        Assert.Equal(source.Live.Count * 4, source.Taken);
        Assert.InRange(source.Live.Values.Min(), 16, 64);
        Assert.InRange(source.Live.Values.Max(), 7000, 8192);
        Assert.InRange(source.Live.Values.Average(), mean * 0.9, mean * 1.1);
        mix.FreeAll();
        Assert.Equal((0L, 0), (mix.LiveBytes, source.Live.Count));
    }

    [Fact]
    public void The_waste_table_has_a_line_for_each_contestant_and_absent_ones_say_why()
    {
        HeapWasteRow[] rows =
        [
            new("heap", "uniform", 100, 107, null), new("heap", "log-uniform", 100, 112, null),
            new("jemalloc", "uniform", 0, 0, "absent: gone"), new("jemalloc", "log-uniform", 0, 0, "absent: gone"),
        ];
        using var output = new StringWriter();
        HeapWasteTable.Write(output, rows, 256);
        Assert.Matches(@"\nheap +1\.070 +1\.120\n", output.ToString());
        Assert.Matches(@"\njemalloc +absent: gone\n", output.ToString());
        Assert.Equal([("contestant", "heap"), ("mix", "uniform"), ("requested_bytes", 100L), ("resident_bytes", 107L)], HeapWasteTable.JsonRow(rows[0]));
        Assert.Null(HeapWasteTable.JsonRow(rows[2])[3].Value);
    }

    [Fact]
    public void A_small_run_ends_with_times_and_waste_of_every_contestant()
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(
            folder.FullName,
            "heap", "--rounds", "1", "--patterns", "lifo", "--sizes", "16", "--threads", "1", "--contestants", "heap,glibc", "--mebibytes", "4", "--json", json);
        Assert.True(code == 0, output);
        Assert.Contains("geometric mean", output, StringComparison.Ordinal);
        Assert.Contains("resident / requested", output, StringComparison.Ordinal);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(["heap", "glibc", "heap", "heap", "glibc", "glibc"], rows.Select(r => r.GetProperty("contestant").GetString()));
        Assert.All(rows[2..], r => Assert.True(r.GetProperty("resident_bytes").GetInt64() > 4 << 19, output));
    }

    private static Dictionary<string, Summary> Times(params (string Contestant, double Median)[] times) =>
        times.ToDictionary(t => t.Contestant, t => new Summary(t.Median, t.Median, t.Median, t.Median, t.Median));

    /// <summary>Gives every block a place of its own and keeps count.</summary>
    private sealed class CountingSource : HeapSource
    {
        private readonly HeapSource _inner = Create("glibc");

        public Dictionary<nint, int> Live { get; } = [];

        public int Taken { get; private set; }

        public override nint Take(int bytes)
        {
            Taken++;
            nint block = _inner.Take(bytes);
            Live.Add(block, bytes);
            return block;
        }

        public override void Give(nint block)
        {
            Assert.True(Live.Remove(block), "what is given back was taken");
            _inner.Give(block);
        }

        protected override void Dispose(bool disposing)
        {
            _inner.Dispose();
            base.Dispose(disposing);
        }
    }
}
