using System;
using System.Collections.Generic;
using System.Linq;
using System.Text.RegularExpressions;

namespace LowLevel.Tests.House;

/// <summary>A member of a type that holds code, with the lines (from 1) of its declaration's start and its last brace or
/// semicolon; attributes and comments above it do not count.</summary>
internal readonly record struct Member(string Declaration, int FirstLine, int LastLine)
{
    public int Lines => LastLine - FirstLine + 1;
}

/// <summary>As much of C#'s grammar as the rules need: which characters are code, and where the members of types begin and end.</summary>
internal sealed class CSharpText
{
    private static readonly Regex TypeHead = new(
        @"^(?:(?:public|internal|private|protected|static|sealed|abstract|readonly|ref|unsafe|partial|file|new)\s+)*(?:class|struct|interface|record|(enum))\b");

    private readonly string source;
    private readonly char[] code;
    private int at;

    private CSharpText(string source)
    {
        this.source = source;
        code = source.ToCharArray();
    }

    private enum Block
    {
        Other,
        Type,
        Member,
    }

    /// <summary>The source with comments, directives and the contents of strings and characters replaced by spaces: same
    /// length, same lines. Code in the holes of an interpolated string stays; the hole's own braces go.</summary>
    public static string CodeOnly(string source)
    {
        var text = new CSharpText(source);
        text.Code(inHole: false);
        return new string(text.code);
    }

    /// <summary>The methods, constructors, operators and properties of all types in the source. Fields with an initializer
    /// (tables) are no functions.</summary>
    public static IEnumerable<Member> Members(string source)
    {
        string code = CodeOnly(source);
        var blocks = new Stack<Block>();
        int start = 0;
        for (int i = 0; i < code.Length; i++)
        {
            Block top = blocks.Count > 0 ? blocks.Peek() : Block.Other;
            switch (code[i])
            {
                case '{':
                    Block opened = Opened(top, code[start..i]);
                    blocks.Push(opened);
                    start = opened == Block.Member || InMember(blocks) ? start : i + 1;
                    break;

                case '}':
                    Block closed = blocks.Count > 0 ? blocks.Pop() : Block.Other;
                    bool ends = closed != Block.Member || !"=;,).]?:".Contains(NextVisible(code, i + 1), StringComparison.Ordinal);
                    if (ends && !InMember(blocks))
                    {
                        if (closed == Block.Member && ToMember(code, start, i) is Member body)
                        {
                            yield return body;
                        }

                        start = i + 1;
                    }

                    break;

                case ';' when !InMember(blocks):
                    if (top == Block.Type && ToMember(code, start, i) is Member expression)
                    {
                        yield return expression;
                    }

                    start = i + 1;
                    break;
            }
        }
    }

    /// <summary>An enumeration has members, but none with code.</summary>
    private static Block Opened(Block outer, string head)
    {
        Match type = outer == Block.Member ? Match.Empty : TypeHead.Match(WithoutAttributes(head));
        return type.Groups[1].Success ? Block.Other : type.Success ? Block.Type : outer == Block.Type ? Block.Member : Block.Other;
    }

    private static bool InMember(Stack<Block> blocks) => blocks.Contains(Block.Member);

    private static Member? ToMember(string code, int start, int end)
    {
        string declaration = WithoutAttributes(code[start..(end + 1)]);
        int assigned = FirstMatch(declaration, @"(?<![=<>!])=(?![=>])");
        int functional = FirstMatch(declaration, @"[\w>]\(|=>|\{");
        bool isFunction = declaration.Contains(" operator ", StringComparison.Ordinal) || functional < assigned;
        if (!isFunction || declaration.Length == 0)
        {
            return null;
        }

        int last = 1 + code.AsSpan(0, end).Count('\n');
        string head = declaration.Split('\n', 2)[0].TrimEnd(' ', '{');
        return new Member(head, last - declaration.AsSpan().Count('\n'), last);
    }

    private static int FirstMatch(string text, string pattern) => Regex.Match(text, pattern) is { Success: true } match ? match.Index : int.MaxValue;

    private static char NextVisible(string code, int from) => code.Skip(from).FirstOrDefault(c => !char.IsWhiteSpace(c));

    private static string WithoutAttributes(string declaration)
    {
        string rest = declaration.TrimStart();
        while (rest.StartsWith('['))
        {
            int depth = 0;
            int close = 0;
            do
            {
                depth += rest[close] == '[' ? 1 : rest[close] == ']' ? -1 : 0;
                close++;
            }
            while (depth > 0 && close < rest.Length);
            rest = rest[close..].TrimStart();
        }

        return rest;
    }

    private bool Starts(string text) => string.CompareOrdinal(source, at, text, 0, text.Length) == 0;

    private void Blank(int count)
    {
        for (int end = Math.Min(at + count, source.Length); at < end; at++)
        {
            code[at] = source[at] == '\n' ? '\n' : ' ';
        }
    }

    private void BlankUntil(string end)
    {
        int found = source.IndexOf(end, at, StringComparison.Ordinal);
        Blank((found < 0 ? source.Length : found) - at);
    }

    /// <summary>Code up to the end of the source, or of the interpolation hole that it stands in.</summary>
    private void Code(bool inHole)
    {
        int depth = 0;
        while (at < source.Length)
        {
            char c = source[at];
            if (inHole && c == '}' && depth == 0)
            {
                return;
            }

            depth += c == '{' ? 1 : c == '}' ? -1 : 0;
            if (Starts("//") || (c == '#' && source[(source.LastIndexOf('\n', at) + 1)..at].Trim().Length == 0))
            {
                BlankUntil("\n");
            }
            else if (Starts("/*"))
            {
                BlankUntil("*/");
                Blank(2);
            }
            else if (c == '\'')
            {
                at++;
                Literal(verbatim: false, dollars: 0, quotes: 1, '\'');
            }
            else if (!StringStart())
            {
                at++;
            }
        }
    }

    /// <summary>Blanks the string that starts here, if one does: prefix of $ and @, then one quote, or three and more.</summary>
    private bool StringStart()
    {
        int quote = at;
        while (quote < source.Length && source[quote] is '$' or '@')
        {
            quote++;
        }

        if (quote >= source.Length || source[quote] != '"')
        {
            return false;
        }

        string prefix = source[at..quote];
        int quotes = source.AsSpan(quote).IndexOfAnyExcept('"') is int run and >= 0 ? run : source.Length - quote;
        at = quote + (quotes >= 3 ? quotes : 1);
        Literal(prefix.Contains('@', StringComparison.Ordinal), prefix.Count(p => p == '$'), quotes >= 3 ? quotes : 1, '"');
        return true;
    }

    /// <summary>From after the opening quotes to after the closing ones.</summary>
    private void Literal(bool verbatim, int dollars, int quotes, char quote)
    {
        bool raw = quotes >= 3;
        string end = new(quote, quotes);
        string hole = new('{', Math.Max(1, dollars));
        while (at < source.Length)
        {
            if (raw ? Starts(end) : source[at] == quote)
            {
                if (verbatim && !raw && Starts("\"\""))
                {
                    Blank(2);
                    continue;
                }

                at += quotes;
                return;
            }

            if (dollars > 0 && !raw && (Starts("{{") || Starts("}}")))
            {
                Blank(2);
            }
            else if (dollars > 0 && Starts(hole))
            {
                Blank(hole.Length);
                Code(inHole: true);
                Blank(hole.Length);
            }
            else
            {
                Blank(!raw && !verbatim && source[at] == '\\' ? 2 : 1);
            }
        }
    }
}
