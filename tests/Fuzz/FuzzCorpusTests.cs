using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Perf;
using LowLevel.Tests.House;
using Xunit;

namespace LowLevel.Tests.Fuzz;

/// <summary>The short form of <c>perf fuzz</c>: what was worth keeping is played again, and a fixed number of inputs is made from it. A failure prints the
/// lines that <c>perf fuzz --target NAME --replay FILE</c> takes.</summary>
public sealed class FuzzCorpusTests
{
    private const ulong Seed = 20_26;

    public static TheoryData<string, int> Targets => new()
    {
        { "device-queue", 100_000 },
        { "driver-queue", 80_000 },
        { "balloon-device", 30_000 },
        { "balloon-driver", 600 },
        { "vhost-user", 6_000 },
    };

    [Theory]
    [MemberData(nameof(Targets))]
    public void Whatever_the_other_side_does_nothing_is_lost_or_touched_that_should_not_be(string target, int rings)
    {
        using IFuzzTarget attacked = FuzzTargets.Make(target);
        List<byte[]> corpus = FuzzCorpus.Load(FuzzCorpus.PathOf(Folder, target));
        Assert.NotEmpty(corpus);
        FuzzResult result = new FuzzLoop(attacked, new FuzzMap()).Run(corpus, rings, time: null, Seed);
        Assert.True(result.Finding is null, $"{result.Finding}\n{string.Join('\n', result.Inputs.Select(System.Convert.ToHexString))}");
        Assert.Equal(corpus.Count + rings, result.Rings);
    }

    [Theory]
    [InlineData("device-queue")]
    [InlineData("driver-queue")]
    public void Memory_that_changes_between_two_reads_is_read_once(string target)
    {
        using IFuzzTarget attacked = FuzzTargets.Make(target);
        ((IRacingTarget)attacked).IsRacing = true;
        FuzzResult result = new FuzzLoop(attacked, new FuzzMap()).Run(FuzzCorpus.Load(FuzzCorpus.PathOf(Folder, target)), 10_000, time: null, Seed);
        Assert.True(result.Finding is null, result.Finding);
    }

    [Fact]
    public void Every_target_has_a_corpus_and_is_played_here() =>
        Assert.Equal(FuzzTargets.Names.Order(), Targets.Select(static row => row.Data.Item1).Order());

    private static string Folder => Path.Combine(Repository.Root, "tests", "Fuzz", "corpus");
}
