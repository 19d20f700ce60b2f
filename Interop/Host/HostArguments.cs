using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace LowLevel.Interop.Host;

/// <summary>The command line.</summary>
internal sealed record HostArguments
{
    /// <summary>What <c>--help</c> says.</summary>
    public const string Help = """
        usage: LowLevel.Host --listen PATH --budget BYTES [options]

        Serves memory balloons to virtual machines (vhost-user) and .NET processes, and divides one memory budget among them.

          --listen PATH      the unix socket on which guests come (PATH or unix:PATH)
          --budget BYTES     memory for all guests together; K, M, G and T are powers of 1024
          --policy POLICY    fair (by need, then equally; the default) or equal
          --interval TIME    from one division to the next: 500ms, 1s, 2m; the default is 1s
          --status PATH      write the status there each round, as JSON, whole or not at all
          --json             write it on the standard output too, one line each round
          --help             this

        Ends by SIGINT or SIGTERM.
        """;

    private static readonly TimeSpan s_intervalLeast = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan s_intervalMost = TimeSpan.FromHours(1);

    /// <summary>What to serve; null with <see cref="WantsHelp"/>.</summary>
    public HostOptions? Options { get; private init; }

    /// <summary>A line of JSON each round on the standard output.</summary>
    public bool WritesJson { get; private init; }

    /// <summary>Only to say what can be said.</summary>
    public bool WantsHelp { get; private init; }

    /// <summary>Reads it.</summary>
    /// <exception cref="HostException">The line that says which argument is wrong, how, and what is allowed.</exception>
    public static HostArguments Parse(IReadOnlyList<string> args)
    {
        ArgumentNullException.ThrowIfNull(args);
        if (args.Contains("--help"))
        {
            return new HostArguments { WantsHelp = true };
        }

        Dictionary<string, string> given = [];
        for (int i = 0; i < args.Count; i++)
        {
            switch (args[i])
            {
                case "--json":
                    Add(given, args[i], "");
                    break;
                case "--listen" or "--budget" or "--policy" or "--interval" or "--status":
                    string name = args[i];
                    bool hasValue = ++i < args.Count && !args[i].StartsWith("--", StringComparison.Ordinal);
                    Add(given, name, hasValue ? args[i] : throw new HostException($"{name} has no value; {Allowed(name)}"));
                    break;
                default:
                    throw new HostException(
                        $"argument '{args[i]}' is not known; allowed: --listen, --budget, --policy, --interval, --status, --json, --help");
            }
        }

        string path = Required(given, "--listen");
        path = path.StartsWith("unix:", StringComparison.Ordinal) ? path["unix:".Length..] : path;
        return new HostArguments
        {
            WritesJson = given.ContainsKey("--json"),
            Options = new HostOptions
            {
                Path = path.Length != 0 ? path : throw Wrong("--listen", path),
                BudgetBytes = ByteSize.TryParse(Required(given, "--budget"), out ulong bytes) ? bytes : throw Wrong("--budget", given["--budget"]),
                Rule = given.GetValueOrDefault("--policy", "fair") switch
                {
                    "fair" => BudgetRule.Fair,
                    "equal" => BudgetRule.Equal,
                    string other => throw Wrong("--policy", other),
                },
                Interval = Interval(given.GetValueOrDefault("--interval", "1s")),
                StatusPath = given.TryGetValue("--status", out string? status) && status.Length == 0 ? throw Wrong("--status", status) : status,
            },
        };
    }

    private static void Add(Dictionary<string, string> given, string name, string value)
    {
        if (!given.TryAdd(name, value))
        {
            throw new HostException($"{name} is given twice; allowed: once");
        }
    }

    private static string Required(Dictionary<string, string> given, string name) =>
        given.TryGetValue(name, out string? value) ? value : throw new HostException($"{name} is missing; {Allowed(name)}");

    private static TimeSpan Interval(string text)
    {
        (string digits, double factor) = text switch
        {
            _ when text.EndsWith("ms", StringComparison.Ordinal) => (text[..^2], 0.001),
            _ when text.EndsWith('s') => (text[..^1], 1),
            _ when text.EndsWith('m') => (text[..^1], 60),
            _ => ("", 0),
        };
        bool isNumber = double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number);
        double seconds = number * factor;
        return isNumber && seconds >= s_intervalLeast.TotalSeconds && seconds <= s_intervalMost.TotalSeconds
            ? TimeSpan.FromSeconds(seconds)
            : throw Wrong("--interval", text);
    }

    private static HostException Wrong(string name, string value) => new($"{name} '{value}' is wrong; {Allowed(name)}");

    private static string Allowed(string name) => "allowed: " + name switch
    {
        "--listen" => "the path of a unix socket",
        "--budget" => ByteSize.Allowed,
        "--policy" => "fair, equal",
        "--interval" => "10ms to 60m, as 500ms, 1s or 2m",
        _ => "the path of a file",
    };
}
