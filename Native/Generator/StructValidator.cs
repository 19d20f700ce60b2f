using System;
using System.Collections.Generic;
using System.Linq;
using System.Numerics;

namespace LowLevel.Generator;

/// <summary>Checks that one struct can lie in memory as it is declared.</summary>
internal sealed class StructValidator(StructDeclaration type, LayoutModel model, List<LayoutError> errors)
{
    /// <summary>Names that the generated struct uses itself.</summary>
    private static readonly string[] s_reserved = ["SizeInBytes", "Alignment"];

    public void Check()
    {
        if (!CheckShape())
        {
            // Without a size and an alignment every field would be reported too.
            return;
        }
        CheckNames();
        List<Field> placed = [];
        foreach (Field field in type.Fields)
        {
            if (CheckField(field) is { } size)
            {
                CheckOverlap(field, size, placed);
                placed.Add(field);
            }
        }
    }

    private bool CheckShape()
    {
        if (!BitOperations.IsPow2(type.Alignment))
        {
            Refuse(type.At.Line, $"{type.Name} has alignment {type.Alignment}; allowed: a power of two from 1 to 4096");
            return false;
        }
        if (type.Size == 0 || type.Size % type.Alignment != 0)
        {
            Refuse(type.At.Line, $"{type.Name} has size {type.Size}; allowed: a positive multiple of its alignment, {type.Alignment}");
            return false;
        }
        if (type.Fields.All(field => field.Type.Count is not null))
        {
            Refuse(type.At.Line, $"{type.Name} has no field that is not an array; allowed: at least one, it carries the alignment");
        }
        return true;
    }

    private void CheckNames()
    {
        Dictionary<string, int> seen = new(StringComparer.Ordinal);
        foreach (Field field in type.Fields)
        {
            if (!seen.TryAdd(field.CSharpName, field.Line))
            {
                Refuse(
                    field.Line,
                    $"{field.Name} stands a second time in {type.Name}, first in line {seen[field.CSharpName]}; allowed: once");
            }
            if (s_reserved.Contains(field.CSharpName) || field.CSharpName == type.Name)
            {
                Refuse(
                    field.Line,
                    $"{field.Name} would be called {field.CSharpName} in {type.Name}; "
                    + $"allowed: any name but {string.Join(", ", s_reserved)}, {type.Name}");
            }
        }
    }

    /// <summary>The field's size; null where its type is not known.</summary>
    private int? CheckField(Field field)
    {
        if (!model.TryMeasure(field.Type, out int size, out int alignment))
        {
            Refuse(field.Line, $"{field.Type.Element} is no type; allowed: {IntegerType.Allowed}, {string.Join(", ", model.TypeNames)}");
            return null;
        }
        if (field.Type.Element == type.Name && !field.Type.IsPointer)
        {
            Refuse(field.Line, $"{field.Name} holds {type.Name} in {type.Name} itself; allowed: a pointer, {type.Name}*");
            return null;
        }
        if (!type.IsPacked && field.Offset % alignment != 0)
        {
            Refuse(field.Line, $"{field.Name} ({field.Type}) is at offset {field.Offset}; allowed: multiples of {alignment}, or packed");
        }
        if (!type.IsPacked && alignment > type.Alignment)
        {
            Refuse(
                field.Line,
                $"{field.Name} ({field.Type}) has alignment {alignment}, {type.Name} {type.Alignment}; "
                + $"allowed: at most the struct's, or packed");
        }
        if (field.Offset + size > type.Size)
        {
            Refuse(
                field.Line,
                $"{field.Name} ({field.Type}) ends at {field.Offset + size}; allowed: up to the size of {type.Name}, {type.Size}");
        }
        return size;
    }

    private void CheckOverlap(Field field, int size, List<Field> placed)
    {
        foreach (Field other in placed)
        {
            _ = model.TryMeasure(other.Type, out int otherSize, out _);
            if (field.View == other.View && field.Offset < other.Offset + otherSize && other.Offset < field.Offset + size)
            {
                string view = field.View is null ? "no view" : $"view {field.View}";
                Refuse(
                    field.Line,
                    $"{field.Name} at {field.Offset} overlaps {other.Name} at {other.Offset} (line {other.Line}), both in {view}; "
                    + "allowed: fields that follow each other, or different views");
            }
        }
    }

    private void Refuse(int line, string message) => errors.Add(new LayoutError(type.At.File, line, message));
}
