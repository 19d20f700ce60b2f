using System;
using System.Collections.Generic;

namespace LowLevel.Generator;

/// <summary>What may follow the fixed part of a line: documentation, C name, and the words that one kind of line allows.</summary>
internal sealed class Trailer
{
    public string Doc { get; set; } = "";

    public string? CName { get; set; }

    public string? Header { get; set; }

    public string? View { get; set; }

    public string? AliasOf { get; set; }

    public bool IsOwn { get; set; }

    public bool IsPacked { get; set; }

    public ulong? InvertedBase { get; set; }
}

/// <summary>Walks over the words of one line; every refusal is a <see cref="FormatException"/>, which says what is allowed
/// in its place and which the parser turns into a <see cref="LayoutError"/>.</summary>
internal sealed class TokenCursor(LayoutLine line)
{
    private readonly IReadOnlyList<Token> _tokens = line.Tokens;
    private int _at;

    public int Line => line.Number;

    public bool AtEnd => _at == _tokens.Count;

    public bool NextIsQuoted => !AtEnd && _tokens[_at].IsQuoted;

    public string Word(string what)
    {
        if (AtEnd)
        {
            throw new FormatException($"the line ends where {what} is expected");
        }
        Token token = _tokens[_at];
        if (token.IsQuoted)
        {
            throw new FormatException($"\"{token.Text}\" stands where {what} is expected");
        }
        _at++;
        return token.Text;
    }

    public string Text(string what) => NextIsQuoted
        ? _tokens[_at++].Text
        : throw new FormatException($"{what} is expected in quotes" + (AtEnd ? "" : $", not {_tokens[_at].Text}"));

    public string WordOrText(string what) => NextIsQuoted ? Text(what) : Word(what);

    public string Identifier(string what)
    {
        string word = Word(what);
        return Naming.IsIdentifier(word)
            ? word
            : throw new FormatException($"{word} is no name for {what}; allowed: a letter, then letters, digits and underscores");
    }

    public ulong Number(string what, ulong maximum)
    {
        string word = Word(what);
        return Lexer.TryNumber(word, out ulong value) && value <= maximum
            ? value
            : throw new FormatException($"{word} is no {what}; allowed: 0 to {maximum} in decimal, or hexadecimal after 0x");
    }

    public void Keyword(string keyword)
    {
        string word = Word(keyword);
        if (word != keyword)
        {
            throw new FormatException($"{word} stands where {keyword} is expected");
        }
    }

    /// <summary>Reads the rest of the line.</summary>
    /// <param name="allowed">The words that this kind of line allows beside the documentation.</param>
    public Trailer Rest(params ReadOnlySpan<string> allowed)
    {
        Trailer trailer = new();
        while (!AtEnd)
        {
            if (NextIsQuoted)
            {
                if (trailer.Doc.Length != 0)
                {
                    throw new FormatException("a second documentation text; allowed: one");
                }
                trailer.Doc = Text("documentation");
                continue;
            }
            string word = Word("a word");
            if (!allowed.Contains(word))
            {
                throw new FormatException(
                    $"{word} is not known here; allowed: " + string.Join(", ", ["documentation in quotes", .. allowed]));
            }
            ReadOption(word, trailer);
        }
        return trailer;
    }

    private void ReadOption(string word, Trailer trailer)
    {
        switch (word)
        {
            case "c":
                trailer.CName = WordOrText("a C name");
                break;
            case "header":
                trailer.Header = Text("the header's name");
                break;
            case "view":
                trailer.View = Identifier("a view");
                break;
            case "alias":
                trailer.AliasOf = Identifier("the other name");
                break;
            case "own":
                trailer.IsOwn = true;
                break;
            case "packed":
                trailer.IsPacked = true;
                break;
            case "inverted":
                Keyword("base");
                trailer.InvertedBase = Number("base", uint.MaxValue);
                break;
            default:
                throw new InvalidOperationException($"{word} is allowed somewhere but read nowhere");
        }
    }
}
