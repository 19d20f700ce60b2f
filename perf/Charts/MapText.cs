using System;
using System.Collections.Generic;
using System.Linq;
using System.Text;
using LowLevel.Allocator;
using LowLevel.Native;

namespace LowLevel.Perf;

/// <summary>A map as text, one letter a pageblock, so that a child can tell it in a line and a page can hold many: shares of taken, raw
/// and treated in eighths, or a state that has none.</summary>
internal static class MapText
{
    private const int Parts = 8;
    private const string Alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    private static readonly PageblockState[] Whole =
        [PageblockState.NeverUsed, PageblockState.Isolated, PageblockState.InReactor, PageblockState.Inflated, PageblockState.Quarantined];

    private static readonly (int Taken, int Raw)[] Mixtures =
        [.. Enumerable.Range(0, Parts + 1).SelectMany(t => Enumerable.Range(0, Parts + 1 - t).Select(r => (t, r)))];

    /// <summary>What each letter shows, from the foot of the cell up: colours, and how many eighths of each.</summary>
    public static IEnumerable<(char Letter, (string Colour, int Parts)[] Stack)> Key
    {
        get
        {
            for (int i = 0; i < Mixtures.Length; i++)
            {
                (int taken, int raw) = Mixtures[i];
                yield return (Alphabet[i], [.. new[]
                {
                    (MapColours.Of(PageblockState.Allocated), taken),
                    (MapColours.Of(PageblockState.Raw), raw),
                    (MapColours.Of(PageblockState.Treated), Parts - taken - raw),
                }.Where(p => p.Item2 > 0)]);
            }

            for (int i = 0; i < Whole.Length; i++)
            {
                yield return (Alphabet[Mixtures.Length + i], [(MapColours.Of(Whole[i]), Parts)]);
            }
        }
    }

    /// <summary>All cells up to the last that was ever used.</summary>
    public static string Of(ArenaMap map)
    {
        int end = map.Sections.Where(s => s.Cells.Count > 0).Select(s => s.Start + s.Cells.Count).LastOrDefault();
        StringBuilder text = new(end);
        foreach (MapSection section in map.Sections.Where(s => s.Start < end))
        {
            text.Append(LetterOf(default), section.Start - text.Length);
            foreach (PageblockCell cell in section.Cells)
            {
                text.Append(LetterOf(cell));
            }
        }

        return text.ToString();
    }

    /// <summary>A cell's letter. A share that is there has an eighth at least. What threads' pages and the reactor have counts as
    /// raw (free and resident), what the balloon or quarantine has of a mixed cell as taken.</summary>
    public static char LetterOf(PageblockCell cell)
    {
        int whole = Array.IndexOf(Whole, cell.State);
        if (whole >= 0)
        {
            return Alphabet[Mixtures.Length + whole];
        }

        int[] pages = [cell.TakenPages + cell.InflatedPages + cell.QuarantinedPages, cell.RawPages + cell.CachedPages + cell.InReactorPages, cell.TreatedPages];
        int[] parts = [.. pages.Select(p => p == 0 ? 0 : Math.Max(1, p * Parts / PageblockLimits.PagesPerPageblock))];

        // What rounding lost goes to the largest share, what the least eighth added comes from it.
        int largest = Array.IndexOf(pages, pages.Max());
        parts[largest] += Parts - parts.Sum();
        return Alphabet[Array.IndexOf(Mixtures, (parts[0], parts[1]))];
    }
}
