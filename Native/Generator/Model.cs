using System;
using System.Collections.Generic;

namespace LowLevel.Generator;

/// <summary>What is wrong with a layout text, where, and what is allowed there.</summary>
internal sealed record LayoutError(string File, int Line, string Message)
{
    public override string ToString() => $"{File}:{Line}: {Message}";
}

/// <summary>One layout text: its name without the extension and what stands in it.</summary>
internal sealed record LayoutText(string Name, string Text)
{
    public string FileName => Name + ".layout";
}

/// <summary>A layout text after parsing, its declarations in the order in which they stand.</summary>
internal sealed record Layout(LayoutText Text, IReadOnlyList<Declaration> Declarations);

/// <summary>Where a declaration stands, and what it mirrors.</summary>
internal sealed record Origin(string File, int Line, string Source);

/// <summary>The C name that a declaration has in a header of the distribution; the test probe compares both.</summary>
internal sealed record CMapping(string Name, string Header);

/// <summary>Anything that a layout text declares at the left margin.</summary>
internal abstract record Declaration(string Name, Origin At, string Doc, CMapping? C);

/// <summary>A type as it is written at a field: <c>ListHead*[6]</c> is six pointers.</summary>
internal sealed record TypeReference(string Element, bool IsPointer, int? Count)
{
    public override string ToString() => Element + (IsPointer ? "*" : "") + (Count is { } n ? $"[{n}]" : "");
}

/// <summary>A field of a struct. Fields of different views may overlap, fields of the same view may not.</summary>
internal sealed record Field(int Line, int Offset, TypeReference Type, string Name, string? View, string Doc)
{
    public string CSharpName => Naming.ToPascalCase(Name);
}

internal sealed record StructDeclaration(
    string Name, Origin At, string Doc, CMapping? C, int Size, int Alignment, bool IsPacked, IReadOnlyList<Field> Fields)
    : Declaration(Name, At, Doc, C);

/// <summary>One bit of a set. <paramref name="Number"/> is set where the text says <c>bit n</c>: there C names the number too.</summary>
internal sealed record Bit(int Line, string Name, ulong Value, int? Number, string? AliasOf, bool IsOwn, string Doc, CMapping? C);

/// <summary>A set of bits; inverted where setting a type clears its bit (the kernel's page_type).</summary>
internal sealed record BitsDeclaration(
    string Name, Origin At, string Doc, CMapping? C, string Underlying, ulong? InvertedBase, IReadOnlyList<Bit> Bits)
    : Declaration(Name, At, Doc, C);

internal sealed record EnumMember(int Line, string Name, long Value, string Doc, CMapping? C);

internal sealed record EnumDeclaration(
    string Name, Origin At, string Doc, CMapping? C, string Underlying, IReadOnlyList<EnumMember> Members)
    : Declaration(Name, At, Doc, C);

internal sealed record Constant(int Line, string Type, string Name, long Value, string Doc, CMapping? C);

internal sealed record ConstDeclaration(string Name, Origin At, string Doc, CMapping? C, IReadOnlyList<Constant> Constants)
    : Declaration(Name, At, Doc, C);

internal sealed record TableRow(int Line, string Key, IReadOnlyList<string> Cells);

/// <summary>Rows of enumeration members, each found by a member.</summary>
internal sealed record TableDeclaration(
    string Name, Origin At, string Doc, CMapping? C, string EnumName, int RowCount, int ColumnCount, IReadOnlyList<TableRow> Rows)
    : Declaration(Name, At, Doc, C);

/// <summary>The integer types of the layout language.</summary>
internal sealed record IntegerType(string Name, string CSharpName, int Size, long Minimum, ulong Maximum)
{
    public static IReadOnlyList<IntegerType> All { get; } =
    [
        new("u8", "byte", 1, 0, byte.MaxValue),
        new("u16", "ushort", 2, 0, ushort.MaxValue),
        new("u32", "uint", 4, 0, uint.MaxValue),
        new("u64", "ulong", 8, 0, ulong.MaxValue),
        new("i32", "int", 4, int.MinValue, int.MaxValue),
    ];

    public static string Allowed { get; } = "u8, u16, u32, u64, i32";

    /// <summary>The type of this name; null where there is none. A constant may also say <c>int</c>.</summary>
    public static IntegerType? Find(string name)
    {
        foreach (IntegerType type in All)
        {
            if (type.Name == name || (name == "int" && type.Name == "i32"))
            {
                return type;
            }
        }
        return null;
    }
}

/// <summary>From the kernel's names to .NET's.</summary>
internal static class Naming
{
    public static string ToPascalCase(string name) => string.Concat(
        Array.ConvertAll(name.Split('_', StringSplitOptions.RemoveEmptyEntries), word => char.ToUpperInvariant(word[0]) + word[1..]));

    /// <summary>A letter or underscore, then letters, digits, underscores; ASCII only.</summary>
    public static bool IsIdentifier(string text)
    {
        if (text.Length == 0 || char.IsAsciiDigit(text[0]))
        {
            return false;
        }
        foreach (char c in text)
        {
            if (!char.IsAsciiLetterOrDigit(c) && c != '_')
            {
                return false;
            }
        }
        return text.Trim('_').Length != 0;
    }
}
