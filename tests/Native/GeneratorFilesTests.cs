using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using LowLevel.Generator;
using LowLevel.Tests.House;
using Xunit;
using GeneratorProgram = LowLevel.Generator.Program;

namespace LowLevel.Tests.Native;

/// <summary>The generator as a program: what it writes, what --check finds, and the checkout itself.</summary>
public sealed class GeneratorFilesTests : IDisposable
{
    private const string Good = "source \"a manual\"\nstruct Pair size 8 align 4 \"two words\"\n  0 u32 one\n  4 u16 two\n";
    private readonly string _root = Directory.CreateTempSubdirectory("lowlevel-generator-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void What_is_checked_in_is_what_the_layouts_say()
    {
        (int exitCode, string output, string error) = Run("--check", "--root", Repository.Root);
        Assert.Equal("", error);
        Assert.Equal(0, exitCode);
        Assert.EndsWith("all up to date\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_wrong_layout_ends_with_its_place_and_nothing_is_written()
    {
        WriteLayout("a", Good);
        WriteLayout("b", "source \"a manual\"\nstruct Bad size 8 align 8\n  0 u128 x\n");
        (int exitCode, string output, string error) = Run("--root", _root);
        Assert.Equal(1, exitCode);
        Assert.Equal("", output);
        Assert.StartsWith("b.layout:3: u128 is no type; allowed: ", error, StringComparison.Ordinal);
        Assert.Equal(["Native/Layouts/a.layout", "Native/Layouts/b.layout"], Files());
    }

    [Fact]
    public void A_second_run_changes_nothing_and_leaves_no_temporary_file()
    {
        WriteLayout("a", Good);
        Assert.Equal((0, "3 files from 1 layouts, 3 changed\n", ""), Run("--root", _root));
        Assert.Equal((0, "3 files from 1 layouts, 0 changed\n", ""), Run("--root", _root));
        Assert.Equal((0, "3 files from 1 layouts, all up to date\n", ""), Run("--root", _root, "--check"));
        Assert.Equal(
            ["Native/Generated/a.g.cs", "Native/Layouts/a.layout", "tests/Native/Generated/aTests.g.cs", "tests/Native/Generated/probe.c"],
            Files());
    }

    [Fact]
    public void Check_names_a_file_that_differs_by_one_byte_and_the_command_and_writes_nothing()
    {
        WriteLayout("a", Good);
        _ = Run("--root", _root);
        string path = Path.Combine(_root, "Native", "Generated", "a.g.cs");
        string changed = File.ReadAllText(path).Replace("Size = 8", "Size = 9", StringComparison.Ordinal);
        File.WriteAllText(path, changed);
        Assert.Equal(
            (1, "", "Native/Generated/a.g.cs differs from what its layout says; run: dotnet run --project Native/Generator\n"),
            Run("--root", _root, "--check"));
        Assert.Equal(changed, File.ReadAllText(path));
    }

    [Fact]
    public void Check_names_a_layout_that_was_changed_even_in_a_comment()
    {
        WriteLayout("a", Good);
        _ = Run("--root", _root);
        WriteLayout("a", Good + "# nothing\n");
        Assert.Equal(1, Run("--root", _root, "--check").ExitCode);
    }

    [Fact]
    public void Check_names_a_missing_file_and_a_superfluous_one_and_a_run_repairs_both()
    {
        WriteLayout("a", Good);
        _ = Run("--root", _root);
        File.Delete(Path.Combine(_root, "tests", "Native", "Generated", "aTests.g.cs"));
        string error = Run("--root", _root, "--check").Error;
        Assert.StartsWith("tests/Native/Generated/aTests.g.cs is missing; run: ", error, StringComparison.Ordinal);
        Assert.Equal(0, Run("--root", _root).ExitCode);

        File.WriteAllText(Path.Combine(_root, "Native", "Generated", "old.g.cs"), "");
        error = Run("--root", _root, "--check").Error;
        Assert.StartsWith("Native/Generated/old.g.cs is superfluous: no layout has it; run: ", error, StringComparison.Ordinal);
        Assert.Equal((0, "3 files from 1 layouts, 1 changed\n", ""), Run("--root", _root));
        Assert.Equal(0, Run("--root", _root, "--check").ExitCode);
    }

    [Fact]
    public void The_root_is_found_from_any_folder_below_it()
    {
        WriteLayout("a", Good);
        string below = Directory.CreateDirectory(Path.Combine(_root, "x", "y")).FullName;
        Assert.Equal(_root, LayoutFiles.FindRoot(below));
    }

    [Theory]
    [InlineData("--chekc", "--chekc is not known; allowed: [--check] [--root DIR]\n")]
    [InlineData("--root", "--root without a folder; allowed: [--check] [--root DIR]\n")]
    public void A_wrong_argument_is_named(string argument, string error) => Assert.Equal((1, "", error), Run(argument));

    [Fact]
    public void A_root_without_layouts_is_named() => Assert.Equal(
        (1, "", $"--root {_root}: there is no Native/Layouts in it; allowed: the root of the repository\n"), Run("--root", _root));

    [Fact]
    public void A_folder_without_texts_is_an_error_and_removes_nothing()
    {
        WriteLayout("a", Good);
        _ = Run("--root", _root);
        File.Delete(Path.Combine(_root, "Native", "Layouts", "a.layout"));
        (int exitCode, _, string error) = Run("--root", _root);
        Assert.Equal(1, exitCode);
        Assert.Equal($"no *.layout in {Path.Combine(_root, "Native", "Layouts")}; allowed: at least one\n", error);
        Assert.Equal(3, Files().Count());
    }

    [Fact]
    public void A_text_that_is_no_UTF_8_is_named()
    {
        WriteLayout("a", Good);
        string path = Path.Combine(_root, "Native", "Layouts", "b.layout");
        File.WriteAllBytes(path, [(byte)'#', 0xff, (byte)'\n']);
        Assert.Equal((1, "", $"{path}: byte 1 is no UTF-8; allowed: UTF-8 text\n"), Run("--root", _root));
    }

    [Fact]
    public void Line_ends_of_the_checkout_do_not_matter()
    {
        WriteLayout("a", Good);
        _ = Run("--root", _root);
        WriteLayout("a", Good.Replace("\n", "\r\n", StringComparison.Ordinal));
        Assert.Equal((0, "3 files from 1 layouts, all up to date\n", ""), Run("--root", _root, "--check"));
    }

    [Fact]
    public void A_struct_is_drawn_with_its_gaps()
    {
        Assert.Equal(
            [
                "+--------+-------+--------+-------+------+",
                "| offset | bytes | type   | field | view |",
                "+--------+-------+--------+-------+------+",
                "|      0 |     8 | u8*[1] | p     |      |",
                "|      8 |     8 | u64    | whole | v    |",
                "|      8 |     2 | u16    | half  |      |",
                "|     14 |     1 | u8     | end   | w    |",
                "+--------+-------+--------+-------+------+",
            ],
            Draw("X", "source \"s\"\nstruct X size 16 align 8\n 8 u64 whole view v\n 8 u16 half\n 0 u8*[1] p\n 14 u8 end view w"));
        Assert.Equal("|      6 |     2 |      | (unused) |      |", Draw("Pair", Good)[5]);
    }

    private static List<string> Draw(string name, string text)
    {
        List<LayoutError> errors = [];
        LayoutModel? model = LayoutModel.Read([new LayoutText("a", text)], errors);
        Assert.Empty(errors);
        return StructPicture.Draw(Assert.IsType<StructDeclaration>(model!.Find(name)), model);
    }

    private (int ExitCode, string Output, string Error) Run(params string[] arguments)
    {
        using StringWriter output = new() { NewLine = "\n" };
        using StringWriter error = new() { NewLine = "\n" };
        int exitCode = GeneratorProgram.Run(arguments, _root, output, error);
        return (exitCode, output.ToString(), error.ToString());
    }

    private void WriteLayout(string name, string text)
    {
        string folder = Directory.CreateDirectory(Path.Combine(_root, "Native", "Layouts")).FullName;
        File.WriteAllText(Path.Combine(folder, name + ".layout"), text);
    }

    private IEnumerable<string> Files() => Directory.GetFiles(_root, "*", SearchOption.AllDirectories)
        .Select(path => Path.GetRelativePath(_root, path)).Order(StringComparer.Ordinal);
}
