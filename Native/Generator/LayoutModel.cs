using System;
using System.Collections.Generic;
using System.Linq;

namespace LowLevel.Generator;

/// <summary>All layouts and what their names mean.</summary>
internal sealed class LayoutModel(IReadOnlyList<Layout> layouts, IReadOnlyDictionary<string, Declaration> declarations)
{
    private const int PointerSize = 8;

    public IReadOnlyList<Layout> Layouts { get; } = layouts;

    public IEnumerable<Declaration> All => Layouts.SelectMany(layout => layout.Declarations);

    /// <summary>Names that a field's type may have, in the order of the alphabet.</summary>
    public IEnumerable<string> TypeNames => All
        .Where(declaration => declaration is StructDeclaration or BitsDeclaration or EnumDeclaration)
        .Select(declaration => declaration.Name).Order(StringComparer.Ordinal);

    /// <summary>Parses and checks texts. What the names mean is looked at when every line can be read, so that one mistake
    /// is reported once.</summary>
    /// <returns>Null where <paramref name="errors"/> is not empty.</returns>
    public static LayoutModel? Read(IEnumerable<LayoutText> texts, List<LayoutError> errors)
    {
        List<Layout> layouts = [.. texts.OrderBy(text => text.Name, StringComparer.Ordinal).Select(text => Parser.Parse(text, errors))];
        if (errors.Count != 0)
        {
            return null;
        }
        LayoutModel model = Validator.Validate(layouts, errors);
        return errors.Count == 0 ? model : null;
    }

    public Declaration? Find(string name) => declarations.GetValueOrDefault(name);

    /// <summary>Size and alignment in bytes, of the whole array where it is one; false where the type is not known.</summary>
    public bool TryMeasure(TypeReference type, out int size, out int alignment)
    {
        if (!TryMeasureElement(type.Element, out size, out alignment))
        {
            return false;
        }
        if (type.IsPointer)
        {
            size = alignment = PointerSize;
        }
        size *= type.Count ?? 1;
        return true;
    }

    /// <summary>The C# name of one element: <c>ListHead*</c> for <c>ListHead*[6]</c>.</summary>
    public static string CSharpElement(TypeReference type) =>
        (IntegerType.Find(type.Element)?.CSharpName ?? type.Element) + (type.IsPointer ? "*" : "");

    private bool TryMeasureElement(string name, out int size, out int alignment)
    {
        string integer = Find(name) switch
        {
            BitsDeclaration bits => bits.Underlying,
            EnumDeclaration values => values.Underlying,
            _ => name,
        };
        if (Find(name) is StructDeclaration type)
        {
            (size, alignment) = (type.Size, type.Alignment);
            return true;
        }
        size = alignment = IntegerType.All.FirstOrDefault(candidate => candidate.Name == integer)?.Size ?? 0;
        return size != 0;
    }
}
