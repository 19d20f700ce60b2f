using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Generator;

/// <summary>Writes the C# view of one layout: structs with explicit offsets, bit sets, enumerations, constants, tables.</summary>
internal sealed class CSharpWriter
{
    private const string Inlined = "[MethodImpl(MethodImplOptions.AggressiveInlining)]";
    private readonly SourceText _out = new();
    private readonly LayoutModel _model;

    private CSharpWriter(LayoutModel model) => _model = model;

    public static string Write(Layout layout, LayoutModel model)
    {
        CSharpWriter writer = new(model);
        writer.WriteFile(layout);
        return writer._out.ToString();
    }

    /// <summary>The literal of a bit: <c>1ul &lt;&lt; 5</c> where the text gives the number, else hexadecimal.</summary>
    public static string BitLiteral(Bit bit, string underlying)
    {
        string suffix = underlying switch { "u64" => "ul", "u32" => "u", _ => "" };
        return bit.Number is { } number ? $"1{suffix} << {number}" : $"0x{bit.Value:x}{suffix}";
    }

    private void WriteFile(Layout layout)
    {
        _out.Header(layout.Text);
        string[] namespaces = [.. Namespaces(layout).Distinct().Order(StringComparer.Ordinal)];
        foreach (string name in namespaces)
        {
            _out.Line($"using {name};");
        }
        if (namespaces.Length != 0)
        {
            _out.Line();
        }
        _out.Line("namespace LowLevel.Native;");
        foreach (Declaration declaration in layout.Declarations)
        {
            _out.Line();
            Write(declaration);
        }
    }

    private static IEnumerable<string> Namespaces(Layout layout)
    {
        foreach (Declaration declaration in layout.Declarations)
        {
            switch (declaration)
            {
                case StructDeclaration type:
                    yield return "System.Runtime.InteropServices";
                    if (type.Fields.Any(field => field.Type.Count is not null))
                    {
                        yield return "System.Diagnostics";
                        yield return "System.Runtime.CompilerServices";
                    }
                    break;
                case BitsDeclaration { InvertedBase: not null }:
                    yield return "System.Runtime.CompilerServices";
                    break;
                case BitsDeclaration or TableDeclaration:
                    yield return "System";
                    break;
            }
        }
    }

    private void Write(Declaration declaration)
    {
        switch (declaration)
        {
            case StructDeclaration type:
                WriteStruct(type);
                break;
            case BitsDeclaration { InvertedBase: { } fixedBits } bits:
                WriteInverted(bits, fixedBits);
                break;
            case BitsDeclaration bits:
                WriteBits(bits);
                break;
            case EnumDeclaration values:
                WriteEnum(values);
                break;
            case ConstDeclaration constants:
                WriteConst(constants);
                break;
            case TableDeclaration table:
                WriteTable(table);
                break;
            default:
                throw new InvalidOperationException($"{declaration.GetType().Name} is written nowhere");
        }
    }

    private void Document(Declaration declaration, string otherwise, IReadOnlyList<string> picture)
    {
        _out.Summary(SourceText.Sentence(declaration.Doc, otherwise));
        string c = declaration.C is { } mapping ? $" In C: {mapping.Name}, {mapping.Header}." : "";
        _out.Remarks($"Source: {declaration.At.Source}.{c}", picture);
    }

    private static string MemberText(string doc, string otherwise, CMapping? c) =>
        SourceText.Sentence(doc, otherwise) + (c is null ? "" : $" In C: {c.Name}.");

    private void WriteStruct(StructDeclaration type)
    {
        Document(type, type.Name, StructPicture.Draw(type, _model));
        _out.Line($"[StructLayout(LayoutKind.Explicit, Size = {type.Size}{(type.IsPacked ? ", Pack = 1" : "")})]");
        _out.Line($"public struct {type.Name}");
        _out.Open();
        _out.Summary("Size in bytes.");
        _out.Line($"public const int SizeInBytes = {type.Size};");
        _out.Line();
        _out.Summary("Alignment in bytes that whoever places this struct in memory keeps.");
        _out.Line($"public const int Alignment = {type.Alignment};");
        foreach (Field field in type.Fields)
        {
            _out.Line();
            WriteField(type, field);
        }
        _out.Close();
    }

    private void WriteField(StructDeclaration type, Field field)
    {
        string element = LayoutModel.CSharpElement(field.Type);
        string place = $"Offset {field.Offset}{(field.View is null ? "" : $", view {field.View}")}.";
        if (field.Type.Count is not { } count)
        {
            _out.Summary($"{SourceText.Sentence(field.Doc, field.Name)} {place}");
            _out.Line($"[FieldOffset({field.Offset})]");
            _out.Line($"public {(field.Type.IsPointer ? "unsafe " : "")}{element} {field.CSharpName};");
            return;
        }
        _out.Summary($"{SourceText.Sentence(field.Doc, field.Name)} {count} elements from offset {field.Offset} on.");
        _out.Line("/// <param name=\"self\">The struct; it stays where it is while the result is in use.</param>");
        _out.Line($"/// <param name=\"index\">0 to {count - 1}; Debug builds assert it.</param>");
        _out.Line(Inlined);
        _out.Line($"public static unsafe {element}* {field.CSharpName}({type.Name}* self, int index)");
        _out.Open();
        _out.Line($"Debug.Assert((uint)index < {count}u, \"{type.Name}.{field.CSharpName}: index out of 0..{count - 1}\");");
        _out.Line($"return ({element}*)((byte*)self + {field.Offset}) + index;");
        _out.Close();
    }

    private void WriteBits(BitsDeclaration bits)
    {
        Document(bits, bits.Name, []);
        _out.Line("[Flags]");
        _out.Line($"public enum {bits.Name} : {IntegerType.Find(bits.Underlying)!.CSharpName}");
        _out.Open();
        bool isFirst = true;
        foreach (Bit bit in bits.Bits)
        {
            Separate(ref isFirst);
            _out.Summary(BitText(bit));
            _out.Line($"{bit.Name} = {(bit.AliasOf ?? BitLiteral(bit, bits.Underlying))},");
        }
        _out.Close();
    }

    private static string BitText(Bit bit)
    {
        string alias = bit.AliasOf is null ? "" : $" The same bit as {bit.AliasOf}.";
        string own = bit.IsOwn ? " This library's own bit, not the kernel's." : "";
        return MemberText(bit.Doc, bit.Name, bit.C) + alias + own;
    }

    private void WriteInverted(BitsDeclaration bits, ulong fixedBits)
    {
        Document(bits, bits.Name, []);
        _out.Line("/// <param name=\"Value\">The word in memory: a type is set where its bit is clear and the base whole.</param>");
        _out.Line($"public readonly record struct {bits.Name}(uint Value)");
        _out.Open();
        _out.Summary("Bits that stay set whatever the types are; a word without them (zero, a count) has no type.");
        _out.Line($"public const uint Base = 0x{fixedBits:x};");
        _out.Line();
        _out.Summary("No type: all bits set, -1.");
        _out.Line($"public static {bits.Name} None => new(0xffffffff);");
        foreach (Bit bit in bits.Bits)
        {
            _out.Line();
            _out.Summary($"The bit that {bit.Name} clears.");
            string literal = bit.AliasOf is { } other ? other + "Bit" : BitLiteral(bit, bits.Underlying);
            _out.Line($"public const uint {bit.Name}Bit = {literal};");
            _out.Line();
            _out.Summary($"Whether {bit.Name} is set. {BitText(bit)}");
            _out.Line($"public bool Is{bit.Name}");
            _out.Open();
            _out.Line(Inlined);
            _out.Line($"get => (Value & (Base | {bit.Name}Bit)) == Base;");
            _out.Close();
            WriteTransition(bits.Name, "With", $"This word with {bit.Name} set.", $"Value & ~{bit.Name}Bit", bit.Name);
            WriteTransition(bits.Name, "Without", $"This word with {bit.Name} not set.", $"Value | {bit.Name}Bit", bit.Name);
        }
        WriteInvertedToString(bits);
        _out.Close();
    }

    private void WriteInvertedToString(BitsDeclaration bits)
    {
        // A bit that has two names is called by its alias, the name that this library uses.
        string[] names = [.. bits.Bits.Where(bit => bits.Bits.All(other => other.AliasOf != bit.Name)).Select(bit => bit.Name)];
        _out.Line();
        _out.Summary("The word in hexadecimal and the names of the types that are set.");
        _out.Line("public override string ToString() => $\"0x{Value:x8}\"");
        foreach (string name in names)
        {
            _out.Line($"    + (Is{name} ? \" {name}\" : \"\"){(name == names[^1] ? ";" : "")}");
        }
    }

    private void WriteTransition(string type, string verb, string summary, string expression, string bit)
    {
        _out.Line();
        _out.Summary(summary);
        _out.Line(Inlined);
        _out.Line($"public {type} {verb}{bit}() => new({expression});");
    }

    private void WriteEnum(EnumDeclaration values)
    {
        Document(values, values.Name, []);
        _out.Line($"public enum {values.Name} : {IntegerType.Find(values.Underlying)!.CSharpName}");
        _out.Open();
        bool isFirst = true;
        foreach (EnumMember member in values.Members)
        {
            Separate(ref isFirst);
            _out.Summary(MemberText(member.Doc, member.Name, member.C));
            _out.Line($"{member.Name} = {member.Value},");
        }
        _out.Close();
    }

    private void WriteConst(ConstDeclaration constants)
    {
        Document(constants, constants.Name, []);
        _out.Line($"public static class {constants.Name}");
        _out.Open();
        bool isFirst = true;
        foreach (Constant constant in constants.Constants)
        {
            Separate(ref isFirst);
            _out.Summary(MemberText(constant.Doc, constant.Name, constant.C));
            _out.Line($"public const {IntegerType.Find(constant.Type)!.CSharpName} {constant.Name} = {constant.Value};");
        }
        _out.Close();
    }

    private void WriteTable(TableDeclaration table)
    {
        string type = table.EnumName;
        string keys = string.Join(", ", table.Rows.Select(row => row.Key));
        Document(table, table.Name, []);
        _out.Line($"public static class {table.Name}");
        _out.Open();
        // An array and not a constant span: builds without optimisation would allocate at each call.
        _out.Line($"private static readonly {type}[] s_cells =");
        _out.Line("[");
        foreach (TableRow row in table.Rows)
        {
            _out.Line($"    {string.Join(", ", row.Cells.Select(cell => $"{type}.{cell}"))},");
        }
        _out.Line("];");
        _out.Line();
        _out.Summary($"The row of a {type}, {table.ColumnCount} elements.");
        _out.Line($"/// <param name=\"type\">One of {keys}.</param>");
        _out.Line("/// <exception cref=\"ArgumentOutOfRangeException\">There is no row for it.</exception>");
        _out.Line($"public static ReadOnlySpan<{type}> Of({type} type) => type switch");
        _out.Open();
        for (int row = 0; row < table.Rows.Count; row++)
        {
            int first = row * table.ColumnCount;
            _out.Line($"{type}.{table.Rows[row].Key} => new ReadOnlySpan<{type}>(s_cells, {first}, {table.ColumnCount}),");
        }
        _out.Line($"_ => throw new ArgumentOutOfRangeException(nameof(type), type, \"no row for it; allowed: {keys}\"),");
        _out.CloseExpression();
        _out.Close();
    }

    private void Separate(ref bool isFirst)
    {
        if (!isFirst)
        {
            _out.Line();
        }
        isFirst = false;
    }
}
