using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Generator;

/// <summary>Writes the tests of one layout: every size, offset, bit, value and row as a literal, and what C says where C has
/// it too.</summary>
internal sealed class TestWriter
{
    private readonly SourceText _out = new();
    private readonly LayoutModel _model;
    private bool _isFirst = true;

    private TestWriter(LayoutModel model) => _model = model;

    public static string Write(Layout layout, LayoutModel model)
    {
        TestWriter writer = new(model);
        writer.WriteFile(layout);
        return writer._out.ToString();
    }

    private void WriteFile(Layout layout)
    {
        _out.Header(layout.Text);
        _out.Line("using System;");
        _out.Line("using LowLevel.Native;");
        _out.Line("using Xunit;");
        _out.Line();
        _out.Line("namespace LowLevel.Tests.Native;");
        _out.Line();
        _out.Line($"public sealed class {Naming.ToPascalCase(layout.Text.Name)}LayoutTests");
        _out.Open();
        foreach (Declaration declaration in layout.Declarations)
        {
            Write(declaration);
        }
        WriteComparisonWithC(layout);
        _out.Close();
    }

    private void Write(Declaration declaration)
    {
        switch (declaration)
        {
            case StructDeclaration type:
                WriteStruct(type);
                break;
            case BitsDeclaration { InvertedBase: { } fixedBits } bits:
                new InvertedTestWriter(bits, fixedBits, _out, BeginFact).Write();
                break;
            case BitsDeclaration bits:
                WriteValues(bits.Name, bits.Underlying, [.. bits.Bits.Select(bit => (bit.Name, $"0x{bit.Value:x}"))]);
                break;
            case EnumDeclaration values:
                WriteValues(values.Name, values.Underlying, [.. values.Members.Select(member => (member.Name, $"{member.Value}"))]);
                break;
            case ConstDeclaration constants:
                WriteConst(constants);
                break;
            case TableDeclaration table:
                WriteTable(table);
                break;
            default:
                throw new InvalidOperationException($"{declaration.GetType().Name} is tested nowhere");
        }
    }

    private void BeginFact(string name, bool isUnsafe)
    {
        Separate();
        _out.Line("[Fact]");
        _out.Line($"public {(isUnsafe ? "unsafe " : "")}void {name}()");
        _out.Open();
    }

    private void Separate()
    {
        if (!_isFirst)
        {
            _out.Line();
        }
        _isFirst = false;
    }

    private void WriteStruct(StructDeclaration type)
    {
        BeginFact($"{type.Name}_has_{type.Size}_bytes_and_alignment_{type.Alignment}", isUnsafe: true);
        _out.Line($"Assert.Equal({type.Size}, sizeof({type.Name}));");
        _out.Line($"Assert.Equal({type.Size}, {type.Name}.SizeInBytes);");
        _out.Line($"Assert.Equal({type.Alignment}, {type.Name}.Alignment);");
        _out.Line($"LayoutAssert.Alignment<{type.Name}>({type.Alignment});");
        _out.Close();

        BeginFact($"Each_field_of_{type.Name}_lies_at_its_offset", isUnsafe: true);
        _out.Line($"{type.Name} value = default;");
        foreach (Field field in type.Fields)
        {
            _ = _model.TryMeasure(field.Type with { Count = null }, out int size, out _);
            string element = LayoutModel.CSharpElement(field.Type);
            string local = char.ToLowerInvariant(field.CSharpName[0]) + field.CSharpName[1..];
            if (field.Type.Count is not { } count)
            {
                WriteFieldAssert(type, field, $"{local}At", $"&value.{field.CSharpName}", element, field.Offset, size);
                continue;
            }
            string accessor = $"{type.Name}.{field.CSharpName}";
            int last = field.Offset + ((count - 1) * size);
            WriteFieldAssert(type, field, $"{local}First", $"{accessor}(&value, 0)", element, field.Offset, size);
            WriteFieldAssert(type, field, $"{local}Last", $"{accessor}(&value, {count - 1})", element, last, size);
        }
        _out.Close();
    }

    /// <summary>The local's type makes the compiler check the field's; the assertion checks its place and size.</summary>
    private void WriteFieldAssert(StructDeclaration type, Field field, string local, string address, string element, int offset, int size)
    {
        _out.Line($"{element}* {local} = {address};");
        _out.Line($"LayoutAssert.Field(\"{type.Name}.{field.Name}\", {offset}, {size}, &value, {local}, sizeof({element}));");
    }

    /// <summary>Bit sets and enumerations: the width, each value, and that there is no other.</summary>
    private void WriteValues(string name, string underlying, IReadOnlyList<(string Name, string Literal)> members)
    {
        string type = IntegerType.Find(underlying)!.CSharpName;
        BeginFact($"{name}_has_these_members_and_no_other", isUnsafe: false);
        _out.Line($"Assert.Equal(typeof({type}), Enum.GetUnderlyingType(typeof({name})));");
        _out.Line($"Assert.Equal({members.Count}, Enum.GetNames<{name}>().Length);");
        foreach ((string member, string literal) in members)
        {
            _out.Line($"Assert.Equal(({type}){literal}, ({type}){name}.{member});");
        }
        _out.Close();
    }

    private void WriteConst(ConstDeclaration constants)
    {
        BeginFact($"Each_constant_of_{constants.Name}_has_its_value", isUnsafe: false);
        foreach (Constant constant in constants.Constants)
        {
            _out.Line($"Assert.Equal(({IntegerType.Find(constant.Type)!.CSharpName}){constant.Value}, {constants.Name}.{constant.Name});");
        }
        _out.Close();
    }

    private void WriteTable(TableDeclaration table)
    {
        string type = table.EnumName;
        BeginFact($"{table.Name}_has_these_rows_and_refuses_every_other_{type}", isUnsafe: false);
        foreach (TableRow row in table.Rows)
        {
            string cells = string.Join(", ", row.Cells.Select(cell => $"{type}.{cell}"));
            _out.Line($"Assert.Equal(new[] {{ {cells} }}, {table.Name}.Of({type}.{row.Key}).ToArray());");
        }
        EnumDeclaration keys = (EnumDeclaration)_model.Find(type)!;
        foreach (EnumMember member in keys.Members.Where(member => table.Rows.All(row => row.Key != member.Name)))
        {
            _out.Line($"Assert.Throws<ArgumentOutOfRangeException>(() => {table.Name}.Of({type}.{member.Name}));");
        }
        long beyond = keys.Members.Max(member => member.Value) + 1;
        _out.Line($"Assert.Throws<ArgumentOutOfRangeException>(() => {table.Name}.Of(({type}){beyond}));");
        _out.Close();
    }

    private void WriteComparisonWithC(Layout layout)
    {
        List<CComparison> comparisons = [.. layout.Declarations.SelectMany(declaration => CComparison.Of(declaration, _model))];
        if (comparisons.Count == 0)
        {
            return;
        }
        Separate();
        _out.Line("[Theory]");
        foreach (CComparison comparison in comparisons)
        {
            _out.Line($"[InlineData(\"{comparison.Key}\", {comparison.CSharpValue})]");
        }
        _out.Line("public void The_headers_of_this_system_say_the_same(string expression, ulong value) =>");
        _out.Line("    CProbe.AssertSame(expression, value);");
    }
}
