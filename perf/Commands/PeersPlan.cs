using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace LowLevel.Perf;

/// <summary>What <c>perf peers</c> measures: which cells, with whom, how often.</summary>
internal sealed record PeersPlan(IReadOnlyList<PeerCell> Cells, IReadOnlyList<string> Contestants, int Rounds)
{
    /// <summary>The options of <c>perf peers</c>.</summary>
    public static PeersPlan Read(Arguments arguments) =>
        Read(arguments, PeerCell.Sizes, arguments.Choice("touched", "both", "yes", "no"), PeersContestants.Names);

    /// <summary>The options of <c>perf heap</c>.</summary>
    public static PeersPlan ReadHeap(Arguments arguments) =>
        Read(arguments, PeerCell.HeapSizes, arguments.Choice("touched", "no", "yes", "both"), PeersContestants.HeapNames);

    private static PeersPlan Read(Arguments arguments, int[] allSizes, string touched, string[] allContestants)
    {
        int rounds = arguments.Integer("rounds", 5, 1, 99);
        string[] patterns = List(arguments, "patterns", PeerCell.Patterns);
        string[] sizes = List(arguments, "sizes", [.. allSizes.Select(s => s.ToString(CultureInfo.InvariantCulture))]);
        string[] threads = List(arguments, "threads", ["1", "2"]);
        string[] contestants = List(arguments, "contestants", allContestants);
        PeerCell[] cells =
        [
            .. from wet in new[] { false, true }
               where touched == "both" || wet == (touched == "yes")
               from pattern in patterns
               from size in sizes
               from count in threads
               where pattern != "prodcons" || count == "2"
               select new PeerCell(pattern, int.Parse(size, CultureInfo.InvariantCulture), count == "1" ? 1 : 2, wet),
        ];
        return cells.Length > 0
            ? new PeersPlan(cells, contestants, rounds)
            : throw new UsageException("option --threads: prodcons with 1 thread is not allowed; allowed: 2 for it");
    }

    /// <summary>Who runs the cell in which order: another begins in each row and round, so that what drifts and what the one leaves for
    /// the next falls on all.</summary>
    public static IEnumerable<T> InTurn<T>(IReadOnlyList<T> all, int round, int row) => all.Select((_, i) => all[(i + round + row) % all.Count]);

    /// <summary>Words separated by commas, each among those allowed, in their order there.</summary>
    private static string[] List(Arguments arguments, string name, string[] allowed)
    {
        if (arguments.Text(name) is not string text)
        {
            return allowed;
        }

        string[] given = text.Split(',');
        string? unknown = Array.Find(given, g => !allowed.Contains(g));
        return unknown is null
            ? [.. allowed.Where(given.Contains)]
            : throw new UsageException($"option --{name}: '{unknown}' is not allowed; allowed, separated by commas: {string.Join(", ", allowed)}");
    }
}
