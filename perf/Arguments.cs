using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>The options of one command: <c>--key value</c> and <c>--flag</c>. A command asks for each option that it knows
/// and then calls <see cref="End"/>, which refuses what was not asked for; so the code that reads an option is its declaration.</summary>
internal sealed class Arguments
{
    private readonly Dictionary<string, string?> _given = [];
    private readonly SortedSet<string> _known = new(StringComparer.Ordinal) { "json" };

    private IReadOnlyList<string>? _command;
    private bool _takesCommand;

    private Arguments()
    {
    }

    /// <summary>Where <c>--json</c> wants the rows; null where it was not given.</summary>
    public string? JsonPath => OutputFile("json");

    /// <summary>The word before the options, where the command has one; null where it was not given.</summary>
    public string? Operand { get; private init; }

    /// <param name="args">What stands behind the command's name.</param>
    /// <param name="operand">What the command calls the word before its options; null where it has none.</param>
    public static Arguments Parse(IReadOnlyList<string> args, string? operand = null)
    {
        bool hasOperand = operand is not null && args.Count > 0 && !args[0].StartsWith("--", StringComparison.Ordinal);
        var result = new Arguments { Operand = hasOperand ? args[0] : null };
        for (int i = hasOperand ? 1 : 0; i < args.Count; i++)
        {
            if (args[i] == "--")
            {
                result._command = i + 1 < args.Count
                    ? [.. args.Skip(i + 1)]
                    : throw new UsageException("no command behind --; allowed: a program and its arguments");
                break;
            }

            if (!args[i].StartsWith("--", StringComparison.Ordinal))
            {
                throw new UsageException($"argument '{args[i]}' is no option; allowed: --option value, --flag");
            }

            string name = args[i][2..];
            bool hasValue = i + 1 < args.Count && !args[i + 1].StartsWith("--", StringComparison.Ordinal);
            if (!result._given.TryAdd(name, hasValue ? args[++i] : null))
            {
                throw new UsageException($"option --{name} is given twice; allowed: once");
            }
        }

        return result;
    }

    /// <summary>What stands behind <c>--</c>: another program and its arguments; null where there is none.</summary>
    public IReadOnlyList<string>? Command()
    {
        _takesCommand = true;
        return _command;
    }

    /// <summary>Whether <c>--name</c> stands there.</summary>
    public bool Flag(string name)
    {
        _known.Add(name);
        if (!_given.TryGetValue(name, out string? value))
        {
            return false;
        }

        return value is null ? true : throw new UsageException($"option --{name} takes no value, not '{value}'");
    }

    /// <summary>The text after <c>--name</c>, or the fallback.</summary>
    public string? Text(string name, string? fallback = null)
    {
        _known.Add(name);
        if (!_given.TryGetValue(name, out string? value))
        {
            return fallback;
        }

        return value ?? throw new UsageException($"option --{name} lacks its value");
    }

    /// <summary>One of a few words; the first is the default.</summary>
    public string Choice(string name, params string[] allowed)
    {
        string value = Text(name, allowed[0])!;
        return allowed.Contains(value)
            ? value
            : throw new UsageException($"option --{name}: '{value}' is not allowed; allowed: {string.Join(", ", allowed)}");
    }

    /// <summary>A whole number from <paramref name="min"/> to <paramref name="max"/>.</summary>
    public int Integer(string name, int fallback, int min, int max)
    {
        if (Text(name) is not string text)
        {
            return fallback;
        }

        return int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= min && value <= max
            ? value
            : throw new UsageException($"option --{name}: '{text}' is not allowed; allowed: a whole number from {min} to {max}");
    }

    /// <summary>A number or a fraction such as 1/8, from <paramref name="min"/> to <paramref name="max"/>.</summary>
    public double Number(string name, double fallback, double min, double max)
    {
        if (Text(name) is not string text)
        {
            return fallback;
        }

        string[] parts = text.Split('/');
        double value = double.NaN;
        if (parts.Length <= 2 && TryNumber(parts[0], out double numerator))
        {
            value = parts.Length == 1 ? numerator : TryNumber(parts[1], out double denominator) ? numerator / denominator : double.NaN;
        }

        return value >= min && value <= max
            ? value
            : throw new UsageException(string.Create(
                CultureInfo.InvariantCulture,
                $"option --{name}: '{text}' is not allowed; allowed: a number or a fraction (1/8) from {min} to {max}"));
    }

    /// <summary>A file to read, which must exist.</summary>
    public string InputFile(string name, string fallback)
    {
        string path = Text(name, fallback)!;
        return File.Exists(path) ? path : throw new UsageException($"option --{name}: there is no file '{path}'; allowed: a file that can be read");
    }

    /// <summary>A file to write, whose folder must exist; null where the option was not given.</summary>
    public string? OutputFile(string name)
    {
        if (Text(name) is not string path)
        {
            return null;
        }

        string? folder = Path.GetDirectoryName(Path.GetFullPath(path));
        return path.Length > 0 && Directory.Exists(folder) && !Directory.Exists(path)
            ? path
            : throw new UsageException($"option --{name}: '{path}' cannot be written; allowed: a file in a folder that exists");
    }

    /// <summary>Every option has been asked for: refuses the rest.</summary>
    public void End()
    {
        _ = JsonPath;
        if (_command is not null && !_takesCommand)
        {
            throw new UsageException("argument '--' is no option; allowed: --option value, --flag");
        }

        string? unknown = _given.Keys.FirstOrDefault(k => !_known.Contains(k));
        if (unknown is not null)
        {
            throw new UsageException($"unknown option --{unknown}; allowed: {string.Join(", ", _known.Select(k => "--" + k))}");
        }
    }

    private static bool TryNumber(string text, out double value) =>
        double.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out value);
}
