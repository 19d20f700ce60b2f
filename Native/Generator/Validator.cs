using System;
using System.Collections.Generic;
using System.Linq;
using System.Numerics;

namespace LowLevel.Generator;

/// <summary>Checks all layouts together: what a name means, that a struct can lie in memory as declared, that values are unique.</summary>
internal sealed class Validator
{
    private readonly List<LayoutError> _errors;
    private readonly Dictionary<string, Declaration> _declarations = new(StringComparer.Ordinal);

    private Validator(List<LayoutError> errors) => _errors = errors;

    public static LayoutModel Validate(IReadOnlyList<Layout> layouts, List<LayoutError> errors)
    {
        Validator validator = new(errors);
        List<Declaration> all = [.. layouts.SelectMany(layout => layout.Declarations)];
        foreach (Declaration declaration in all)
        {
            validator.Register(declaration);
        }
        LayoutModel model = new(layouts, validator._declarations);
        foreach (Declaration declaration in all)
        {
            validator.Check(declaration, model);
        }
        return model;
    }

    private void Register(Declaration declaration)
    {
        if (!_declarations.TryAdd(declaration.Name, declaration))
        {
            Origin first = _declarations[declaration.Name].At;
            Refuse(declaration, declaration.At.Line,
                $"{declaration.Name} is declared a second time, first at {first.File}:{first.Line}; allowed: one declaration of a name");
        }
        else if (IntegerType.Find(declaration.Name) is not null)
        {
            Refuse(declaration, declaration.At.Line, $"{declaration.Name} is an integer type; allowed: any other name");
        }
    }

    private void Check(Declaration declaration, LayoutModel model)
    {
        switch (declaration)
        {
            case StructDeclaration type:
                new StructValidator(type, model, _errors).Check();
                break;
            case BitsDeclaration bits:
                CheckBits(bits);
                break;
            case EnumDeclaration values:
                CheckEnum(values);
                break;
            case ConstDeclaration constants:
                CheckConst(constants);
                break;
            case TableDeclaration table:
                CheckTable(table, model);
                break;
            default:
                throw new InvalidOperationException($"{declaration.GetType().Name} is checked nowhere");
        }
    }

    private void CheckBits(BitsDeclaration bits)
    {
        IntegerType? type = Underlying(bits, bits.Underlying);
        CheckUnique(bits, bits.Bits.Select(bit => (bit.Name, bit.Line)));
        if (bits.InvertedBase is not null && bits.Underlying != "u32")
        {
            Refuse(bits, bits.At.Line, $"inverted bits in {bits.Underlying}; allowed: u32");
        }
        Dictionary<string, Bit> byName = new(StringComparer.Ordinal);
        Dictionary<ulong, Bit> byValue = [];
        foreach (Bit bit in bits.Bits)
        {
            byName.TryAdd(bit.Name, bit);
            if (type is not null && (!BitOperations.IsPow2(bit.Value) || bit.Value > type.Maximum))
            {
                Refuse(bits, bit.Line, $"{bit.Name} is 0x{bit.Value:x}; allowed: one bit of the {type.Size * 8} of {type.Name}");
            }
            if (bits.InvertedBase is { } fixedBits && (bit.Value & fixedBits) != 0)
            {
                Refuse(bits, bit.Line, $"{bit.Name} (0x{bit.Value:x}) lies in the base 0x{fixedBits:x}; allowed: bits outside of it");
            }
            CheckAlias(bits, bit, byName, byValue);
        }
    }

    private void CheckAlias(BitsDeclaration bits, Bit bit, Dictionary<string, Bit> byName, Dictionary<ulong, Bit> byValue)
    {
        if (bit.AliasOf is null)
        {
            if (!byValue.TryAdd(bit.Value, bit))
            {
                Refuse(
                    bits, bit.Line,
                    $"{bit.Name} is the bit of {byValue[bit.Value].Name} (0x{bit.Value:x}); allowed: a bit of its own, or alias");
            }
        }
        else if (bit.AliasOf == bit.Name || !byName.TryGetValue(bit.AliasOf, out Bit? other))
        {
            Refuse(
                bits, bit.Line,
                $"{bit.Name} is an alias of {bit.AliasOf}, which is not declared above it; allowed: {Names(byName.Keys, bit.Name)}");
        }
        else if (other.Value != bit.Value)
        {
            Refuse(bits, bit.Line, $"{bit.Name} (0x{bit.Value:x}) is an alias of {other.Name}; allowed: its value, 0x{other.Value:x}");
        }
    }

    private void CheckEnum(EnumDeclaration values)
    {
        IntegerType? type = Underlying(values, values.Underlying);
        CheckUnique(values, values.Members.Select(member => (member.Name, member.Line)));
        Dictionary<long, EnumMember> byValue = [];
        foreach (EnumMember member in values.Members)
        {
            if (!byValue.TryAdd(member.Value, member))
            {
                Refuse(
                    values, member.Line,
                    $"{member.Name} has the value of {byValue[member.Value].Name}, {member.Value}; allowed: a value of its own");
            }
            CheckRange(values, member.Line, member.Name, member.Value, type);
        }
    }

    private void CheckConst(ConstDeclaration constants)
    {
        CheckUnique(constants, constants.Constants.Select(constant => (constant.Name, constant.Line)));
        foreach (Constant constant in constants.Constants)
        {
            IntegerType? type = IntegerType.Find(constant.Type);
            if (type is null)
            {
                Refuse(constants, constant.Line, $"{constant.Type} is no integer type; allowed: int, {IntegerType.Allowed}");
            }
            CheckRange(constants, constant.Line, constant.Name, constant.Value, type);
        }
    }

    private void CheckTable(TableDeclaration table, LayoutModel model)
    {
        if (model.Find(table.EnumName) is not EnumDeclaration keys)
        {
            Refuse(
                table, table.At.Line,
                $"{table.EnumName} is no enumeration; allowed: {Names(model.All.OfType<EnumDeclaration>().Select(e => e.Name), "")}");
            return;
        }
        CheckUnique(table, table.Rows.Select(row => (row.Key, row.Line)));
        if (table.Rows.Count != table.RowCount)
        {
            Refuse(table, table.At.Line, $"{table.Name} has {table.Rows.Count} rows; allowed: {table.RowCount}, as declared");
        }
        foreach (TableRow row in table.Rows)
        {
            if (row.Cells.Count != table.ColumnCount)
            {
                Refuse(table, row.Line, $"row {row.Key} has {row.Cells.Count} cells; allowed: {table.ColumnCount}, as declared");
            }
            foreach (string name in row.Cells.Prepend(row.Key).Where(name => keys.Members.All(member => member.Name != name)))
            {
                Refuse(
                    table, row.Line,
                    $"{name} is no member of {keys.Name}; allowed: {Names(keys.Members.Select(member => member.Name), "")}");
            }
        }
    }

    private void CheckUnique(Declaration owner, IEnumerable<(string Name, int Line)> members)
    {
        Dictionary<string, int> seen = new(StringComparer.Ordinal);
        foreach ((string name, int line) in members)
        {
            if (!seen.TryAdd(name, line))
            {
                Refuse(owner, line, $"{name} stands a second time in {owner.Name}, first in line {seen[name]}; allowed: once");
            }
        }
        if (seen.Count == 0)
        {
            Refuse(owner, owner.At.Line, $"{owner.Name} is empty; allowed: at least one line below it");
        }
    }

    private IntegerType? Underlying(Declaration owner, string name)
    {
        IntegerType? type = IntegerType.Find(name);
        if (type is null || name == "int")
        {
            Refuse(owner, owner.At.Line, $"{name} is no integer type; allowed: {IntegerType.Allowed}");
        }
        return type;
    }

    private void CheckRange(Declaration owner, int line, string name, long value, IntegerType? type)
    {
        if (type is not null && (ulong)value > type.Maximum)
        {
            Refuse(owner, line, $"{name} is {value}; allowed: 0 to {type.Maximum} ({type.Name})");
        }
    }

    private void Refuse(Declaration owner, int line, string message) => _errors.Add(new LayoutError(owner.At.File, line, message));

    private static string Names(IEnumerable<string> names, string without) =>
        string.Join(", ", names.Where(name => name != without).DefaultIfEmpty("nothing so far"));
}
