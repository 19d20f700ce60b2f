using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using Xunit;

namespace LowLevel.Tests.House;

/// <summary>Each rule finds what is planted for it, at its line, and lets its innocent twin pass.</summary>
public sealed class SourceRulesTests
{
    [Theory]
    [InlineData("Native/A.cs", "internal unsafe struct A;\n", "unsafe on the members")]
    [InlineData("Native/A.cs", "public unsafe static partial class A;\n", "unsafe on the members")]
    [InlineData("perf/A.cs", "    #region all\n", "make it a type")]
    [InlineData("README.md", "a TO" + "DO is left\n", "finish it")]
    [InlineData("Native/A.cs", "// FIX" + "ME\n", "finish it")]
    [InlineData("tests/A.cs", "Thread.Sleep(1);\n", "never for time")]
    [InlineData("tests/A.cs", "await Task.Delay(1);\n", "never for time")]
    [InlineData("Interop/A.cs", "[LibraryImport(\"libc\")]\n", "source generator")]
    [InlineData("Interop/A.cs", "[GeneratedRegex(\"a\")]\n", "source generator")]
    [InlineData("Interop/A.cs", "[LoggerMessage(1)]\n", "source generator")]
    [InlineData("perf/A.cs", "class A : JsonSerializerContext;\n", "source generator")]
    [InlineData("README.md", "run it in /ho" + "me/somebody\n", "one machine")]
    [InlineData(".ci/run", "cd /wo" + "rk/main\n", "one machine")]
    [InlineData("README.md", "from https://api.nu" + "get.org/v3/index.json\n", "registry host")]
    [InlineData("README.md", "no end", "no line end")]
    [InlineData("README.md", "two\r\nends\n", "CR LF")]
    [InlineData("Native/A.cs", "using LowLevel.Interop.Linux;\n", "looks up to LowLevel.Interop")]
    [InlineData("Native/A.cs", "var a = new LowLevel.Allocator.PageArena();\n", "looks up to LowLevel.Allocator")]
    [InlineData("Interop/A.cs", "using LowLevel.Allocator;\n", "looks up to LowLevel.Allocator")]
    [InlineData("Allocator/A.cs", "using LowLevel.Perf;\n", "looks up to LowLevel.Perf")]
    [InlineData("Allocator/Pools/A.cs", "using LowLevel.Allocator.AspNetCore;\n", "looks up to LowLevel.Allocator.AspNetCore")]
    [InlineData("Allocator/AspNetCore/A.cs", "using LowLevel.Perf;\n", "looks up to LowLevel.Perf")]
    [InlineData("perf/A.cs", "using LowLevel.Tests.House;\n", "looks up to LowLevel.Tests")]
    [InlineData("Allocator/A.csproj", "<ProjectReference Include=\"../Allocator/AspNetCore/I.csproj\" />\n", "not below")]
    [InlineData("Native/A.csproj", "<ProjectReference Include=\"../Interop/I.csproj\" />\n", "not below")]
    [InlineData("Interop/A.csproj", "<ProjectReference Include=\"../Allocator/I.csproj\" />\n", "not below")]
    [InlineData("Native/Generator/A.csproj", "<ProjectReference Include=\"../../Native/I.csproj\" />\n", "not below")]
    [InlineData("perf/A.csproj", "<PackageReference Include=\"P\" Version=\"1.0.0\" />\n", "Directory.Packages.props")]
    [InlineData("Native/A.csproj", "<ProjectReference Include=\"../x\" OutputItemType=\"Analyzer\" />\n", "Roslyn plug-in")]
    public void A_planted_violation_is_found(string path, string text, string advice) =>
        Assert.Contains(SourceRules.Check(path, "\n" + text), v => v.StartsWith(path, StringComparison.Ordinal) && v.Contains(advice, StringComparison.Ordinal));

    [Theory]
    [InlineData("Native/A.cs", "internal struct A { public unsafe void F() { } } // no unsafe struct\n")]
    [InlineData("Native/A.cs", "var s = \"using LowLevel.Interop; Thread.Sleep [LibraryImport]\";\n")]
    [InlineData("perf/A.cs", "Thread.Sleep(1);\nusing LowLevel.Allocator;\n")]
    [InlineData("tests/A.cs", "// Thread.Sleep is banned\nusing LowLevel.Perf;\n")]
    [InlineData("README.md", "cat /proc/self/smaps; see ../home/a and todo lists\n")]
    [InlineData("Allocator/A.csproj", "<ProjectReference Include=\"../Interop/LowLevel.Interop.csproj\" />\n")]
    [InlineData("Allocator/AspNetCore/A.csproj", "<ProjectReference Include=\"../LowLevel.Allocator.csproj\" />\n")]
    [InlineData("Allocator/AspNetCore/A.cs", "using LowLevel.Allocator;\nnamespace LowLevel.Allocator.AspNetCore;\n")]
    [InlineData("perf/A.csproj", "<ProjectReference Include=\"../Allocator/AspNetCore/I.csproj\" />\n")]
    [InlineData("tests/A.csproj", "<ProjectReference Include=\"../perf/LowLevel.Perf.csproj\" />\n<PackageReference Include=\"xunit.v3\" />\n")]
    public void What_only_looks_like_a_violation_passes(string path, string text) => Assert.Empty(SourceRules.Check(path, text));

    [Theory]
    [InlineData(400, 0)]
    [InlineData(401, 1)]
    public void A_file_of_more_than_400_lines_is_found(int lines, int violations)
    {
        string text = string.Concat(Enumerable.Repeat("//\n", lines));
        Assert.Equal(violations, SourceRules.Check("Native/A.cs", text).Count());
        Assert.Empty(SourceRules.Check("Native/Generated/a.g.cs", text));
    }

    [Theory]
    [InlineData(170, 0)]
    [InlineData(171, 1)]
    public void A_line_of_more_than_170_characters_is_found(int characters, int violations) =>
        Assert.Equal(violations, SourceRules.Check("Native/A.cs", new string('/', characters) + "\n").Count());

    [Theory]
    [InlineData("void F()\n{", "}", 67)]
    [InlineData("int this[int i]\n{", "}", 67)]
    [InlineData("A() : base(1)\n{", "}", 67)]
    [InlineData("int F() => 0\n", "+ 1;", 67)]
    [InlineData("public static bool operator ==(A a, A b)\n{", "}", 67)]
    [InlineData("int P\n{", "}\n", 67)]
    public void A_function_of_more_than_70_lines_is_found(string head, string foot, int filling)
    {
        string Source(int lines) => "class A\n{\n" + head + string.Concat(Enumerable.Repeat("\n", lines)) + foot + "\n}\n";
        int before = head.AsSpan().Count('\n');
        Assert.Empty(SourceRules.Check("Native/A.cs", Source(filling + 2 - before)));
        Assert.Contains("Native/A.cs:3:", Assert.Single(SourceRules.Check("Native/A.cs", Source(filling + 3 - before))), StringComparison.Ordinal);
    }

    [Fact]
    public void Members_are_told_from_fields_types_and_text()
    {
        const string Source = """"
            using System;
            namespace N;
            [Attribute("class X {")]
            public sealed class A<T>(int x) : B
                where T : class
            {
                private static readonly (int A, Func<int> F)[] Table = [(1, () => { return 2; }), (3, () => 4)];
                private const string Text = $$"""{ {{F(new() { X = 1 })}} " { """;
                private char open = '{', quote = '"', escaped = '\'';

                // } void NotAMember() {
                [Fact]
                [InlineData("}")]
                public void First<U>(string s = "}")
                    where U : class
                {
                    var a = $"{s} {{ {(s == "{" ? "}" : $"{'"'}")} ";
                    var b = @"\";
                    if (s.Length > 0) { int Local() { return 1; } }
                }

                public int Second { get; set; } = 5;
                public int Third => x switch { 1 => 2, _ => 3 };
                public static bool operator ==(A<T> a, A<T> b) => true;
                private enum Kind { One, Two }
                private record struct Inner(int Value)
                {
                    public int Fourth() => Value;
                }
            #if DEBUG }
                ~A() { }
            #endif
            }
            """";
        Assert.Equal(
            ["public void First<U>(string s = \" \")", "public int Second { get; set; } = 5;", "public int Third => x switch { 1 => 2, _ => 3 };",
                "public static bool operator ==(A<T> a, A<T> b) => true;", "public int Fourth() => Value;", "~A() { }"],
            CSharpText.Members(Source).Select(m => m.Declaration));
        Member first = CSharpText.Members(Source).First();
        Assert.Equal((14, 20), (first.FirstLine, first.LastLine));
    }

    [Fact]
    public void The_root_is_found_from_below_and_its_absence_is_told()
    {
        Assert.Equal(Repository.Root, Repository.FindRoot(Path.Combine(Repository.Root, "tests", "House")));
        Assert.Contains("LowLevel.sln", Assert.Throws<DirectoryNotFoundException>(() => Repository.FindRoot("/proc")).Message, StringComparison.Ordinal);
    }
}
