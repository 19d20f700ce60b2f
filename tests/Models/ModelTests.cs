using System;
using System.Linq;
using LowLevel.Tests.House;
using LowLevel.Tests.Packages;
using LowLevel.Tests.Peers;
using Xunit;

namespace LowLevel.Tests.Models;

/// <summary>The protocol models, run with spin: what holds is searched without an error, and each mutation has its error found. The cases and
/// their sizes stand in cases.txt.</summary>
public sealed class ModelTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);

    private static readonly string[] s_reactor = ["reactor", "driver", "closing", "program", "hosts"];

    private static string[][] Cases =>
    [
        .. Repository.Read("tests/Models/cases.txt").Split('\n').Where(line => line.Length > 0 && line[0] != '#')
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)),
    ];

    /// <summary>Names of what holds.</summary>
    public static TheoryData<string> Models => Names("holds");

    /// <summary>Names of the mutations.</summary>
    public static TheoryData<string> Mutations => Names("fails");

    [Theory]
    [MemberData(nameof(Models))]
    public void Spin_finds_no_error(string name) => Assert.Contains(" 0 errors", Run(name, "HOLDS"), StringComparison.Ordinal);

    [Theory]
    [MemberData(nameof(Mutations))]
    public void Spin_finds_the_error_of_each_mutation(string name) => Assert.DoesNotContain(" 0 errors", Run(name, "FAILS"), StringComparison.Ordinal);

    /// <summary>A mutation whose word the model does not know would be no mutation.</summary>
    [Fact]
    public void Every_word_that_a_case_defines_is_known_to_its_model()
    {
        Assert.NotEmpty(Cases);
        Assert.All(Cases, one =>
        {
            string model = string.Join('\n', one[1] == "ring" ? [Model("ring")] : s_reactor.Select(Model));
            Assert.All(one[4..], word => Assert.Matches($@"(?m)^#(ifdef|ifndef) {word.Split('=')[0]}$", model));
        });
    }

    private static string Model(string name) => Repository.Read($"tests/Models/{name}.pml");

    private static TheoryData<string> Names(string expected) => [.. Cases.Where(one => one[3] == expected).Select(one => one[0])];

    /// <summary>The line with the outcome.</summary>
    private static string Run(string name, string outcome)
    {
        Assert.SkipUnless(Dotnet.IsOnPath(["cc"]), "no C compiler: cc is not on the PATH");
        Assert.SkipUnless(Dotnet.IsOnPath(["bash"]), "no bash on the PATH");
        using PeerProcess process = new("bash", [Repository.Full("tests/Models/run.sh"), "--spin", PeerTools.Spin(), name]);
        string line = process.WaitForLine(name + ": ", Patience);
        Assert.True(process.WaitForExit(Patience) == 0, process.Output);
        Assert.StartsWith($"{name}: {outcome}, ", line, StringComparison.Ordinal);
        return line;
    }
}
