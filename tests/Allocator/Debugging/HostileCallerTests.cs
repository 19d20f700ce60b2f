using System;
using System.IO;
using System.Linq;
using System.Text;
using LowLevel.Tests.House;
using Xunit;

namespace LowLevel.Tests.Allocator.Debugging;

/// <summary>SECURITY.md says what comes of each thing that a hostile caller can do; this does them, in both modes, and compares.</summary>
public sealed class HostileCallerTests
{
    private const string File = "SECURITY.md";
    private const string Begin = "<!-- begin hostile-caller table -->\n";
    private const string End = "<!-- end hostile-caller table -->";
    private const string Rewrite = "LOWLEVEL_REWRITE_SECURITY";

    [Fact]
    public void What_comes_of_each_hostile_act_is_what_SECURITY_says()
    {
        string table = Table();
        string text = Repository.Read(File);
        int from = text.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length;
        int to = text.IndexOf(End, StringComparison.Ordinal);
        Assert.True(from >= Begin.Length && to >= from, $"{File} has no place for the table");
        if (Environment.GetEnvironmentVariable(Rewrite) == "1")
        {
            System.IO.File.WriteAllText(Repository.Full(File), text[..from] + table + text[to..]);
            return;
        }

        string[] expected = text[from..to].Split('\n');
        string[] found = table.Split('\n');
        string[] wrong = [.. found.Except(expected).Select(line => "found:    " + line), .. expected.Except(found).Select(line => "SECURITY: " + line)];
        string advice = $"run this test with {Rewrite}=1 to rewrite the table, and look at what it says:\n";
        Assert.True(wrong.Length == 0 && text[from..to] == table, advice + string.Join('\n', wrong));
    }

    [Fact]
    public void Debug_mode_detects_all_but_what_the_table_is_known_to_leave()
    {
        string[] left = [.. HostileActs.All.Where(act => act.Run(true).Contains("not detected", StringComparison.Ordinal)).Select(act => act.Name)];
        Assert.Equal(["writes past the end of a block into the next one"], left);
    }

    private static string Table()
    {
        StringBuilder table = new("| what a hostile caller does | default mode | debug mode (`DebugChecks`) |\n|---|---|---|\n");
        foreach ((string name, Func<bool, string> run) in HostileActs.All)
        {
            table.Append($"| {name} | {run(false)} | {run(true)} |\n");
        }

        return table.ToString();
    }
}
