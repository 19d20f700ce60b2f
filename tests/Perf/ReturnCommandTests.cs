using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

/// <summary>The whole of <c>perf return</c>, small and with its waits shortened; what it counts, not how long it took.</summary>
public sealed class ReturnCommandTests : IDisposable
{
    private static readonly string[] FieldEnds =
        ["after_100ms", "after_1s", "after_2s", "after_5s", "after_30s", "after_second", "at_end"];

    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-return-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public void Every_contestant_gets_its_row_and_the_arena_is_held_against_its_targets()
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(
            folder.FullName, "return", "--gib", "1/32", "--hurry", "100", "--contestants", "arena,jemalloc-tuned,mmap", "--json", json);
        Assert.True(code == 0, output);
        Assert.Contains("charge after 2s / live", output, StringComparison.Ordinal);
        Assert.Contains("second allocation / jemalloc-tuned", output, StringComparison.Ordinal);
        Assert.True(new FileInfo(Path.Combine(folder.FullName, "artifacts", "return.png")).Length > 1000);

        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(["arena", "jemalloc-tuned", "mmap"], rows.Select(r => r.GetProperty("contestant").GetString()!));
        JsonElement[] present = [.. rows.Where(r => r.GetProperty("absence").ValueKind == JsonValueKind.Null)];
        long live = present[0].GetProperty("live_bytes").GetInt64();
        long atEnd = present[0].GetProperty("live_bytes_at_end").GetInt64();
        Assert.InRange(live, 1 << 20, 8 << 20);
        Assert.InRange(atEnd - live, 8 << 20, 10 << 20);
        Assert.All(present, row =>
        {
            Assert.Equal(live, row.GetProperty("live_bytes").GetInt64());
            Assert.Equal(atEnd, row.GetProperty("live_bytes_at_end").GetInt64());
            bool isCharged = row.GetProperty("charge_source").GetString() == "own";
            Assert.All(FieldEnds, end => Assert.Equal(
                isCharged ? JsonValueKind.Number : JsonValueKind.Null,
                row.GetProperty($"charge_bytes_{end}").ValueKind));
            Assert.True(row.GetProperty("rss_bytes_at_end").GetInt64() > atEnd - (1 << 20));
            Assert.True(row.GetProperty("cpu_seconds_free_idle").GetDouble() >= 0);
            Assert.True(row.GetProperty("second_allocation_seconds").GetDouble() > 0);
        });
        Assert.True(present[0].GetProperty("metadata_bytes").GetInt64() > 0);
        Assert.Equal(JsonValueKind.Null, rows[2].GetProperty("metadata_bytes").ValueKind);
        Assert.True(rows[2].GetProperty("rss_bytes_after_30s").GetInt64() < live * 2);
    }

    [Theory]
    [InlineData("--contestants", "arena,nobody", "'nobody'")]
    [InlineData("--contestants", "arena,arena", "each once")]
    [InlineData("--gib", "0", "--gib")]
    [InlineData("--gib", "63", "--gib")]
    [InlineData("--thp", "sometimes", "--thp")]
    [InlineData("--rounds", "0", "--rounds")]
    public void Bad_input_ends_with_one_line_and_code_2(string option, string value, string named)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(["return", option, value], output, error));
        Assert.Contains(named, Assert.Single(error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public void Huge_pages_are_set_and_what_was_before_comes_back()
    {
        string file = Path.Combine(folder.FullName, "enabled");
        File.WriteAllText(file, "always [madvise] never\n");
        using (HugePageSetting.Set("always", file))
        {
            Assert.Equal("always", File.ReadAllText(file));
        }

        Assert.Equal("madvise", File.ReadAllText(file));
        Assert.Null(HugePageSetting.Set(null, file));
        string nowhere = Path.Combine(folder.FullName, "none", "enabled");
        Assert.Contains("--thp", Assert.Throws<UsageException>(() => HugePageSetting.Set("never", nowhere)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_same_seed_draws_the_same_sizes_of_which_each_is_as_likely()
    {
        var shape = new ReturnShape(1L << 30, 3);
        var first = new ReturnLoad(shape);
        var second = new ReturnLoad(shape);
        var other = new ReturnLoad(shape with { Seed = 4 });
        int[] sizes = [.. Enumerable.Range(0, first.Blocks).Select(first.SizeOf)];
        Assert.Equal(sizes, Enumerable.Range(0, second.Blocks).Select(second.SizeOf));
        Assert.NotEqual(sizes, Enumerable.Range(0, other.Blocks).Select(other.SizeOf));
        Assert.Equal([64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20], sizes.Distinct().Order());
        Assert.All(sizes.GroupBy(s => s), g => Assert.InRange(g.Count() * 6.0 / sizes.Length, 0.8, 1.2));
        Assert.InRange(sizes.Take(first.FirstBlocks).Sum(s => (long)s), 1L << 30, (1L << 30) + (2 << 20));
    }

    [Fact]
    public void Nine_blocks_in_ten_are_given_back_once_and_the_rest_keeps_its_contents()
    {
        using var source = new CountingSource();
        var load = new ReturnLoad(new ReturnShape(64 << 20, 9));
        load.TakeFirst(source);
        Assert.Equal(load.FirstBlocks, source.Held.Count);
        long all = load.LiveBytes;
        load.GiveMost(source);
        Assert.Equal(load.FirstBlocks - (int)(load.FirstBlocks * 0.9), source.Held.Count);
        Assert.Equal(source.Held.Sum(a => (long)a.Length), load.LiveBytes);
        load.TakeSecond(source);
        Assert.InRange(load.LiveBytes, all / 4, all / 2);
        load.Check();
        source.Held.First()[4096] = 0;
        Assert.Contains("lost its contents", Assert.Throws<MeasurementException>(load.Check).Message, StringComparison.Ordinal);
        load.GiveAll(source);
        Assert.Empty(source.Held);
        Assert.Equal(0, load.LiveBytes);
    }

    [Fact]
    public void A_library_that_is_not_in_the_process_is_found_out()
    {
        ReturnContestant tuned = ReturnContestant.Find("jemalloc-tuned", "contestant");
        Assert.SkipUnless(tuned.Absence is null, $"{tuned.Absence}");
        Assert.Contains("not in the process's map", Assert.Throws<MeasurementException>(tuned.ProveLibrary).Message, StringComparison.Ordinal);
        Assert.Equal(tuned.Library, tuned.Environment["LD_PRELOAD"]);
        Assert.Equal("", ReturnContestant.Find("native-memory", "contestant").Environment["LD_PRELOAD"]);
    }

    [Fact]
    public void The_picture_is_drawn_of_any_curves_even_of_none()
    {
        MultiplePoint[] fall = [new(0, 10.5), new(1, 10.5), new(1.1, 1.03), new(30, 1.03)];
        ReturnCurve[] curves = [.. ReturnContestant.Names.Select(n => new ReturnCurve(n, fall, [new(0, 1.01), new(60, 1.01)]))];
        Assert.True(ReturnPicture.Render(curves).Length > 10_000);
        Assert.True(ReturnPicture.Render([new ReturnCurve("arena", [], [])]).Length > 1000);
    }

    private sealed class CountingSource : BufferSource
    {
        public HashSet<byte[]> Held { get; } = new(ReferenceEqualityComparer.Instance as IEqualityComparer<byte[]>);

        public override HeldBuffer Take(int bytes)
        {
            byte[] array = new byte[bytes];
            Held.Add(array);
            return new HeldBuffer(0, array, bytes);
        }

        public override void Give(HeldBuffer buffer) => Assert.True(Held.Remove(buffer.Array!));
    }
}
