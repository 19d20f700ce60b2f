using System.IO;
using LowLevel.Perf;
using Xunit;

namespace LowLevel.Tests.Perf;

public sealed class ArgumentsTests
{
    [Fact]
    public void Options_are_read_by_kind_and_absent_ones_take_their_default()
    {
        Arguments arguments = Arguments.Parse(["--scale", "1/8", "--fast", "--pairs", "12", "--blocks", "large"]);
        Assert.Equal(0.125, arguments.Number("scale", 1, 0.001, 10));
        Assert.True(arguments.Flag("fast"));
        Assert.False(arguments.Flag("slow"));
        Assert.Equal(12, arguments.Integer("pairs", 9, 1, 99));
        Assert.Equal(9, arguments.Integer("rounds", 9, 1, 99));
        Assert.Equal("large", arguments.Choice("blocks", "mixed", "large"));
        Assert.Equal("a", arguments.Choice("other", "a", "b"));
        Assert.Null(arguments.JsonPath);
        arguments.End();
    }

    [Theory]
    [InlineData("0")]
    [InlineData("0/8")]
    [InlineData("1/0")]
    [InlineData("-1")]
    [InlineData("-1/8")]
    [InlineData("1/8/2")]
    [InlineData("NaN")]
    [InlineData("Infinity")]
    [InlineData("1e3")]
    [InlineData("")]
    [InlineData("eighth")]
    [InlineData("5")]
    public void A_number_outside_its_range_or_no_number_is_refused_by_name(string text)
    {
        UsageException refused = Assert.Throws<UsageException>(() => Arguments.Parse(["--scale", text]).Number("scale", 1, 0.001, 4));
        Assert.Contains("--scale", refused.Message, System.StringComparison.Ordinal);
        Assert.Contains("allowed", refused.Message, System.StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("100")]
    [InlineData("1.5")]
    [InlineData("99999999999")]
    public void A_whole_number_outside_its_range_is_refused(string text) =>
        Assert.Throws<UsageException>(() => Arguments.Parse(["--pairs", text]).Integer("pairs", 9, 1, 99));

    [Theory]
    [InlineData("plain")]
    [InlineData("--")]
    [InlineData("--a 1 2")]
    [InlineData("--a 1 --a 2")]
    public void What_is_no_option_is_refused(string line) =>
        Assert.Throws<UsageException>(() => Arguments.Parse(line.Split(' ')));

    [Fact]
    public void A_value_is_missing_a_flag_has_one_too_many_and_a_word_is_not_among_those_allowed()
    {
        Arguments arguments = Arguments.Parse(["--pairs", "--fast", "yes", "--blocks", "tiny"]);
        Assert.Throws<UsageException>(() => arguments.Integer("pairs", 9, 1, 99));
        Assert.Throws<UsageException>(() => arguments.Flag("fast"));
        UsageException refused = Assert.Throws<UsageException>(() => arguments.Choice("blocks", "mixed", "large"));
        Assert.Contains("mixed, large", refused.Message, System.StringComparison.Ordinal);
    }

    [Fact]
    public void An_option_that_nobody_asked_for_is_unknown_and_the_known_ones_are_named()
    {
        Arguments arguments = Arguments.Parse(["--sped", "60"]);
        arguments.Number("speed", 60, 1, 100);
        UsageException refused = Assert.Throws<UsageException>(arguments.End);
        Assert.Contains("--sped", refused.Message, System.StringComparison.Ordinal);
        Assert.Contains("--json, --speed", refused.Message, System.StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/no/such/folder/rows.json")]
    [InlineData("/tmp")]
    public void Rows_go_only_where_a_file_can_be(string path) =>
        Assert.Throws<UsageException>(() => Arguments.Parse(["--json", path]).End());

    [Theory]
    [InlineData("nonsense", "nonsense")]
    [InlineData("replay --scale 0", "--scale")]
    [InlineData("replay --speed 0", "--speed")]
    [InlineData("replay --demand /no/such/file.csv", "/no/such/file.csv")]
    [InlineData("replay --what 1", "--what")]
    [InlineData("plant --blocks huge", "--blocks")]
    [InlineData("plant --scale 0", "--scale")]
    [InlineData("--blocks huge", "--blocks")]
    [InlineData("fault --pairs 0", "--pairs")]
    [InlineData("fault --json /no/such/folder/x.json", "--json")]
    [InlineData("plant surplus", "surplus")]
    public void Bad_input_ends_with_one_line_that_names_it_and_code_2_and_no_output(string line, string named)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(2, Program.Run(line.Split(' '), output, error));
        Assert.Equal("", output.ToString());
        string said = Assert.Single(error.ToString().TrimEnd().Split('\n'));
        Assert.Contains(named, said, System.StringComparison.Ordinal);
        Assert.Contains("allowed", said, System.StringComparison.Ordinal);
    }

    [Fact]
    public void Help_lists_every_command_but_those_that_run_in_children()
    {
        using var output = new StringWriter();
        Assert.Equal(0, Program.Run(["help"], output, TextWriter.Null));
        Assert.Contains("plant", output.ToString(), System.StringComparison.Ordinal);
        Assert.Contains("replay", output.ToString(), System.StringComparison.Ordinal);
        Assert.DoesNotContain("child", output.ToString(), System.StringComparison.Ordinal);
    }
}
