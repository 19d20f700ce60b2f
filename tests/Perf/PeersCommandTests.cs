using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text.Json;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class PeersCommandTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lowlevel-peers-");

    public void Dispose() => folder.Delete(recursive: true);

    [Theory]
    [InlineData("peers --rounds 0", "--rounds")]
    [InlineData("peers --patterns fifo", "fifo")]
    [InlineData("peers --patterns lifo,,bulk", "--patterns")]
    [InlineData("peers --sizes 8192", "8192")]
    [InlineData("peers --threads 4", "--threads")]
    [InlineData("peers --patterns prodcons --threads 1", "--threads")]
    [InlineData("peers --touched perhaps", "--touched")]
    [InlineData("peers --contestants arena,nobody", "nobody")]
    [InlineData("peers --sises 4096", "--sises")]
    [InlineData("peers-child --contestant nobody", "nobody")]
    [InlineData("peers-child", "--contestant")]
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
    public void Without_options_every_row_of_both_tables_is_measured_with_everybody()
    {
        PeersPlan plan = PeersPlan.Read(Arguments.Parse([]));
        Assert.Equal(2 * ((3 * 4 * 2) + 4), plan.Cells.Count);
        Assert.Equal(plan.Cells.Count, plan.Cells.Distinct().Count());
        Assert.Equal(5, plan.Rounds);
        Assert.Equal(PeersContestants.Names, plan.Contestants);
        Assert.All(plan.Cells, c => Assert.Equal(c, PeerCell.Parse(c.ToLine())));
    }

    [Fact]
    public void Options_restrict_the_rows_in_the_order_of_the_tables()
    {
        PeersPlan plan = PeersPlan.Read(Arguments.Parse(
            ["--patterns", "prodcons,lifo", "--sizes", "65536,4096", "--threads", "2", "--touched", "no", "--contestants", "mmap,arena"]));
        Assert.Equal(
            [new("lifo", 4096, 2, false), new("lifo", 65536, 2, false), new("prodcons", 4096, 2, false), new("prodcons", 65536, 2, false)],
            plan.Cells);
        Assert.Equal(["arena", "mmap"], plan.Contestants);
    }

    [Fact]
    public void Everybody_has_a_turn_in_each_row_and_another_begins_each_time()
    {
        Assert.Equal(["b", "c", "a"], PeersPlan.InTurn(["a", "b", "c"], 1, 0));
        Assert.Equal(["a", "b", "c"], PeersPlan.InTurn(["a", "b", "c"], 1, 2));
    }

    [Fact]
    public void The_line_protocol_warms_measures_and_ends()
    {
        using var load = new ArenaLoad();
        using var output = new StringWriter();
        PeerServer.Serve(load, new StringReader("lifo\t4096\t1\tuntouched\nprodcons\t65536\t2\ttouched\nfinish\nnever read\n"), output);
        string[][] lines = [.. output.ToString().TrimEnd().Split('\n').Select(l => l.Split('\t'))];
        Assert.Equal(["warm", "done", "done"], lines.Select(l => l[0]));
        Assert.All(lines[1..], l => Assert.Equal(3, l.Length));
        Assert.Equal(0, load.AllocatedBytes);
    }

    [Theory]
    [InlineData("jemalloc")]
    [InlineData("mimalloc")]
    [InlineData("tcmalloc")]
    public void A_preloaded_library_is_seen_in_its_process(string contestant)
    {
        string? library = PeerLibrary.Find(contestant);
        Assert.SkipWhen(library is null, $"{string.Join(" or ", PeerLibrary.SonamesOf(contestant))} is not installed");
        using ChildProcess child = ChildProcess.Start(
            contestant, ["peers-child", "--contestant", contestant], new Dictionary<string, string> { ["LD_PRELOAD"] = library! });
        string[] loaded = child.WaitFor("library").Words[1..];
        Assert.Contains(loaded, l => l.StartsWith("lib" + contestant, StringComparison.Ordinal));
        Assert.Null(PeersContestants.Misfit(contestant, loaded));
        Assert.NotNull(PeersContestants.Misfit("glibc", loaded));
    }

    [Fact]
    public void A_library_that_is_not_in_is_noticed()
    {
        string[] loaded = PeerLibrary.InMaps("7f00-7f01 r-xp 00000000 fe:00 1   /usr/lib/libc.so.6\n7f02-7f03 rw-p 00000000 00:00 0 \n");
        Assert.Equal(["libc.so.6"], loaded);
        Assert.StartsWith("absent", PeersContestants.Misfit("jemalloc", loaded), StringComparison.Ordinal);
        Assert.Null(PeersContestants.Misfit("glibc", loaded));
    }

    [Theory]
    [InlineData("a.targets(1,2): error : Platform linker not found. [a.csproj]", "absent: error : Platform linker not found.")]
    [InlineData("a.cs(1,2): error CS1: x [a.csproj]\nb: error CS2: y", "absent: error CS1: x")]
    [InlineData("nothing said", "absent: dotnet publish ended with code 1")]
    public void A_build_ahead_of_time_that_failed_gives_its_reason(string output, string reason) => Assert.Equal(reason, PeersAot.Reason(1, output));

    [Fact]
    public void A_small_run_ends_with_rows_of_every_contestant_that_was_there()
    {
        string json = Path.Combine(folder.FullName, "rows.json");
        (int code, string output) = PerfProcess.Run(
            folder.FullName,
            "peers", "--rounds", "1", "--patterns", "lifo", "--sizes", "4096", "--threads", "1", "--contestants", "arena,glibc,mmap", "--json", json);
        Assert.True(code == 0, output);
        Assert.Contains("geometric mean", output, StringComparison.Ordinal);
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(json));
        Assert.Equal(
            ["arena", "glibc", "mmap", "arena", "glibc", "mmap"],
            report.RootElement.GetProperty("rows").EnumerateArray().Select(r => r.GetProperty("contestant").GetString()));
    }
}
