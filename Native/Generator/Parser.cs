using System;
using System.Collections.Generic;
using System.Globalization;

namespace LowLevel.Generator;

/// <summary>Reads one layout text. It knows the form of each line; what the names mean is the <see cref="Validator"/>'s business.</summary>
/// <remarks>
/// <code>
/// source "what is mirrored, its version and its file or section" [header "h"]
/// struct Name size N align A [packed] ["doc"] [c NAME] [header "h"]
///   OFFSET TYPE name [view V] ["doc"]                   TYPE: T, T*, T[n], T*[n]
/// bits Name TYPE [inverted base B] ["doc"]
///   bit N | VALUE Name [alias Other] [own] ["doc"] [c NAME] [header "h"]
/// enum Name TYPE ["doc"]
///   VALUE Name ["doc"] [c NAME] [header "h"]
/// const Name ["doc"]
///   TYPE Name VALUE ["doc"] [c NAME] [header "h"]
/// table Name Enum RxC ["doc"]
///   Member Member...                                    the row's key, then its C cells
/// </code>
/// What stands at the margin declares, what is indented belongs to the declaration above it. Fields of different views may
/// overlap. A C name is looked up in the header named on its line, else in the source's.
/// </remarks>
internal sealed class Parser
{
    private readonly LayoutText _text;
    private readonly List<LayoutError> _errors;
    private readonly List<Declaration> _declarations = [];
    private string _source = "";
    private string? _header;
    private Action<TokenCursor>? _member;

    private Parser(LayoutText text, List<LayoutError> errors)
    {
        _text = text;
        _errors = errors;
    }

    public static Layout Parse(LayoutText text, List<LayoutError> errors)
    {
        Parser parser = new(text, errors);
        foreach (LayoutLine line in Lexer.Read(text, errors))
        {
            parser.ReadLine(line);
        }
        return new Layout(text, parser._declarations);
    }

    private void ReadLine(LayoutLine line)
    {
        TokenCursor cursor = new(line);
        try
        {
            if (!line.IsIndented)
            {
                // A declaration that fails takes its members along: they are not reported one by one.
                _member = static _ => { };
                ReadTopLevel(cursor);
            }
            else if (_member is null)
            {
                throw new FormatException(
                    "an indented line before any declaration; allowed: source, struct, bits, enum, const, table at the margin");
            }
            else
            {
                _member(cursor);
            }
        }
        catch (FormatException problem)
        {
            _errors.Add(new LayoutError(_text.FileName, line.Number, problem.Message));
        }
    }

    private void ReadTopLevel(TokenCursor cursor)
    {
        string word = cursor.Word("a declaration");
        switch (word)
        {
            case "source":
                _source = cursor.Text("the source");
                _header = cursor.Rest("header").Header;
                _member = null;
                break;
            case "struct":
                ReadStruct(cursor);
                break;
            case "bits":
                ReadBits(cursor);
                break;
            case "enum":
                ReadEnum(cursor);
                break;
            case "const":
                ReadConst(cursor);
                break;
            case "table":
                ReadTable(cursor);
                break;
            default:
                throw new FormatException($"{word} declares nothing; allowed: source, struct, bits, enum, const, table");
        }
    }

    private void ReadStruct(TokenCursor cursor)
    {
        string name = cursor.Identifier("the struct");
        cursor.Keyword("size");
        int size = (int)cursor.Number("size", 1 << 20);
        cursor.Keyword("align");
        int alignment = (int)cursor.Number("alignment", 4096);
        Trailer rest = cursor.Rest("packed", "c", "header");
        List<Field> fields = [];
        _declarations.Add(new StructDeclaration(name, At(cursor), rest.Doc, C(rest), size, alignment, rest.IsPacked, fields));
        _member = line =>
        {
            int offset = (int)line.Number("offset", 1 << 20);
            TypeReference type = ReadType(line.Word("a type"));
            string field = line.Identifier("the field");
            Trailer tail = line.Rest("view");
            fields.Add(new Field(line.Line, offset, type, field, tail.View, tail.Doc));
        };
    }

    private void ReadBits(TokenCursor cursor)
    {
        string name = cursor.Identifier("the bits");
        string underlying = cursor.Word("an integer type");
        Trailer rest = cursor.Rest("inverted");
        List<Bit> bits = [];
        _declarations.Add(new BitsDeclaration(name, At(cursor), rest.Doc, C(rest), underlying, rest.InvertedBase, bits));
        _member = line =>
        {
            string word = line.Word("bit or a value");
            int? number = null;
            if (word == "bit")
            {
                number = (int)line.Number("bit number", 63);
            }
            if (!Lexer.TryNumber(word, out ulong value) && number is null)
            {
                throw new FormatException($"{word} is no bit; allowed: bit n, or a value in decimal, or hexadecimal after 0x");
            }
            value = number is { } n ? 1ul << n : value;
            string bit = line.Identifier("the bit");
            Trailer tail = line.Rest("alias", "own", "c", "header");
            bits.Add(new Bit(line.Line, bit, value, number, tail.AliasOf, tail.IsOwn, tail.Doc, C(tail)));
        };
    }

    private void ReadEnum(TokenCursor cursor)
    {
        string name = cursor.Identifier("the enumeration");
        string underlying = cursor.Word("an integer type");
        Trailer rest = cursor.Rest();
        List<EnumMember> members = [];
        _declarations.Add(new EnumDeclaration(name, At(cursor), rest.Doc, C(rest), underlying, members));
        _member = line =>
        {
            long value = (long)line.Number("value", uint.MaxValue);
            string member = line.Identifier("the member");
            Trailer tail = line.Rest("c", "header");
            members.Add(new EnumMember(line.Line, member, value, tail.Doc, C(tail)));
        };
    }

    private void ReadConst(TokenCursor cursor)
    {
        string name = cursor.Identifier("the constants");
        Trailer rest = cursor.Rest();
        List<Constant> constants = [];
        _declarations.Add(new ConstDeclaration(name, At(cursor), rest.Doc, C(rest), constants));
        _member = line =>
        {
            string type = line.Word("an integer type");
            string constant = line.Identifier("the constant");
            long value = (long)line.Number("value", long.MaxValue);
            Trailer tail = line.Rest("c", "header");
            constants.Add(new Constant(line.Line, type, constant, value, tail.Doc, C(tail)));
        };
    }

    private void ReadTable(TokenCursor cursor)
    {
        string name = cursor.Identifier("the table");
        string enumName = cursor.Identifier("the enumeration");
        string shape = cursor.Word("the shape");
        string[] sides = shape.Split('x');
        if (sides.Length != 2 || !TrySide(sides[0], out int rowCount) || !TrySide(sides[1], out int columnCount))
        {
            throw new FormatException($"{shape} is no shape; allowed: rows x columns, each 1 to 64, such as 3x2");
        }
        Trailer rest = cursor.Rest();
        List<TableRow> rows = [];
        _declarations.Add(new TableDeclaration(name, At(cursor), rest.Doc, C(rest), enumName, rowCount, columnCount, rows));
        _member = line =>
        {
            string key = line.Identifier("the row");
            List<string> cells = [];
            while (!line.AtEnd)
            {
                cells.Add(line.Identifier("a cell"));
            }
            rows.Add(new TableRow(line.Line, key, cells));
        };
    }

    private static bool TrySide(string text, out int side) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out side) && side is >= 1 and <= 64;

    private static TypeReference ReadType(string word)
    {
        string rest = word;
        int? count = null;
        int bracket = rest.IndexOf('[', StringComparison.Ordinal);
        if (bracket >= 0)
        {
            if (!rest.EndsWith(']') || !Lexer.TryNumber(rest[(bracket + 1)..^1], out ulong n) || n is 0 or > 65536)
            {
                throw new FormatException($"{word} is no type; allowed: T, T*, T[n], T*[n] with n from 1 to 65536");
            }
            count = (int)n;
            rest = rest[..bracket];
        }
        bool isPointer = rest.EndsWith('*');
        string element = isPointer ? rest[..^1] : rest;
        return Naming.IsIdentifier(element)
            ? new TypeReference(element, isPointer, count)
            : throw new FormatException($"{word} is no type; allowed: T, T*, T[n], T*[n]");
    }

    private Origin At(TokenCursor cursor) => _source.Length != 0
        ? new Origin(_text.FileName, cursor.Line, _source)
        : throw new FormatException(
            "no source stands above this declaration; allowed: source \"what is mirrored, its version and its file or section\"");

    private CMapping? C(Trailer trailer)
    {
        string? header = trailer.Header ?? _header;
        if (trailer.CName is null)
        {
            return trailer.Header is null
                ? null
                : throw new FormatException($"header \"{trailer.Header}\" without a C name; allowed: c NAME header \"...\"");
        }
        return header is null
            ? throw new FormatException($"no header for the C name {trailer.CName}; allowed: header \"...\" here or at the source")
            : new CMapping(trailer.CName, header);
    }
}
