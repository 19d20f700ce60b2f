using System.Collections.Generic;
using System.Linq;
using LowLevel.Generator;
using Xunit;

namespace LowLevel.Tests.Native;

/// <summary>Each thing that a layout text may not say, with the exact message: file, line, what is wrong, what is allowed.</summary>
public sealed class GeneratorErrorTests
{
    private const string Source = "source \"a manual, section 1\"\n";

    /// <summary>Line 2 is the first of each text: line 1 is the source.</summary>
    [Theory]
    [InlineData("union X", "t.layout:2: union declares nothing; allowed: source, struct, bits, enum, const, table")]
    [InlineData("struct X size 8", "t.layout:2: the line ends where align is expected")]
    [InlineData("struct X align 8", "t.layout:2: align stands where size is expected")]
    [InlineData("struct X size eight align 8", "t.layout:2: eight is no size; allowed: 0 to 1048576 in decimal, or hexadecimal after 0x")]
    [InlineData("struct 9X size 8 align 8",
        "t.layout:2: 9X is no name for the struct; allowed: a letter, then letters, digits and underscores")]
    [InlineData("struct X size 8 align 8 \"one\" \"two\"", "t.layout:2: a second documentation text; allowed: one")]
    [InlineData("struct X size 8 align 8 squeezed",
        "t.layout:2: squeezed is not known here; allowed: documentation in quotes, packed, c, header")]
    [InlineData("struct X size 8 align 8 \"open", "t.layout:2: the text that begins in column 25 has no closing quote")]
    [InlineData("struct X size 8 align 8 c \"struct x\"",
        "t.layout:2: no header for the C name struct x; allowed: header \"...\" here or at the source")]
    [InlineData("struct X size 8 align 8 header \"x.h\"", "t.layout:2: header \"x.h\" without a C name; allowed: c NAME header \"...\"")]
    [InlineData("struct X size 8 align 3\n 0 u8 a", "t.layout:2: X has alignment 3; allowed: a power of two from 1 to 4096")]
    [InlineData("struct X size 8 align 0\n 0 u8 a", "t.layout:2: X has alignment 0; allowed: a power of two from 1 to 4096")]
    [InlineData("struct X size 12 align 8\n 0 u64 a", "t.layout:2: X has size 12; allowed: a positive multiple of its alignment, 8")]
    [InlineData("struct X size 0 align 8", "t.layout:2: X has size 0; allowed: a positive multiple of its alignment, 8")]
    [InlineData("struct X size 8 align 1\n 0 u8[8] a",
        "t.layout:2: X has no field that is not an array; allowed: at least one, it carries the alignment")]
    [InlineData("struct X size 8 align 8\n 0 word a", "t.layout:3: word is no type; allowed: u8, u16, u32, u64, i32, X")]
    [InlineData("struct X size 8 align 8\n 0 word* a", "t.layout:3: word is no type; allowed: u8, u16, u32, u64, i32, X")]
    [InlineData("struct X size 8 align 8\n 0 int a", "t.layout:3: int is no type; allowed: u8, u16, u32, u64, i32, X")]
    [InlineData("struct X size 8 align 8\n 0 u8[0] a",
        "t.layout:3: u8[0] is no type; allowed: T, T*, T[n], T*[n] with n from 1 to 65536")]
    [InlineData("struct X size 8 align 8\n 0 u8** a", "t.layout:3: u8** is no type; allowed: T, T*, T[n], T*[n]")]
    [InlineData("struct X size 8 align 8\n 0 X a", "t.layout:3: a holds X in X itself; allowed: a pointer, X*")]
    [InlineData("struct X size 16 align 8\n 4 u64 a", "t.layout:3: a (u64) is at offset 4; allowed: multiples of 8, or packed")]
    [InlineData("struct X size 8 align 4\n 0 u64 a",
        "t.layout:3: a (u64) has alignment 8, X 4; allowed: at most the struct's, or packed")]
    [InlineData("struct X size 8 align 8\n 0 u64 a\n 8 u32 b", "t.layout:4: b (u32) ends at 12; allowed: up to the size of X, 8")]
    [InlineData("struct X size 8 align 8\n 0 u32 a\n 4 u16[3] b",
        "t.layout:4: b (u16[3]) ends at 10; allowed: up to the size of X, 8")]
    [InlineData("struct X size 8 align 8\n 0 u32 a\n 4 u32 a", "t.layout:4: a stands a second time in X, first in line 3; allowed: once")]
    [InlineData("struct X size 8 align 8\n 0 u32 a_b\n 4 u32 aB",
        "t.layout:4: aB stands a second time in X, first in line 3; allowed: once")]
    [InlineData("struct X size 8 align 8\n 0 u32 alignment",
        "t.layout:3: alignment would be called Alignment in X; allowed: any name but SizeInBytes, Alignment, X")]
    [InlineData("struct X size 8 align 8\n 0 u32 x",
        "t.layout:3: x would be called X in X; allowed: any name but SizeInBytes, Alignment, X")]
    [InlineData("struct X size 8 align 8\n 0 u64 a\n 4 u32 b",
        "t.layout:4: b at 4 overlaps a at 0 (line 3), both in no view; allowed: fields that follow each other, or different views")]
    [InlineData("struct X size 8 align 8\n 0 u64 a view v\n 4 u32 b view v",
        "t.layout:4: b at 4 overlaps a at 0 (line 3), both in view v; allowed: fields that follow each other, or different views")]
    [InlineData("bits X u24\n 1 A", "t.layout:2: u24 is no integer type; allowed: u8, u16, u32, u64, i32")]
    [InlineData("bits X u8", "t.layout:2: X is empty; allowed: at least one line below it")]
    [InlineData("bits X u8\n one A", "t.layout:3: one is no bit; allowed: bit n, or a value in decimal, or hexadecimal after 0x")]
    [InlineData("bits X u8\n bit 64 A", "t.layout:3: 64 is no bit number; allowed: 0 to 63 in decimal, or hexadecimal after 0x")]
    [InlineData("bits X u8\n bit 8 A", "t.layout:3: A is 0x100; allowed: one bit of the 8 of u8")]
    [InlineData("bits X u8\n 3 A", "t.layout:3: A is 0x3; allowed: one bit of the 8 of u8")]
    [InlineData("bits X u8\n 0 A", "t.layout:3: A is 0x0; allowed: one bit of the 8 of u8")]
    [InlineData("bits X u8\n 1 A\n bit 0 B", "t.layout:4: B is the bit of A (0x1); allowed: a bit of its own, or alias")]
    [InlineData("bits X u8\n 1 A\n 2 A", "t.layout:4: A stands a second time in X, first in line 3; allowed: once")]
    [InlineData("bits X u8\n 1 A\n 2 B alias A", "t.layout:4: B (0x2) is an alias of A; allowed: its value, 0x1")]
    [InlineData("bits X u8\n 1 A\n 1 B alias C", "t.layout:4: B is an alias of C, which is not declared above it; allowed: A")]
    [InlineData("bits X u8\n 1 B alias B", "t.layout:3: B is an alias of B, which is not declared above it; allowed: nothing so far")]
    [InlineData("bits X u64 inverted base 0xf0000000\n 1 A", "t.layout:2: inverted bits in u64; allowed: u32")]
    [InlineData("bits X u32 inverted base 0xf0000000\n 0x10000000 A",
        "t.layout:3: A (0x10000000) lies in the base 0xf0000000; allowed: bits outside of it")]
    [InlineData("enum X u8\n 256 A", "t.layout:3: A is 256; allowed: 0 to 255 (u8)")]
    [InlineData("enum X u8\n 1 A\n 1 B", "t.layout:4: B has the value of A, 1; allowed: a value of its own")]
    [InlineData("enum X u8\n -1 A", "t.layout:3: -1 is no value; allowed: 0 to 4294967295 in decimal, or hexadecimal after 0x")]
    [InlineData("enum X int\n 1 A", "t.layout:2: int is no integer type; allowed: u8, u16, u32, u64, i32")]
    [InlineData("const X\n long A 1", "t.layout:3: long is no integer type; allowed: int, u8, u16, u32, u64, i32")]
    [InlineData("const X\n u16 A 65536", "t.layout:3: A is 65536; allowed: 0 to 65535 (u16)")]
    [InlineData("const X\n int A 1\n int A 2", "t.layout:4: A stands a second time in X, first in line 3; allowed: once")]
    [InlineData("const X\n int A", "t.layout:3: the line ends where value is expected")]
    [InlineData("const u8\n int A 1", "t.layout:2: u8 is an integer type; allowed: any other name")]
    [InlineData("enum E u8\n 1 A\nconst E\n int A 1",
        "t.layout:4: E is declared a second time, first at t.layout:2; allowed: one declaration of a name")]
    [InlineData("table T E 1x1\n A A", "t.layout:2: E is no enumeration; allowed: nothing so far")]
    [InlineData("enum E u8\n 1 A\ntable T E 3by1", "t.layout:4: 3by1 is no shape; allowed: rows x columns, each 1 to 64, such as 3x2")]
    [InlineData("enum E u8\n 1 A\ntable T E 2x1\n A A", "t.layout:4: T has 1 rows; allowed: 2, as declared")]
    [InlineData("enum E u8\n 1 A\ntable T E 1x2\n A A", "t.layout:5: row A has 1 cells; allowed: 2, as declared")]
    [InlineData("enum E u8\n 1 A\ntable T E 1x1\n A B", "t.layout:5: B is no member of E; allowed: A")]
    [InlineData("enum E u8\n 1 A\n 2 B\ntable T E 2x1\n A B\n A A",
        "t.layout:7: A stands a second time in T, first in line 6; allowed: once")]
    public void A_wrong_text_is_refused_with_its_place_and_what_is_allowed(string text, string error) =>
        Assert.Equal([error], Errors(Source + text));

    [Fact]
    public void A_declaration_without_a_source_is_refused() => Assert.Equal(
        ["t.layout:1: no source stands above this declaration; allowed: source \"what is mirrored, its version and its file or section\""],
        Errors("enum E u8\n 1 A"));

    [Fact]
    public void A_member_without_a_declaration_is_refused() => Assert.Equal(
        ["t.layout:2: an indented line before any declaration; allowed: source, struct, bits, enum, const, table at the margin"],
        Errors(Source + "  0 u8 a"));

    [Fact]
    public void Every_unreadable_line_of_every_text_is_reported_and_the_members_of_a_broken_declaration_are_not()
    {
        List<LayoutError> errors = [];
        Assert.Null(LayoutModel.Read(
            [
                new LayoutText("b", Source + "bits B u8\n one A\n two C"),
                new LayoutText("a", Source + "structure X\n 0 u8 a\n 1 u8 b"),
            ],
            errors));
        Assert.Equal(["a.layout:2", "b.layout:3", "b.layout:4"], errors.Select(error => $"{error.File}:{error.Line}"));
    }

    [Fact]
    public void Every_wrong_meaning_in_every_text_is_reported()
    {
        List<LayoutError> errors = [];
        Assert.Null(LayoutModel.Read(
            [
                new LayoutText("b", Source + "bits B u8\n 3 A\n 6 C"),
                new LayoutText("a", Source + "struct X size 8 align 8\n 0 u8 a\n 0 u8 b\n 1 u9 c"),
            ],
            errors));
        Assert.Equal(["a.layout:4", "a.layout:5", "b.layout:3", "b.layout:4"], errors.Select(error => $"{error.File}:{error.Line}"));
    }

    [Fact]
    public void A_name_declared_in_another_text_is_known_and_may_not_be_declared_again()
    {
        List<LayoutError> errors = [];
        _ = LayoutModel.Read(
            [
                new LayoutText("a", Source + "struct Outer size 16 align 8\n 0 Inner a\n 8 Inner* b"),
                new LayoutText("b", Source + "struct Inner size 8 align 8\n 0 u64 v\nconst Outer\n int N 1"),
            ],
            errors);
        Assert.Equal(
            "b.layout:4: Outer is declared a second time, first at a.layout:2; allowed: one declaration of a name",
            Assert.Single(errors).ToString());
    }

    [Theory]
    [InlineData("struct X size 10 align 1 packed\n 0 u16 a\n 2 u64 b")]
    [InlineData("struct X size 8 align 8\n 0 u64 a view one\n 0 u32 b view two\n 4 u32 c view two")]
    [InlineData("struct X size 8 align 8\n 0 u64 a view one\n 0 u32 b\n 4 u32 c # a comment")]
    [InlineData("bits X u32\n 0x8000_0000 A\n 0x80000000 B alias A")]
    [InlineData("enum X u64\n 0xffff_ffff A")]
    public void A_right_text_has_no_errors(string text) => Assert.Empty(Errors(Source + text));

    private static IEnumerable<string> Errors(string text)
    {
        List<LayoutError> errors = [];
        _ = LayoutModel.Read([new LayoutText("t", text)], errors);
        return errors.Select(error => error.ToString());
    }
}
